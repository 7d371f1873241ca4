"""Obtain a published corpus: find or download its subsets, then bring them together in one folder, verified."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orthograd.data.download import (
    MIRROR_VARIABLE,
    PROVENANCE,
    DownloadError,
    Limits,
    Provenance,
    check_mirror,
    download,
    link,
    mirror_folder,
)
from orthograd.data.sources import Files
from orthograd.reads import digest
from orthograd.speech import speechocean762
from orthograd.speech.corpus import SPEAKERS, CorpusError, read_audio, read_corpus
from orthograd.speech.registry import Corpus, Subset
from orthograd.speech.specs import Policy

_ARCHIVE = ".tar.gz"
_LIMITS = Limits()

logger = logging.getLogger(__name__)


def fetch(
    corpus: Corpus, subset: str, out_dir: Path, mirror: str | None = None, limits: Limits = _LIMITS
) -> list[Provenance]:
    """Bring a subset into `out_dir`: a link to the user's unpacked copy, or the verified archive.

    Args:
        corpus: an entry of the registry.
        subset: one of its subsets.
        out_dir: folder to write, made if need be.
        mirror: the user's own copy (see `orthograd.data.download.resolve_mirror`): a folder with SPEAKERS.TXT and the
            subset in it, called as the corpus or as its published folder or the mirror itself; or the archive. What the
            user has unpacked goes first.
        limits: time limits.

    Raises:
        ValueError: the mirror does not exist, or there is no such subset.
        DownloadError: the subset cannot be had; the message says why and what the user can do.
    """
    known = corpus.subset(subset)
    out_dir.mkdir(parents=True, exist_ok=True)
    if mirror is not None:
        check_mirror(mirror)
        if (found := _copy(corpus, known, mirror)) is not None:
            return link(corpus.name, found, out_dir)
    unpacked = f"the folder {corpus.folder} or {corpus.name} with {SPEAKERS} and {subset} in it"
    setting = f"set the config key `mirror` or the environment variable {MIRROR_VARIABLE} to <folder>"
    if known.archive is None:
        looked = (
            "no mirror is set"
            if mirror is None
            else f"it is not in the mirror {mirror}, which must be a folder"
        )
        raise DownloadError(
            f"{corpus.name} is not downloaded: you bring it, and {looked}. {corpus.instructions} Put {corpus.folder}"
            f"{_ARCHIVE} as it is, or unpacked, or {unpacked}, into <folder>, and {setting}."
        )
    archive = Files(name=corpus.name, files=(known.archive,), sources=corpus.sources)
    try:
        return download(archive, out_dir, mirror, limits)
    except DownloadError as error:
        raise DownloadError(
            f"{error}\nAn unpacked copy does as well: put {unpacked} into <folder>."
        ) from None


def assemble(corpus: Corpus, fetched: Mapping[str, Path], out_dir: Path) -> None:
    """Bring subsets together in LibriSpeech's layout, and check each.

    A user's copy in that layout is linked to. Of archives nothing is written outside of `out_dir`.

    Args:
        corpus: their entry in the registry.
        fetched: by subset, what `fetch` left.
        out_dir: folder to write: SPEAKERS.TXT and the subsets; must not hold anything yet.

    Raises:
        FileExistsError: the folder holds something.
        CorpusError: an archive is broken or unsafe, the layout is another one, or the content is not what is published.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise FileExistsError(f"{out_dir} is not empty: remove it, or choose another folder")
    out_dir.mkdir(parents=True, exist_ok=True)
    for subset, folder in fetched.items():
        # Snakemake leaves a hidden file in the folders that its rules write.
        found = [
            path for path in folder.iterdir() if path.name != PROVENANCE and not path.name.startswith(".")
        ]
        if len(found) != 1:
            raise CorpusError(
                f"{folder} holds {len(found)} folders and archives, not one: fetch {subset} again"
            )
        if found[0].is_dir():
            _add(found[0].resolve(), corpus, subset, out_dir, own=False)
        else:
            with _unpacked(found[0], out_dir) as root:
                _add(root, corpus, subset, out_dir, own=True)
        _check(corpus.subset(subset), out_dir)


