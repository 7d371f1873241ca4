"""Read speech corpora in the layout of LibriSpeech.

The layout: ``SPEAKERS.TXT`` in the root, and ``<subset>/<speaker>/<chapter>/`` with one ``<utterance>.flac`` for each
line ``<utterance> <TRANSCRIPT>`` of ``<speaker>-<chapter>.trans.txt``; an utterance is called
``<speaker>-<chapter>-<number>`` (Panayotov et al. 2015, https://www.openslr.org/12).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from orthograd.speech.scores import normalise
from orthograd.speech.specs import Policy

RATE = 16_000  # Hz, of every corpus and of Whisper
MAX_SECONDS = 30.0  # Whisper's input

SPEAKERS = "SPEAKERS.TXT"
UTTERANCE_COLUMNS = ["id", "subset", "speaker", "chapter", "path", "transcript", "seconds", "rate"]
SPEAKER_COLUMNS = ["speaker", "sex", "subset", "minutes", "name"]
PROBLEM_COLUMNS = ["problem", "id", "path", "detail"]

_NAMED = 5  # problems of a kind that a message names; the table has all

logger = logging.getLogger(__name__)


class CorpusError(ValueError):
    """The corpus cannot be read, or the policy refuses it; the message names the cause and the mend."""


@dataclass(frozen=True)
class Corpus:
    """The usable utterances of some subsets.

    Attributes:
        utterances: one row each, ordered by (subset, speaker, chapter, id): `id`, `subset`, `speaker`, `chapter`
            (text), `path` (text, relative to the root), `transcript` as it stands in the file, `seconds` (float),
            `rate` (Hz).
        speakers: the speakers of these utterances, as SPEAKERS.TXT has them: `speaker`, `sex`, `subset`, `minutes`
            (float), `name`.
        skipped: one row for each utterance that the policy left out: `problem` (a field of `Policy`), `id`, `path`,
            `detail`.
    """

    utterances: pd.DataFrame
    speakers: pd.DataFrame
    skipped: pd.DataFrame


@dataclass(frozen=True)
class _Problem:
    problem: str
    id: str
    path: str
    detail: str


def read_corpus(root: Path, subsets: Sequence[str], policy: Policy) -> Corpus:
    """Read and check subsets of a corpus; every audio file is decoded once.

    Args:
        root: the folder that holds SPEAKERS.TXT and the subsets.
        subsets: folders below the root; the others are not looked at.
        policy: what to do with utterances that cannot be used.

    Raises:
        CorpusError: the layout is another one, a text is not UTF-8, a problem occurs that the policy refuses, or
            nothing is left.
    """
    if not subsets:
        raise CorpusError(f"no subset of {root} is asked for: name at least one of {_subsets(root)}")
    speakers = read_speakers(root / SPEAKERS)
    listed = set(speakers["speaker"])
    rows: list[dict[str, object]] = []
    problems: list[_Problem] = []
    for subset in subsets:
        if not (root / subset).is_dir():
            raise CorpusError(f"{root} has no subset {subset!r}: choose among {_subsets(root)}")
        _refuse_strays(root / subset)
        for chapter in sorted(path for path in (root / subset).glob("*/*") if path.is_dir()):
            for found in _read_chapter(root, subset, chapter, listed):
                if isinstance(found, _Problem):
                    problems.append(found)
                else:
                    rows.append(found)
    skipped = _apply(policy, problems)
    utterances = pd.DataFrame(rows, columns=UTTERANCE_COLUMNS)
    if utterances.empty:
        raise CorpusError(
            f"no utterance in {', '.join(subsets)} of {root} can be used ({len(skipped)} skipped): the layout has "
            "to be <subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac"
        )
    twice = utterances["id"][utterances["id"].duplicated()].tolist()
    if twice:
        raise CorpusError(f"{root} has utterances twice: {twice[:_NAMED]}; remove one of each")
    heard = speakers[speakers["speaker"].isin(utterances["speaker"])].reset_index(drop=True)
    return Corpus(utterances, heard, skipped)


def read_speakers(path: Path) -> pd.DataFrame:
    """The table of a SPEAKERS.TXT: lines ``ID | SEX | SUBSET | MINUTES | NAME``, after comments that begin with ``;``.

    A name may hold a ``|``: one of LibriSpeech does.

    Raises:
        CorpusError: there is no such file, it is not UTF-8, or a line has another form.
    """
    try:
        lines = _read_text(path).splitlines()
    except FileNotFoundError:
        raise CorpusError(
            f"{path} does not exist: give the folder that holds {SPEAKERS} and the subsets as the corpus"
        ) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(";"):
            continue
        fields = [field.strip() for field in line.split("|", maxsplit=4)]
        try:
            speaker, sex, subset, minutes, name = fields
            rows.append((speaker, sex, subset, float(minutes), name))
        except ValueError:
            raise CorpusError(
                f"{path}, line {number}: {line!r} is not ID | SEX | SUBSET | MINUTES | NAME; mend the line"
            ) from None
    speakers = pd.DataFrame(rows, columns=SPEAKER_COLUMNS)
    twice = speakers["speaker"][speakers["speaker"].duplicated()].tolist()
    if twice:
        raise CorpusError(f"{path} lists speakers twice: {twice[:_NAMED]}; remove one of each")
    return speakers


def read_audio(path: Path) -> np.ndarray:
    """All samples of an audio file: (n,), float32 in [-1, 1], for one channel; (n, channels) for more.

    Raises:
        soundfile.LibsndfileError: the file is not readable audio.
    """
    samples, _ = soundfile.read(path, dtype="float32")
    return np.asarray(samples)


def write_audio(path: Path, samples: np.ndarray) -> None:
    """Store 16-bit samples (n,), int16 at `RATE`, as FLAC."""
    soundfile.write(path, samples, RATE, format="FLAC", subtype="PCM_16")


def _subsets(root: Path) -> str:
    if not root.is_dir():
        raise CorpusError(f"the corpus {root} does not exist: correct the path")
    return (
        ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none (it has no folders)"
    )


def _refuse_strays(subset: Path) -> None:
    """Audio in other places than in a chapter would not be looked at.

    Raises:
        CorpusError: there is some.
    """
    strays = sorted(path for path in subset.rglob("*.flac") if len(path.relative_to(subset).parts) != 3)
    if strays:
        raise CorpusError(
            f"{len(strays)} audio file(s) of {subset} lie in no <speaker>/<chapter>/, the first is {strays[0]}: move "
            "them to their chapter, or out of the subset"
        )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None


def _read_chapter(
    root: Path, subset: str, chapter: Path, listed: set[str]
) -> Iterator[dict[str, object] | _Problem]:
    """The utterances and the problems of one chapter, in the order of their names."""
    speaker = chapter.parent.name
    prefix = f"{speaker}-{chapter.name}"
    transcripts = read_transcripts(chapter)
    audio = {path.stem: path for path in chapter.glob("*.flac")}
    foreign = [name for name in sorted({*audio, *transcripts}) if not name.startswith(f"{prefix}-")]
    if foreign:
        raise CorpusError(
            f"{chapter}: {foreign[0]!r} does not begin with {prefix}-: move it to its speaker and chapter"
        )
    for name in sorted({*audio, *transcripts}):
        path = audio.get(name, chapter / f"{name}.flac")
        place = path.relative_to(root).as_posix()
        transcript = transcripts.get(name, "")
        if speaker not in listed:
            yield _Problem("unknown_speaker", name, place, f"speaker {speaker} is not in {SPEAKERS}")
        elif name not in audio:
            yield _Problem("missing_audio", name, place, "no such file")
        elif not normalise(transcript):
            # It has no error rate: Whisper's normalisation leaves out remarks in brackets, and sounds such as "um".
            told = f"no words in {transcript!r}" if name in transcripts else "no line"
            yield _Problem("missing_transcript", name, place, told)
        else:
            checked = _check_audio(path)
            if isinstance(checked, float):
                row = (name, subset, speaker, chapter.name, place, transcript, checked, RATE)
                yield dict(zip(UTTERANCE_COLUMNS, row, strict=True))
            else:
                yield _Problem(checked[0], name, place, checked[1])


def read_transcripts(chapter: Path) -> dict[str, str]:
    """Transcript by utterance of a chapter's folder; none without the file, so that its utterances are found wanting.

    Raises:
        CorpusError: an utterance has two lines, or the file is not UTF-8.
    """
    path = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
    if not path.exists():
        return {}
    transcripts: dict[str, str] = {}
    for line in _read_text(path).splitlines():
        name, _, text = line.strip().partition(" ")
        if name in transcripts:
            raise CorpusError(f"{path} has {name} twice: remove one of the lines")
        if name:
            transcripts[name] = text.strip()
    return transcripts


def _check_audio(path: Path) -> float | tuple[str, str]:
    """Length in seconds, or the problem and its detail."""
    try:
        with soundfile.SoundFile(path) as stream:
            rate, channels, announced = stream.samplerate, stream.channels, stream.frames
            if rate != RATE or channels != 1:
                return "wrong_format", f"{rate} Hz, {channels} channel(s), expected {RATE} Hz and 1"
            read = sum(len(block) for block in stream.blocks(blocksize=RATE * 10, dtype="int16"))
    except soundfile.LibsndfileError as error:
        return "broken_audio", str(error.error_string)
    if read != announced or read == 0:
        return "broken_audio", f"{read} of {announced} samples can be decoded"
    seconds = read / RATE
    if seconds > MAX_SECONDS:
        return "too_long", f"{seconds:.2f} s, at most {MAX_SECONDS:g} s"
    return seconds


def _apply(policy: Policy, problems: list[_Problem]) -> pd.DataFrame:
    """Refuse or report the problems."""
    table = pd.DataFrame([vars(problem) for problem in problems], columns=PROBLEM_COLUMNS)
    refused = []
    for problem, rows in table.groupby("problem"):
        named = "; ".join(f"{row.path} ({row.detail})" for row in rows.head(_NAMED).itertuples())
        more = f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        message = f"{problem}, {len(rows)} utterance(s): {named}{more}"
        if getattr(policy, str(problem)) == "refuse":
            refused.append(message)
        else:
            logger.warning("skipped: %s", message)
    if refused:
        raise CorpusError(
            "the corpus has utterances that cannot be used. "
            + " | ".join(refused)
            + " | Mend or remove them, or set the policy of the problem to `skip`."
        )
    return table
