"""Published corpora, in miniature: every name and folder is as in the real archives."""

import functools
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orthograd.data.download import DownloadError, Limits
from orthograd.speech.corpus import CorpusError, read_audio, read_corpus, read_speakers
from orthograd.speech.obtain import assemble, content, fetch
from orthograd.speech.registry import Corpus, speech_registry
from orthograd.speech.specs import Policy

FAST = Limits(connect=0.5, read=0.5, retries=0, backoff=0.01)
HEADER = "; Some pipe(|) separated metadata about all LibriVox readers\n;ID  |SEX| SUBSET           |MINUTES| NAME\n"
READERS = {
    "84": "84   | F | dev-clean        | 8.02  | Christie Nowak\n",
    "1089": "1089 | M | test-clean       | 8.05  | Peter Bobbe\n",
}
SPOKEN = {"dev-clean": ("84", "121123"), "test-clean": ("1089", "134686")}


def noise(key: int, samples: int = 1600) -> np.ndarray:
    return np.random.default_rng(key).integers(-3000, 3000, samples).astype(np.int16)


def librispeech(root: Path, *subsets: str) -> Path:
    """The folder `LibriSpeech` of the archives: two utterances in each subset."""
    root.mkdir(parents=True)
    for name in ("README.TXT", "LICENSE.TXT", "CHAPTERS.TXT", "BOOKS.TXT"):
        (root / name).write_text("as published\n", encoding="utf-8")
    (root / "SPEAKERS.TXT").write_text(HEADER + "".join(READERS.values()), encoding="utf-8")
    for subset in subsets:
        speaker, chapter = SPOKEN[subset]
        folder = root / subset / speaker / chapter
        folder.mkdir(parents=True)
        lines = []
        for number in range(2):
            name = f"{speaker}-{chapter}-{number:04d}"
            soundfile.write(folder / f"{name}.flac", noise(number), 16_000, subtype="PCM_16")
            lines.append(f"{name} GO DO YOU HEAR\n")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8")
    return root


def speechocean(root: Path, ages: tuple[int, ...]) -> Path:
    """The folder `speechocean762` of the archive: a speaker of each age, two utterances each, the parts in turn."""
    text = "MARK IS GOING TO SEE ELEPHANT"
    for place, age in enumerate(ages):
        speaker, part = f"{place * 3 + 1:04d}", ("train", "test")[place % 2]
        (root / part).mkdir(parents=True, exist_ok=True)
        (root / "WAVE" / f"SPEAKER{speaker}").mkdir(parents=True)
        lines: dict[str, list[str]] = {name: [] for name in ("text", "utt2spk", "wav.scp")}
        for number in (40, 12):
            utterance = f"{int(speaker):05d}{number:04d}"
            wav = f"WAVE/SPEAKER{speaker}/{utterance}.WAV"
            soundfile.write(root / wav, noise(place * 100 + number), 16_000, format="WAV", subtype="PCM_16")
            lines["text"].append(f"{utterance}\t{text} {number}\n")
            lines["utt2spk"].append(f"{utterance} {speaker}\n")
            lines["wav.scp"].append(f"{utterance}\t{wav}\n")
        lines |= {"spk2age": [f"{speaker}\t{age}\n"], "spk2gender": [f"{speaker}\t{'mf'[place % 2]}\n"]}
        for name, written in lines.items():
            with (root / part / name).open("a", encoding="utf-8") as stream:
                stream.writelines(written)
    return root


def pack(folder: Path, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, arcname=folder.name)


def registered(name: str, archives: Path | None = None, url: str | None = None, **changes: object) -> Corpus:
    """An entry of the registry, for the small archives in a folder, at home at `url`."""
    entry = speech_registry().corpus(name).model_dump()
    if archives is not None:
        entry["subsets"] = [
            {
                "name": path.name.removesuffix(".tar.gz"),
                "utterances": 2,
                "archive": {
                    "name": path.name,
                    "size": path.stat().st_size,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                },
            }
            for path in sorted(archives.glob("*.tar.gz"))
        ]
    home = [{"kind": "http", "url": f"{url}/{{file}}"}] if url else []
    return Corpus.model_validate(entry | {"sources": [{"kind": "mirror"}, *home]} | changes)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that a web server serves, and its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    folder = tmp_path / "home"
    folder.mkdir()
    web = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def published(tmp_path: Path, home: tuple[Path, str]) -> Corpus:
    """LibriSpeech with two small subsets at its public home."""
    folder, url = home
    for subset in SPOKEN:
        pack(librispeech(tmp_path / subset / "LibriSpeech", subset), folder / f"{subset}.tar.gz")
    return registered("librispeech", folder, url)


