import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orthograd.speech.corpus import CorpusError, read_audio, read_corpus, read_speakers
from orthograd.speech.specs import Policy

PROBLEMS = list(Policy.model_fields)
REFUSE = Policy(**dict.fromkeys(PROBLEMS, "refuse"))
SKIP = Policy(**dict.fromkeys(PROBLEMS, "skip"))

UTTERANCES = {
    ("84", "121123", 0): ("GO DO YOU HEAR", 2.5),
    ("84", "121123", 1): ("BUT IN LESS THAN FIVE MINUTES", 1.0),
    ("84", "121550", 0): ("BUT WITH FULL RAVISHMENT", 0.5),
    ("1272", "128104", 0): ("MISTER QUILTER IS THE APOSTLE", 3.0),
}


@pytest.fixture
def root(corpus) -> Path:
    return corpus(UTTERANCES)


def _audio(root: Path, name: str) -> Path:
    speaker, chapter, _ = name.split("-")
    return root / "dev-clean" / speaker / chapter / f"{name}.flac"


def _write(path: Path, seconds: float, rate: int = 16_000, channels: int = 1) -> None:
    soundfile.write(
        path, np.zeros((round(seconds * rate), channels), np.int16), rate, format="FLAC", subtype="PCM_16"
    )


def test_table_of_a_sound_corpus(root: Path) -> None:
    found = read_corpus(root, ["dev-clean"], REFUSE)
    assert found.utterances.to_dict("records") == [
        {
            "id": f"{speaker}-{chapter}-{number:04d}",
            "subset": "dev-clean",
            "speaker": speaker,
            "chapter": chapter,
            "path": f"dev-clean/{speaker}/{chapter}/{speaker}-{chapter}-{number:04d}.flac",
            "transcript": transcript,
            "seconds": seconds,
            "rate": 16_000,
        }
        for (speaker, chapter, number), (transcript, seconds) in sorted(UTTERANCES.items())
    ]
    assert found.speakers["name"].tolist() == ["Reader 84", "Reader 1272"]
    assert found.skipped.empty


def test_audio_is_what_was_written(root: Path) -> None:
    found = read_corpus(root, ["dev-clean"], REFUSE)
    path = root / found.utterances.at[1, "path"]
    whole, _ = soundfile.read(path, dtype="int16")
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert np.array_equal(samples, whole / np.float32(2**15))


def test_only_the_subsets_asked_for_are_read(root: Path) -> None:
    (root / "dev-other" / "9" / "9").mkdir(parents=True)
    (root / "dev-other" / "9" / "9" / "9-9-0000.flac").write_bytes(b"broken")
    assert len(read_corpus(root, ["dev-clean"], REFUSE).utterances) == 4


def _break_header(root: Path) -> str:
    _audio(root, "84-121123-0001").write_bytes(b"no audio at all")
    return "dev-clean/84/121123/84-121123-0001.flac"


def _cut(root: Path) -> str:
    path = _audio(root, "84-121123-0001")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "dev-clean/84/121123/84-121123-0001.flac"


def _empty(root: Path) -> str:
    _write(_audio(root, "84-121123-0001"), 0.0)
    return "dev-clean/84/121123/84-121123-0001.flac"


def _slow(root: Path) -> str:
    _write(_audio(root, "84-121123-0001"), 1.0, rate=8_000)
    return "8000 Hz, 1 channel(s), expected 16000 Hz and 1"


def _stereo(root: Path) -> str:
    _write(_audio(root, "84-121123-0001"), 1.0, channels=2)
    return "16000 Hz, 2 channel(s)"


def _long(root: Path) -> str:
    _write(_audio(root, "84-121123-0001"), 30.01)
    return "30.01 s, at most 30 s"


def _edit(root: Path, old: str, new: str) -> None:
    path = root / "dev-clean/84/121123/84-121123.trans.txt"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _no_line(root: Path) -> str:
    _edit(root, "84-121123-0001 BUT IN LESS THAN FIVE MINUTES\n", "")
    return "no line"