def content(root: Path, subset: str) -> str:
    """SHA-256 (hex) of all utterances of a subset: name, transcript and samples.

    It does not depend on how the samples are stored, as long as that is lossless.

    Raises:
        CorpusError: an utterance cannot be used.
    """
    found = read_corpus(root, [subset], Policy.refusing())
    lines = []
    for utterance in found.utterances.to_dict("records"):
        # Exact: the samples have 16 bits, and float32 carries 24.
        samples = (read_audio(root / str(utterance["path"])) * 2**15).astype("<i2")
        lines.append(
            f"{utterance['id']} {utterance['transcript']} {hashlib.sha256(samples.tobytes()).hexdigest()}"
        )
    return digest(lines)


def _copy(corpus: Corpus, subset: Subset, mirror: str) -> Path | None:
    """What the user brought under the mirror, where it is no verified archive."""
    top = mirror_folder(mirror)
    if top is None:
        return None
    folders = [top / corpus.name, top / corpus.folder, top]
    for folder in folders:
        if (folder / SPEAKERS).is_file() and (folder / subset.name).is_dir():
            return folder.resolve()
    if corpus.layout == "speechocean762":
        for folder in folders:
            if speechocean762.is_published(folder):
                return folder.resolve()
        for path in (top / corpus.name / f"{corpus.folder}{_ARCHIVE}", top / f"{corpus.folder}{_ARCHIVE}"):
            if path.is_file():
                return path.resolve()
    return None


@contextmanager
def _unpacked(archive: Path, out_dir: Path) -> Iterator[Path]:
    """The folder in the archive that holds all the others, unpacked to a temporary place below `out_dir`."""
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=out_dir) as scratch:
        try:
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise CorpusError(f"{archive} cannot be unpacked: {error}. Get the archive again") from error
        inner = [path for path in Path(scratch).iterdir() if path.is_dir()]
        if len(inner) != 1:
            raise CorpusError(
                f"{archive} holds {len(inner)} folders at its top, not one: get the published one"
            )
        yield inner[0]


def _add(root: Path, corpus: Corpus, subset: str, out_dir: Path, own: bool) -> None:
    """Add a subset that lies below `root`, which is our own or the user's, to the corpus in `out_dir`."""
    if corpus.layout == "speechocean762" and speechocean762.is_published(root):
        speechocean762.convert(root, out_dir)
        return
    if not ((root / SPEAKERS).is_file() and (root / subset).is_dir()):
        raise CorpusError(f"{root} lacks {SPEAKERS} or {subset}: get the corpus again from {corpus.homepage}")
    speakers = out_dir / SPEAKERS
    if not speakers.exists():
        shutil.copyfile(root / SPEAKERS, speakers)
    elif speakers.read_bytes() != (root / SPEAKERS).read_bytes():
        raise CorpusError(
            f"{SPEAKERS} of {subset} differs from that of the other subsets: take all of them from one release"
        )
    if own:
        (root / subset).rename(out_dir / subset)
    else:
        (out_dir / subset).symlink_to(root / subset)
        logger.info("%s: %s is read in place, from %s", corpus.name, subset, root)


def _check(subset: Subset, root: Path) -> None:
    """Compare a subset with what is published of it."""
    count = sum(1 for _ in (root / subset.name).glob("*/*/*.flac"))
    if count != subset.utterances:
        raise CorpusError(
            f"{subset.name} has {count} utterances, but {subset.utterances} are published: get the whole corpus again"
        )
    if subset.content is not None and (found := content(root, subset.name)) != subset.content:
        raise CorpusError(
            f"the utterances of {subset.name} are not the published ones: digest {found}, expected {subset.content}. "
            "Get the corpus again, or take it as one of your own (speech.corpus.kind: folder)"
        )