def fetched(corpus: Corpus, tmp_path: Path, mirror: Path | None = None, *subsets: str) -> dict[str, Path]:
    folders = {subset: tmp_path / "fetched" / subset for subset in subsets or corpus.subset_names}
    for subset, folder in folders.items():
        fetch(corpus, subset, folder, None if mirror is None else str(mirror), FAST)
        (folder / ".snakemake_timestamp").touch()  # as in a real run
    return folders


def assert_librispeech(root: Path, *subsets: str) -> None:
    found = read_corpus(root, subsets, Policy.refusing())
    assert found.utterances["subset"].tolist() == [subset for subset in subsets for _ in range(2)]
    assert np.array_equal(read_audio(root / str(found.utterances.at[1, "path"])) * 2**15, noise(1))
    assert not list(root.glob(".unpack-*"))


class TestLibriSpeech:
    def test_subsets_of_the_public_home_come_together(self, published: Corpus, tmp_path: Path) -> None:
        folders = fetched(published, tmp_path)
        (served,) = json.loads((folders["dev-clean"] / "provenance.json").read_text(encoding="utf-8"))
        assert (served["source"], served["sha256"]) == ("http", published.subset("dev-clean").archive.sha256)
        assemble(published, folders, tmp_path / "corpus")
        assert_librispeech(tmp_path / "corpus", "dev-clean", "test-clean")
        assert {path.name for path in (tmp_path / "corpus").iterdir()} == {"SPEAKERS.TXT", *SPOKEN}

    @pytest.mark.parametrize("place", ["librispeech/dev-clean.tar.gz", "dev-clean.tar.gz"])
    def test_mirror_with_the_archive(self, published: Corpus, home, tmp_path: Path, place: str) -> None:
        target = tmp_path / "mirror" / place
        target.parent.mkdir(parents=True)
        (home[0] / "dev-clean.tar.gz").rename(target)
        folders = fetched(published, tmp_path, tmp_path / "mirror", "dev-clean")
        assert not (folders["dev-clean"] / "dev-clean.tar.gz").is_symlink()
        assemble(published, folders, tmp_path / "corpus")
        assert_librispeech(tmp_path / "corpus", "dev-clean")

    @pytest.mark.parametrize("place", ["LibriSpeech", "librispeech", "."])
    def test_mirror_with_the_unpacked_folder(self, published: Corpus, tmp_path: Path, place: str) -> None:
        shutil.copytree(
            tmp_path / "dev-clean" / "LibriSpeech", tmp_path / "mirror" / place, dirs_exist_ok=True
        )
        folders = fetched(published, tmp_path, tmp_path / "mirror", "dev-clean")
        (served,) = json.loads((folders["dev-clean"] / "provenance.json").read_text(encoding="utf-8"))
        assert (served["source"], served["sha256"]) == (
            "mirror",
            None,
        )  # no checksum was compared, and none is claimed
        assemble(published, folders, tmp_path / "corpus")
        assert_librispeech(tmp_path / "corpus", "dev-clean")
        assert (tmp_path / "corpus" / "dev-clean").is_symlink()

    def test_mirror_that_lacks_a_subset_leaves_it_to_the_home(
        self, published: Corpus, tmp_path: Path
    ) -> None:
        folders = fetched(published, tmp_path, tmp_path / "dev-clean")
        assemble(published, folders, tmp_path / "corpus")
        assert_librispeech(tmp_path / "corpus", "dev-clean", "test-clean")
        assert not (tmp_path / "corpus" / "test-clean").is_symlink()

    def test_other_bytes_are_refused(self, published: Corpus, home, tmp_path: Path) -> None:
        archive = home[0] / "dev-clean.tar.gz"
        archive.write_bytes(archive.read_bytes()[:-1] + b"?")
        with pytest.raises(
            DownloadError, match=r"wrong content: SHA-256.*\n(.*\n)*.*An unpacked copy does as well"
        ):
            fetched(published, tmp_path, None, "dev-clean")
        assert list((tmp_path / "fetched" / "dev-clean").iterdir()) == []

    @pytest.mark.parametrize("name", ["../escaped", "LibriSpeech/../../escaped", "{folder}/escaped"])
    def test_archive_that_writes_elsewhere_is_refused(self, tmp_path: Path, home, name: str) -> None:
        with tarfile.open(home[0] / "dev-clean.tar.gz", "w:gz") as packed:
            packed.add(librispeech(tmp_path / "LibriSpeech", "dev-clean"), arcname="LibriSpeech")
            member = tarfile.TarInfo(name.format(folder=tmp_path))
            member.size = 3
            packed.addfile(member, io.BytesIO(b"bad"))
        corpus = registered("librispeech", *home)
        folders = fetched(corpus, tmp_path)
        with pytest.raises(CorpusError, match=r"dev-clean\.tar\.gz (cannot be unpacked|holds . folders)"):
            assemble(corpus, folders, tmp_path / "deep" / "corpus")
        assert not list(tmp_path.rglob("escaped"))

    def test_archive_of_another_form(self, tmp_path: Path, home) -> None:
        (home[0] / "dev-clean.tar.gz").write_bytes(b"no archive")
        pack(librispeech(tmp_path / "LibriSpeech", "dev-clean"), home[0] / "test-clean.tar.gz")
        corpus = registered("librispeech", *home)
        folders = fetched(corpus, tmp_path)
        with pytest.raises(CorpusError, match=r"cannot be unpacked: [\s\S]*Get the archive again"):
            assemble(corpus, {"dev-clean": folders["dev-clean"]}, tmp_path / "one")
        with pytest.raises(CorpusError, match=r"lacks SPEAKERS.TXT or test-clean: .*openslr\.org/12"):
            assemble(corpus, {"test-clean": folders["test-clean"]}, tmp_path / "two")

    def test_missing_utterance_is_noticed(self, published: Corpus, tmp_path: Path) -> None:
        copy = tmp_path / "dev-clean" / "LibriSpeech"
        next(copy.rglob("*.flac")).unlink()
        folders = fetched(published, tmp_path, copy, "dev-clean")
        with pytest.raises(CorpusError, match="dev-clean has 1 utterances, but 2 are published"):
            assemble(published, folders, tmp_path / "corpus")

    def test_subsets_of_two_releases_are_refused(self, published: Corpus, tmp_path: Path) -> None:
        other = tmp_path / "test-clean" / "LibriSpeech"
        (other / "SPEAKERS.TXT").write_text(HEADER + READERS["1089"], encoding="utf-8")
        folders = fetched(published, tmp_path, None, "dev-clean") | fetched(
            published, tmp_path, other, "test-clean"
        )
        with pytest.raises(CorpusError, match=r"SPEAKERS\.TXT of test-clean differs"):
            assemble(published, folders, tmp_path / "corpus")

    def test_nothing_is_written_over(self, published: Corpus, tmp_path: Path) -> None:
        (tmp_path / "corpus").mkdir()
        (tmp_path / "corpus" / "mine").touch()
        with pytest.raises(FileExistsError, match="is not empty"):
            assemble(published, {}, tmp_path / "corpus")