def _no_words(root: Path) -> str:
    _edit(root, " BUT IN LESS THAN FIVE MINUTES", " ")
    return "no words in ''"


def _no_words_but_a_remark(root: Path) -> str:
    _edit(root, " BUT IN LESS THAN FIVE MINUTES", " [COUGHS] UM")
    return "no words in '[COUGHS] UM'"


def _no_audio(root: Path) -> str:
    _audio(root, "84-121123-0001").unlink()
    return "no such file"


CASES = [
    (_break_header, "broken_audio"),
    (_cut, "broken_audio"),
    (_empty, "broken_audio"),
    (_slow, "wrong_format"),
    (_stereo, "wrong_format"),
    (_long, "too_long"),
    (_no_line, "missing_transcript"),
    (_no_words, "missing_transcript"),
    (_no_words_but_a_remark, "missing_transcript"),
    (_no_audio, "missing_audio"),
]


@pytest.mark.parametrize(("spoil", "problem"), CASES)
def test_one_spoilt_utterance_is_skipped_counted_and_named(
    root: Path, spoil, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = spoil(root)
    policy = REFUSE.model_copy(update={problem: "skip"})
    with caplog.at_level(logging.WARNING):
        found = read_corpus(root, ["dev-clean"], policy)
    assert found.skipped[["problem", "id"]].values.tolist() == [[problem, "84-121123-0001"]]
    assert sorted(found.utterances["id"]) == ["1272-128104-0000", "84-121123-0000", "84-121550-0000"]
    assert f"{problem}, 1 utterance(s)" in caplog.text
    assert told in caplog.text


@pytest.mark.parametrize(("spoil", "problem"), CASES)
def test_one_spoilt_utterance_is_refused(root: Path, spoil, problem: str) -> None:
    told = spoil(root)
    policy = SKIP.model_copy(update={problem: "refuse"})
    with pytest.raises(CorpusError) as refused:
        read_corpus(root, ["dev-clean"], policy)
    assert f"{problem}, 1 utterance(s)" in str(refused.value)
    assert told in str(refused.value)
    assert "set the policy of the problem to `skip`" in str(refused.value)


def test_thirty_seconds_are_not_too_long(root: Path) -> None:
    _write(_audio(root, "84-121123-0001"), 30.0)
    assert read_corpus(root, ["dev-clean"], REFUSE).utterances["seconds"].max() == 30.0


def test_missing_file_of_transcripts_leaves_all_its_utterances_without(root: Path) -> None:
    (root / "dev-clean/84/121123/84-121123.trans.txt").unlink()
    found = read_corpus(root, ["dev-clean"], SKIP)
    assert found.skipped["id"].tolist() == ["84-121123-0000", "84-121123-0001"]


def test_speaker_that_is_not_listed(root: Path) -> None:
    path = root / "SPEAKERS.TXT"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("84")), encoding="utf-8")
    with pytest.raises(
        CorpusError, match=r"unknown_speaker, 3 utterance\(s\).*speaker 84 is not in SPEAKERS.TXT"
    ):
        read_corpus(root, ["dev-clean"], REFUSE)
    found = read_corpus(root, ["dev-clean"], SKIP)
    assert found.utterances["speaker"].tolist() == ["1272"]
    assert found.speakers["speaker"].tolist() == ["1272"]


def test_many_problems_are_counted_and_some_named(corpus) -> None:
    root = corpus({("7", "1", number): ("WORD", 0.1) for number in range(8)})
    for number in range(7):
        _audio(root, f"7-1-{number:04d}").write_bytes(b"broken")
    with pytest.raises(
        CorpusError, match=r"broken_audio, 7 utterance\(s\).*0004.flac.*; and 2 more"
    ) as refused:
        read_corpus(root, ["dev-clean"], REFUSE)
    assert "0005.flac" not in str(refused.value)


