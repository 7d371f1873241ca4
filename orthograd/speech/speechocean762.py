"""Put speechocean762, which is published in Kaldi's form, into LibriSpeech's layout.

Published are ``WAVE/SPEAKER<speaker>/<utterance>.WAV`` and, for the parts ``train`` and ``test``, tables with a line
for each utterance (``text``, ``utt2spk``, ``wav.scp``) or speaker (``spk2age``, ``spk2gender``). Half of the speakers
are children; the corpus made here is the first adults, by number.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

from orthograd.speech.corpus import RATE, SPEAKERS, CorpusError, write_audio

SUBSET = "read-clean"
CHAPTER = "1"
ADULT = 18  # years
SPEAKERS_TAKEN = 60

_PARTS = ("train", "test")


def is_published(folder: Path) -> bool:
    """Whether the folder has the form that the corpus is published in."""
    return all((folder / part / "spk2age").is_file() for part in _PARTS)


def convert(published: Path, out_dir: Path) -> None:
    """Write SPEAKERS.TXT and the subset ``read-clean`` into `out_dir`.

    An adult is at least 18 years old. Numbers lose their zeros in front; SPEAKERS.TXT has them as published in the
    place of a name. The utterances of a speaker are numbered in the order of their published names.

    Raises:
        CorpusError: a table or an audio file is missing or has another form.
    """
    text, speaker_of, place = (_table(published, name) for name in ("text", "utt2spk", "wav.scp"))
    age, sex = _table(published, "spk2age"), _table(published, "spk2gender")
    said: dict[str, list[str]] = defaultdict(list)
    for utterance in sorted(text):
        said[_entry(speaker_of, utterance, "utt2spk")].append(utterance)
    adults = sorted((speaker for speaker in said if int(_entry(age, speaker, "spk2age")) >= ADULT), key=int)
    lines = ["; ID | SEX | SUBSET | MINUTES | NAME\n"]
    for published_number in adults[:SPEAKERS_TAKEN]:
        speaker = str(int(published_number))
        chapter = out_dir / SUBSET / speaker / CHAPTER
        chapter.mkdir(parents=True)
        transcripts, count = [], 0
        for index, utterance in enumerate(said[published_number]):
            name = f"{speaker}-{CHAPTER}-{index:04d}"
            samples = _read(published / _entry(place, utterance, "wav.scp"))
            write_audio(chapter / f"{name}.flac", samples)
            transcripts.append(f"{name} {text[utterance]}\n")
            count += len(samples)
        (chapter / f"{speaker}-{CHAPTER}.trans.txt").write_text("".join(transcripts), encoding="utf-8")
        marks = (
            speaker,
            _entry(sex, published_number, "spk2gender").upper(),
            SUBSET,
            f"{count / RATE / 60:.2f}",
        )
        lines.append(" | ".join((*marks, published_number)) + "\n")
    (out_dir / SPEAKERS).write_text("".join(lines), encoding="utf-8")


def _table(published: Path, name: str) -> dict[str, str]:
    """Both parts of a table: the first word of each line, and the rest."""
    table: dict[str, str] = {}
    for part in _PARTS:
        path = published / part / name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise CorpusError(
                f"{path} does not exist: bring speechocean762 whole, as it is published"
            ) from None
        for line in lines:
            key, _, value = line.replace("\t", " ").partition(" ")
            table[key] = value.strip()
    return table


def _entry(table: dict[str, str], key: str, name: str) -> str:
    if key not in table:
        raise CorpusError(
            f"the tables {name} of speechocean762 lack {key}: bring the corpus whole, as it is published"
        )
    return table[key]


def _read(path: Path) -> np.ndarray:
    """The samples (n,), int16."""
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"{path} cannot be read: {error.error_string}. Get speechocean762 again") from error
    if rate != RATE or samples.ndim != 1:
        raise CorpusError(
            f"{path} has {rate} Hz and the shape {samples.shape}: expected is one channel at {RATE} Hz"
        )
    return np.asarray(samples)