class TestSpeechocean762:
    # Of adults and children by turns: speakers 1, 4, 7, 10.
    ages = (18, 6, 40, 17)

    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Corpus:
        """The entry, for what the small corpus holds: written by hand in LibriSpeech's layout."""
        root = tmp_path / "by hand" / "speechocean762-adults"
        for speaker, place in (("1", 0), ("7", 2)):
            chapter = root / "read-clean" / speaker / "1"
            chapter.mkdir(parents=True)
            lines = []
            for index, number in enumerate((12, 40)):
                name = f"{speaker}-1-{index:04d}"
                soundfile.write(
                    chapter / f"{name}.flac", noise(place * 100 + number), 16_000, subtype="PCM_16"
                )
                lines.append(f"{name} MARK IS GOING TO SEE ELEPHANT {number}\n")
            (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines), encoding="utf-8")
        (root / "SPEAKERS.TXT").write_text(
            "1 | M | read-clean | 0.00 | 0001\n7 | M | read-clean | 0.00 | 0007\n", encoding="utf-8"
        )
        known = {"name": "read-clean", "utterances": 4, "content": content(root, "read-clean")}
        return registered("speechocean762-adults", subsets=[known])

    @pytest.mark.parametrize("form", ["archive", "folder", "converted"])
    def test_each_form_gives_the_same_corpus(self, corpus: Corpus, tmp_path: Path, form: str) -> None:
        mirror = tmp_path / "mirror"
        if form == "converted":
            mirror = tmp_path / "by hand"
        elif form == "folder":
            speechocean(mirror / "speechocean762", self.ages)
        else:
            pack(speechocean(tmp_path / "speechocean762", self.ages), mirror / "speechocean762.tar.gz")
        assemble(corpus, fetched(corpus, tmp_path, mirror), tmp_path / "corpus")
        assert content(tmp_path / "corpus", "read-clean") == corpus.subset("read-clean").content
        speakers = read_speakers(tmp_path / "corpus" / "SPEAKERS.TXT")
        assert speakers[["speaker", "sex", "name"]].values.tolist() == [
            ["1", "M", "0001"],
            ["7", "M", "0007"],
        ]

    @pytest.mark.parametrize("spoil", ["transcript", "samples"])
    def test_other_content_is_refused(self, corpus: Corpus, tmp_path: Path, spoil: str) -> None:
        root = speechocean(tmp_path / "mirror" / "speechocean762", self.ages)
        if spoil == "samples":
            soundfile.write(
                root / "WAVE/SPEAKER0007/000070012.WAV", noise(5), 16_000, format="WAV", subtype="PCM_16"
            )
        else:
            text = root / "train" / "text"
            text.write_text(
                text.read_text(encoding="utf-8").replace("ELEPHANT 40", "ELEPHANTS 40"), encoding="utf-8"
            )
        folders = fetched(corpus, tmp_path, tmp_path / "mirror")
        with pytest.raises(CorpusError, match=r"read-clean are not the published ones: .*kind: folder"):
            assemble(corpus, folders, tmp_path / "corpus")

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("train/text", r"text does not exist: bring speechocean762 whole"),
            ("WAVE/SPEAKER0001/000010012.WAV", r"000010012\.WAV cannot be read: .*Get speechocean762 again"),
        ],
    )
    def test_incomplete_copies_are_named(
        self, corpus: Corpus, tmp_path: Path, missing: str, message: str
    ) -> None:
        (speechocean(tmp_path / "mirror" / "speechocean762", self.ages) / missing).unlink()
        folders = fetched(corpus, tmp_path, tmp_path / "mirror")
        with pytest.raises(CorpusError, match=message):
            assemble(corpus, folders, tmp_path / "corpus")

    def test_without_a_copy_the_message_says_what_to_bring(self, tmp_path: Path) -> None:
        corpus = speech_registry().corpus("speechocean762-adults")
        mend = r"openslr\.org/101/.*Put speechocean762\.tar\.gz.*ORTHOGRAD_MIRROR"
        with pytest.raises(DownloadError, match=rf"you bring it, and no mirror is set\. .*{mend}"):
            fetch(corpus, "read-clean", tmp_path / "raw")
        (tmp_path / "mirror").mkdir()
        with pytest.raises(DownloadError, match=rf"not in the mirror .*mirror, .*{mend}"):
            fetch(corpus, "read-clean", tmp_path / "raw", str(tmp_path / "mirror"))
        with pytest.raises(ValueError, match="does not exist"):
            fetch(corpus, "read-clean", tmp_path / "raw", str(tmp_path / "nowhere"))
