import json
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from orthograd.data.download import DownloadError
from orthograd.speech import sentences, synthesis
from orthograd.speech.corpus import read_audio, read_corpus
from orthograd.speech.specs import Policy, Synthesis
from orthograd.speech.synthesis import NAME, SUBSET, VOICES, find_programs, speak, synthesise

REFUSE = Policy(**dict.fromkeys(Policy.model_fields, "refuse"))


class TestSentences:
    def test_thousands_of_distinct_ones(self) -> None:
        drawn = sentences.draw(5000, 3)
        assert len(set(drawn)) == 5000
        assert sentences.count() > 10_000_000

    def test_seed_decides(self) -> None:
        assert sentences.draw(50, 1) == sentences.draw(50, 1)
        assert sentences.draw(80, 1)[:50] == sentences.draw(50, 1)
        assert not set(sentences.draw(50, 1)) & set(sentences.draw(50, 2))

    def test_no_gap_is_left_and_articles_fit(self) -> None:
        for sentence in sentences.draw(4000, 0):
            words = sentence.split()
            assert sentence == " ".join(words).lower()
            assert all(word.isalpha() for word in words)
            assert not any(a == "a" and b[0] in "aeiou" for a, b in pairwise(words)), sentence

    def test_count_is_the_number_of_choices(self) -> None:
        # The sizes of the lists, gap by gap, counted by hand.
        assert sentences._size(("one two three", "four five")) == 6

    def test_more_than_there_are(self) -> None:
        with pytest.raises(ValueError, match="at most"):
            sentences.draw(10**8, 0)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory):
    return find_programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def spoken(programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spoken") / "corpus"
    synthesise(Synthesis(sentences=2, seed=0), root, programs, threads=1)
    return root


def test_corpus_is_sound_and_no_sentence_is_spoken_twice(spoken: Path) -> None:
    found = read_corpus(spoken, [SUBSET], REFUSE)
    assert len(VOICES) >= 10
    assert len(found.speakers) == len(VOICES)
    assert found.utterances.groupby("speaker").size().tolist() == [2] * len(VOICES)
    assert found.utterances["transcript"].is_unique
    assert found.utterances["seconds"].between(1.5, 8).all()
    loudness = [float(np.sqrt(np.mean(read_audio(spoken / path) ** 2))) for path in found.utterances["path"]]
    assert min(loudness) > 0.01


def test_it_calls_itself_synthetic(spoken: Path) -> None:
    assert read_corpus(spoken, [SUBSET], REFUSE).speakers["name"].str.startswith(f"{NAME}: ").all()
    origin = json.loads((spoken / "synthesis.json").read_text(encoding="utf-8"))
    assert (origin["name"], origin["sentences"], origin["seed"]) == (NAME, 2, 0)
    assert all(origin["programs"].values())


def test_same_bytes_again_whatever_the_number_of_threads(spoken: Path, programs, tmp_path: Path) -> None:
    again = tmp_path / "again"
    synthesise(Synthesis(sentences=2, seed=0), again, programs, threads=2)

    def content(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    made, before = content(again), content(spoken)
    assert made.keys() == before.keys()
    assert [path for path, data in made.items() if data != before[path]] == []


def test_voices_differ(programs) -> None:
    """The long-term spectra of one sentence by all voices differ."""
    spectra = []
    for voice in VOICES:
        samples = speak(voice, "the captain found a golden lantern", programs).astype(float)
        frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::256] * np.hanning(512)
        power = np.log(np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0) + 1)
        spectra.append(power - power.mean())
    distances = [np.sqrt(np.mean((a - b) ** 2)) for i, a in enumerate(spectra) for b in spectra[:i]]
    assert min(distances) > 0.3


def test_folder_with_something_in_it_is_kept(tmp_path: Path, programs) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        synthesise(Synthesis(sentences=1, seed=0), tmp_path, programs, threads=1)


class TestWithoutPrograms:
    """With stand-ins for apt-get and dpkg, and nothing else on PATH but the shell's own commands."""

    @pytest.fixture
    def tools(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("sh", "touch", "mkdir", "chmod", "cat"):
            (folder / name).symlink_to(f"/bin/{name}")
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
        return folder

    @staticmethod
    def script(path: Path, *lines: str) -> None:
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
        path.chmod(0o755)

    def test_error_has_the_command_that_installs(self, tools: Path, tmp_path: Path) -> None:
        with pytest.raises(
            DownloadError,
            match=r"`apt-get` is not on this machine.*`apt-get install flite espeak-ng` as root",
        ):
            find_programs(tmp_path / "programs")

    def test_packages_and_what_they_need_are_unpacked_and_run(
        self, tools: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        calls = tmp_path / "calls"
        self.script(
            tools / "apt-get",
            f'echo "$@" >> {calls}',
            'case "$*" in *install*) touch archives/flite.deb archives/espeak-ng.deb archives/libneeded.deb;; esac',
        )
        self.script(
            tools / "dpkg",
            "mkdir -p root/usr/bin root/usr/lib/abc/espeak-ng-data",
            "touch root/usr/lib/abc/libneeded.so.1 root/usr/lib/abc/espeak-ng-data/phontab",
            # Folders without voices: the package's documentation, and one that a search from the top meets first.
            "mkdir -p root/usr/share/doc/espeak-ng-data root/espeak-ng-data",
            "for name in flite espeak-ng; do",
            "  printf '#!/bin/sh\\necho $LD_LIBRARY_PATH $ESPEAK_DATA_PATH\\n' > root/usr/bin/$name",
            "  chmod 755 root/usr/bin/$name",
            "done",
        )
        with caplog.at_level(logging.INFO):
            programs = find_programs(tmp_path / "programs")
        libraries = tmp_path / "programs/root/usr/lib/abc"
        assert programs.run(["flite"]).split() == [str(libraries), str(libraries)]
        update, install = calls.read_text(encoding="utf-8").splitlines()
        assert update.endswith("update")
        assert "install --download-only" in install
        assert install.endswith("flite espeak-ng")
        assert "not on this machine: flite espeak-ng" in caplog.text
        # What was unpacked is found again.
        assert find_programs(tmp_path / "programs") == programs
        assert len(calls.read_text(encoding="utf-8").splitlines()) == 2

    def test_program_that_fails_shows_what_it_said(self, tools: Path) -> None:
        self.script(tools / "flite", "echo 'no such voice' >&2; exit 3")
        with pytest.raises(RuntimeError, match="`flite -voice x` failed: no such voice"):
            synthesis.Programs().run(["flite", "-voice", "x"])