def test_corpus_of_which_nothing_is_left(corpus) -> None:
    root = corpus({("7", "1", 0): ("WORD", 0.1)})
    _audio(root, "7-1-0000").write_bytes(b"broken")
    with pytest.raises(CorpusError, match=r"no utterance in dev-clean .* can be used \(1 skipped\)"):
        read_corpus(root, ["dev-clean"], SKIP)


def test_wrong_places(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no subset 'train-clean-100': choose among dev-clean"):
        read_corpus(root, ["train-clean-100"], REFUSE)
    with pytest.raises(CorpusError, match=r"SPEAKERS\.TXT does not exist"):
        read_corpus(tmp_path / "nowhere", ["dev-clean"], REFUSE)
    with pytest.raises(CorpusError, match=r"no subset of .* is asked for.*dev-clean"):
        read_corpus(root, [], REFUSE)
    _audio(root, "84-121550-0000").rename(root / "dev-clean/84/121123/84-121550-0000.flac")
    with pytest.raises(CorpusError, match=r"'84-121550-0000' does not begin with 84-121123-"):
        read_corpus(root, ["dev-clean"], SKIP)


@pytest.mark.parametrize("place", ["84/84-121123-0007.flac", "84/121123/more/84-121123-0007.flac", "x.flac"])
def test_audio_outside_of_the_chapters_is_not_overlooked(root: Path, place: str) -> None:
    stray = root / "dev-clean" / place
    stray.parent.mkdir(exist_ok=True)
    _write(stray, 0.1)
    with pytest.raises(CorpusError, match=rf"1 audio file\(s\) of .* the first is .*{place}: move them"):
        read_corpus(root, ["dev-clean"], SKIP)


@pytest.mark.parametrize("name", ["SPEAKERS.TXT", "dev-clean/84/121123/84-121123.trans.txt"])
def test_text_of_another_encoding_is_named(root: Path, name: str) -> None:
    path = root / name
    before = path.read_bytes()
    path.write_bytes(before + "84-121123-0009 CAFÉ\n".encode("latin-1"))
    with pytest.raises(
        CorpusError, match=rf"{name} is not UTF-8 \(byte {len(before) + 18}\): save it as UTF-8"
    ):
        read_corpus(root, ["dev-clean"], SKIP)


def test_transcript_that_is_there_twice(root: Path) -> None:
    _edit(root, "84-121123-0001", "84-121123-0000")
    with pytest.raises(CorpusError, match=r"has 84-121123-0000 twice"):
        read_corpus(root, ["dev-clean"], SKIP)


class TestSpeakers:
    def _write(self, tmp_path: Path, *lines: str) -> Path:
        path = tmp_path / "SPEAKERS.TXT"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def test_comments_and_a_name_with_the_separator(self, tmp_path: Path) -> None:
        path = self._write(
            tmp_path,
            "; Some pipe(|) separated metadata about all the readers",
            ";ID  |SEX| SUBSET           |MINUTES| NAME",
            "",
            "14   | F | train-clean-360  | 25.03 | Kristin LeMoine",
            "60   | M | train-clean-100  | 20.18 | |CBW|Simon",
        )
        assert read_speakers(path).values.tolist() == [
            ["14", "F", "train-clean-360", 25.03, "Kristin LeMoine"],
            ["60", "M", "train-clean-100", 20.18, "|CBW|Simon"],
        ]

    @pytest.mark.parametrize("line", ["14 | F | dev-clean | 25.03", "14 | F | dev-clean | long | Kristin"])
    def test_line_of_another_form_is_named(self, tmp_path: Path, line: str) -> None:
        with pytest.raises(CorpusError, match=r"line 2: .* is not ID \| SEX"):
            read_speakers(self._write(tmp_path, "; header", line))

    def test_speaker_that_is_there_twice(self, tmp_path: Path) -> None:
        line = "14 | F | dev-clean | 25.03 | Kristin"
        with pytest.raises(CorpusError, match=r"lists speakers twice: \['14'\]"):
            read_speakers(self._write(tmp_path, line, line))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_policy_has_no_default(problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Policy.model_validate({other: "skip" for other in PROBLEMS if other != problem})
