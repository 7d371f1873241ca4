"""Obtain the files of a dataset or a model from the first source that serves them, and verify every one.

A file reaches its name only by an atomic rename after its size and checksums were found right, so that half a
download is never taken for a whole one. A dataset that the registry lists no files of is not copied: a link leads to
what the user brought.
"""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from orthograd.data.registry import Dataset
from orthograd.data.sources import (
    ARCHIVES,
    DebianSource,
    File,
    Files,
    HttpSource,
    MirrorSource,
    Source,
    WheelSource,
)

MIRROR_VARIABLE = "ORTHOGRAD_MIRROR"
PROVENANCE = "provenance.json"

_CHUNK = 1 << 16  # bytes; gzip can swell a chunk a thousandfold
_CHECKSUMS = {"sha256": "SHA-256", "md5": "MD5"}
_GZIP_MAGIC = b"\x1f\x8b"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds, and how often to try again.

    The connect time-out holds for each address of a host in turn, and big hosts have up to eight: with two
    seconds, a machine without internet waits for about a quarter of a minute at most.
    """

    connect: float = 2.0
    read: float = 15.0  # without a single byte
    retries: int = 2  # after a server's passing error (429, 5xx)
    backoff: float = 0.5  # first pause between two tries; doubles
    package_index: float = 120.0
    package: float = 300.0


@dataclass(frozen=True)
class Provenance:
    """Which source served a file; `source` is "kept" when a valid file was there already.

    Size and checksums are those that were verified: None for what the user brought.
    """

    file: str
    source: str
    location: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


class DownloadError(RuntimeError):
    """No source served all files; the message lists each source with its reason and what the user can do."""


class _Failed(Exception):
    """A source did not serve one file; it may serve another."""


class _Missing(_Failed):
    """The source has no file at this place."""


class _Unusable(_Failed):
    """The source cannot serve anything."""


@dataclass(frozen=True)
class _Place:
    """Where a file may be: what `at` is for the user (`label`), and for the machine (a path or a URL)."""

    label: str
    at: Path | str


def resolve_mirror(configured: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The mirror to use: the config key, else ORTHOGRAD_MIRROR, else None. Empty means unset."""
    return configured or environ.get(MIRROR_VARIABLE) or None


def check_mirror(mirror: str, seconds: float = 2.0) -> None:
    """Check that a configured mirror exists: that the folder is there, or that the web server answers at all.

    Args:
        mirror: a folder, or a file://, http:// or https:// URL.
        seconds: longest wait for a web server to accept a connection, and again for it to answer.

    Raises:
        ValueError: names the key, the cause and the mend.
    """
    where = f"mirror {mirror!r} (config key `mirror` or environment variable {MIRROR_VARIABLE})"
    mend = "correct it, or unset it to use the public sources"
    scheme = urlsplit(mirror).scheme
    if scheme in ("http", "https"):
        try:
            requests.head(mirror, timeout=(seconds, seconds), allow_redirects=False).close()
        except requests.RequestException as error:
            raise ValueError(f"{where} does not answer: {_cause(error)}; {mend}") from error
    elif scheme not in ("", "file"):
        raise ValueError(f"{where} is neither a folder nor a file://, http:// or https:// URL; {mend}")
    elif not _folder(mirror).exists():
        raise ValueError(f"{where} does not exist; {mend}")
    elif not _folder(mirror).is_dir():
        raise ValueError(f"{where} is not a folder; {mend}")


def download(
    dataset: Files, out_dir: Path, mirror: str | None = None, limits: Limits = Limits()
) -> list[Provenance]:
    """Bring all files of `dataset` into `out_dir`, decompressed and verified, with a `provenance.json`.

    Files that are there and valid are kept. Sources are tried in the registry's order for the files that are
    still missing; a source that fails is reported as a warning.

    Args:
        dataset: an entry of the registry.
        out_dir: folder for the files, made if need be.
        mirror: the user's own copy (see `resolve_mirror`), which holds <dataset>/<file> or <file>, gzipped
            (with .gz) or not; for a dataset without files the folder <dataset> or its archive <dataset>.tar.xz,
            .tar.gz, .tar or .zip; None: no mirror.
        limits: time limits and number of retries.

    Returns:
        Which source served each file, in the order of the registry.

    Raises:
        ValueError: the mirror does not exist.
        DownloadError: no source served some file. Files that did arrive stay.
    """
    if mirror is not None:
        check_mirror(mirror)
    out_dir.mkdir(parents=True, exist_ok=True)
    if isinstance(dataset, Dataset) and not dataset.files:
        return _bring(dataset, out_dir, mirror)
    served = {
        file.name: _verified(file, "kept", file.name)
        for file in dataset.files
        if _is_valid(out_dir / file.name, file)
    }
    failures: list[str] = []
    for source in dataset.sources:
        missing = [file for file in dataset.files if file.name not in served]
        if not missing:
            break
        new, reasons = _serve(source, dataset, missing, out_dir, mirror, limits)
        served |= new
        failures += reasons
        if not (isinstance(source, MirrorSource) and mirror is None):  # no mirror is no cause for a warning
            for reason in reasons:
                logger.warning("%s: %s", dataset.name, reason)
    missing = [file for file in dataset.files if file.name not in served]
    if missing:
        raise DownloadError(_all_failed(dataset, missing, failures))
    return _record([served[file.name] for file in dataset.files], out_dir)


def _record(provenance: list[Provenance], out_dir: Path) -> list[Provenance]:
    part = out_dir / f"{PROVENANCE}.part"
    part.write_text(json.dumps([asdict(entry) for entry in provenance], indent=2) + "\n", encoding="utf-8")
    part.replace(out_dir / PROVENANCE)
    return provenance


def _bring(dataset: Dataset, out_dir: Path, mirror: str | None) -> list[Provenance]:
    """Link to the folder, or the archive of one, that the user brought under the mirror."""
    names = [dataset.name, *(f"{dataset.name}{ending}" for ending in ARCHIVES)]
    mend = (
        f"{dataset.instructions} Put the folder {dataset.name} (or {dataset.name}.tar.xz, .tar.gz, .tar or .zip) into "
        f"<folder>, and set the config key `mirror` or the environment variable {MIRROR_VARIABLE} to <folder>."
    )
    if mirror is None:
        raise DownloadError(f"{dataset.name} is not downloaded: you bring it, and no mirror is set. {mend}")
    if mirror_folder(mirror) is None:
        raise DownloadError(
            f"{dataset.name} is read in place, so the mirror {mirror} must be a folder. {mend}"
        )
    found = [_folder(mirror).resolve() / name for name in names if (_folder(mirror) / name).exists()]
    if not found:
        raise DownloadError(f"{dataset.name} is not in {mirror} (looked for {', '.join(names)}). {mend}")
    return link(dataset.name, found[0], out_dir)


def mirror_folder(mirror: str) -> Path | None:
    """The folder that a mirror is; None: it is a web server."""
    return None if urlsplit(mirror).scheme in ("http", "https") else _folder(mirror)


def link(name: str, found: Path, out_dir: Path) -> list[Provenance]:
    """Link from `out_dir` to a folder or an archive that the user brought, in place of earlier links."""
    for earlier in [path for path in out_dir.iterdir() if path.is_symlink()]:
        earlier.unlink()
    (out_dir / found.name).symlink_to(found)
    logger.info("%s: read in place, no checksum compared, from %s", name, found)
    return _record([Provenance(found.name, "mirror", str(found))], out_dir)


def _serve(
    source: Source,
    dataset: Files,
    files: list[File],
    out_dir: Path,
    mirror: str | None,
    limits: Limits,
) -> tuple[dict[str, Provenance], list[str]]:
    """Fetch what `source` has of `files`; return what it served, by file name, and its failures."""
    served: dict[str, Provenance] = {}
    reasons: list[str] = []
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=out_dir) as scratch, _session(limits) as session:
        try:
            places = _places(source, dataset, mirror, Path(scratch), limits)
            for file in files:
                try:
                    place = _fetch(file, places(file), out_dir / file.name, session, limits)
                except _Unusable:
                    raise
                except _Failed as failure:
                    reasons.append(f"{source.kind}: {file.name}: {failure}")
                else:
                    served[file.name] = _verified(file, source.kind, place.label)
                    logger.info("%s: %s from %s", dataset.name, file.name, place.label)
        except _Unusable as failure:
            reasons.append(f"{source.kind}: {failure}")
    return served, reasons


def _places(
    source: Source, dataset: Files, mirror: str | None, scratch: Path, limits: Limits
) -> Callable[[File], list[_Place]]:
    """Make the source ready; return where it may hold a given file, likeliest place first."""
    match source:
        case MirrorSource():
            if mirror is None:
                raise _Unusable(f"not set (neither the config key `mirror` nor {MIRROR_VARIABLE})")
            return lambda file: _mirror_places(mirror, dataset, file)
        case HttpSource():
            return lambda file: [_Place(url := source.url.format(file=file.name), url)]
        case DebianSource():
            archive, root = _unpack_packages([source.package], scratch, limits, dependencies=False)

            def places(file: File) -> list[_Place]:
                path = source.path.format(file=file.name)
                return [_Place(f"{archive}: {path}", root / path)]

            return places
        case WheelSource():
            root = _unpack_wheel(source, scratch, limits)

            def members(file: File) -> list[_Place]:
                path = source.path.format(file=file.name)
                return [_Place(f"{source.package} {source.version}: {path}", root / path)]

            return members


def _mirror_places(mirror: str, dataset: Files, file: File) -> list[_Place]:
    suffixes = ("",) if file.is_archive else (".gz", "")
    names = [f"{folder}{file.name}{suffix}" for folder in (f"{dataset.name}/", "") for suffix in suffixes]
    if urlsplit(mirror).scheme in ("http", "https"):
        return [_Place(url := f"{mirror.rstrip('/')}/{name}", url) for name in names]
    paths = [_folder(mirror) / name for name in names]
    return [_Place(str(path), path) for path in paths]


def _folder(mirror: str) -> Path:
    parts = urlsplit(mirror)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(mirror).expanduser()


def _fetch(
    file: File, places: list[_Place], target: Path, session: requests.Session, limits: Limits
) -> _Place:
    """Store `file` from the first place that has it whole; return that place."""
    reasons = []
    for place in places:
        try:
            raw = _local(place.at) if isinstance(place.at, Path) else _remote(place.at, session, limits)
            with closing(raw):
                _store(raw, file, target)
        except _Unusable:
            raise
        except _Missing:
            continue
        except _Failed as failure:
            reasons.append(f"{place.label}: {failure}")
        else:
            return place
    looked_for = ", ".join(place.label for place in places)
    raise _Failed("; ".join(reasons) or f"not found (looked for {looked_for})")


def _local(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except FileNotFoundError as error:
        raise _Missing("no such file") from error
    except OSError as error:
        raise _Failed(error.strerror or str(error)) from error


def _remote(url: str, session: requests.Session, limits: Limits) -> Generator[bytes, None, None]:
    try:
        with session.get(url, stream=True, timeout=(limits.connect, limits.read)) as response:
            if response.status_code in (403, 404, 410):  # object stores answer 403 for what they do not hold
                raise _Missing(f"HTTP {response.status_code}")
            if response.status_code != 200:
                raise _Failed(f"HTTP {response.status_code} {response.reason}")
            yield from response.iter_content(_CHUNK)
    except (requests.ConnectionError, requests.Timeout) as error:
        # The next file would wait for the same host again.
        raise _Unusable(f"{urlsplit(url).netloc} cannot be reached or stalls: {_cause(error)}") from error
    except requests.RequestException as error:
        raise _Failed(f"broken off: {_cause(error)}") from error


def _session(limits: Limits) -> requests.Session:
    session = requests.Session()
    retry = Retry(
        total=limits.retries,
        connect=0,
        read=0,
        backoff_factor=limits.backoff,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,  # a server may ask for an hour
    )
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _cause(error: requests.RequestException) -> str:
    inner = error.args[0] if error.args else error
    return str(inner.reason if isinstance(inner, MaxRetryError) else inner)


def _store(raw: Iterator[bytes], file: File, target: Path) -> None:
    """Decompress and verify while writing to <target>.part; rename when all is right."""
    part = target.with_name(f"{target.name}.part")
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in file.checksums}
    size = 0
    try:
        with (
            part.open("wb") as stream,
            tqdm(total=file.size, unit="B", unit_scale=True, desc=file.name, disable=None) as bar,
        ):
            for chunk in raw if file.is_archive else _decompressed(raw):
                size += len(chunk)
                if size > file.size:
                    raise _Failed(f"wrong content: more than the {file.size} bytes expected")
                for digest in digests.values():
                    digest.update(chunk)
                stream.write(chunk)
                bar.update(len(chunk))
        if size < file.size:
            raise _Failed(f"incomplete: {size} of {file.size} bytes")
        for name, expected in file.checksums.items():
            if (got := digests[name].hexdigest()) != expected:
                raise _Failed(f"wrong content: {_CHECKSUMS[name]} {got}, expected {expected}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Gunzip what begins like gzip, pass on the rest: some servers have decompressed a .gz on the way."""
    chunks = iter(chunks)
    head = b""
    while len(head) < len(_GZIP_MAGIC) and (chunk := next(chunks, b"")):
        head += chunk
    if not head.startswith(_GZIP_MAGIC):
        yield head
        yield from chunks
        return
    engine = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        yield engine.decompress(head)
        for chunk in chunks:
            yield engine.decompress(chunk)
    except zlib.error as error:
        raise _Failed(f"broken gzip data: {error}") from error
    if not engine.eof:
        raise _Failed("incomplete: the gzip data break off")


def _is_valid(path: Path, file: File) -> bool:
    if not path.exists():
        return False
    if path.stat().st_size == file.size:
        with path.open("rb") as stream:
            digests = {}
            for name in file.checksums:
                stream.seek(0)
                digests[name] = hashlib.file_digest(stream, name).hexdigest()
        if digests == file.checksums:
            return True
    logger.warning("%s is not the published file: it is fetched again", path)
    return False


def _verified(file: File, source: str, location: str) -> Provenance:
    return Provenance(file.name, source, location, file.size, file.sha256, file.md5)


def unpack_programs(packages: Sequence[str], folder: Path, limits: Limits = Limits()) -> Path:
    """Fetch Debian packages, with all that they need and this machine lacks, and unpack them as an ordinary user.

    Args:
        packages: names in the Debian archive.
        folder: made if need be; what is in it of an earlier call is replaced.
        limits: time limits.

    Returns:
        The folder below which the packages' files lie as they would below ``/``.

    Raises:
        DownloadError: the packages cannot be had; the message says why and what the user can do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "root"
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        try:
            _, unpacked = _unpack_packages(packages, Path(scratch), limits, dependencies=True)
        except _Unusable as failure:
            names = " ".join(packages)
            raise DownloadError(
                f"{names}: {failure}. Install them with `apt-get install {names}` as root, or with the package manager "
                "of this machine."
            ) from failure
        shutil.rmtree(target, ignore_errors=True)
        unpacked.replace(target)
    return target


def _unpack_packages(
    packages: Sequence[str], scratch: Path, limits: Limits, dependencies: bool
) -> tuple[str, Path]:
    """Fetch packages of the Debian archive and unpack them below `scratch`, as an ordinary user.

    All of apt's state is private, so neither root nor the machine's package lists are needed; where to fetch
    from and which keys to trust stay as the machine has them. With `dependencies` the machine's list of what is
    installed is read too, and what the packages need beyond it comes with them.

    Returns:
        The packages' file names (which hold their versions), and the folder they were unpacked into.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise _Unusable(f"the command `{tool}` is not on this machine (only Debian and its kin have it)")
    scratch = scratch.resolve()
    for name in ("lists/partial", "archives/partial", "state", "root"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    settings = {
        "Dir::State": scratch / "state",
        "Dir::State::Lists": scratch / "lists",
        "Dir::State::status": "/var/lib/dpkg/status" if dependencies else scratch / "status",
        "Dir::Cache": scratch,
        "Dir::Cache::archives": scratch / "archives",
        # Run by root, apt would become a user who may not write to our private folders.
        "APT::Sandbox::User": "root",
        "Acquire::Retries": limits.retries,
        "Acquire::http::Timeout": max(1, round(limits.read)),
        "Acquire::https::Timeout": max(1, round(limits.read)),
    }
    apt = ["apt-get", "--quiet=2", *(f"--option={key}={value}" for key, value in settings.items())]
    # The machine's own lock is for root only, and nothing of the machine is written.
    with_needs = ["install", "--download-only", "--yes", "--no-install-recommends", "--reinstall"]
    fetch = [*with_needs, "--option=Debug::NoLocking=1"] if dependencies else ["download"]
    names = " ".join(packages)
    logger.info("fetching from the Debian archive: %s", names)
    # Other archives that the machine knows may be out of order: only the download decides.
    _, index_errors = _command([*apt, "update"], scratch, limits.package_index)
    failed, errors = _command([*apt, *fetch, *packages], scratch, limits.package)
    archives = sorted([*scratch.glob("*.deb"), *scratch.glob("archives/*.deb")])
    if failed or len(archives) < len(packages):
        raise _Unusable(f"`apt-get {fetch[0]} {names}` failed: {_last_lines(index_errors + errors)}")
    for archive in archives:
        place = str(archive.relative_to(scratch))
        failed, errors = _command(["dpkg", "--extract", place, "root"], scratch, limits.package)
        if failed:
            raise _Unusable(f"`dpkg --extract {place}` failed: {_last_lines(errors)}")
    return " ".join(archive.name for archive in archives), scratch / "root"


def _unpack_wheel(source: WheelSource, scratch: Path, limits: Limits) -> Path:
    """Fetch a wheel, verify it and unpack it below `scratch`, with the installer of this Python's environment.

    Which package index is asked stays as the machine has it. Wheels are unpacked only: none of their code runs.

    Returns:
        The folder that it was unpacked into.
    """
    installers = {"pip": ["pip", "install"], "uv": ["uv", "pip", "install"]}
    found = [command for name, command in installers.items() if importlib.util.find_spec(name)]
    if not found:
        raise _Unusable(f"{sys.executable} has neither pip nor uv: install one of them")
    scratch = scratch.resolve()
    wanted = scratch / "wheel.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    options = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--target",
        "wheel",
        "-r",
        wanted.name,
    ]
    logger.info("fetching the wheel %s %s", source.package, source.version)
    failed, errors = _command([sys.executable, "-m", *found[0], *options], scratch, limits.package)
    if failed:
        name = " ".join(found[0])
        raise _Unusable(f"`{name} {source.package}=={source.version}` failed: {_last_lines(errors)}")
    return scratch / "wheel"


def _command(command: list[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Run a command in `folder`; return its exit code and what it wrote to stderr."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            name = " ".join(part for part in command if not part.startswith("-"))
            raise _Unusable(f"`{name}` took longer than {seconds:g} s") from error
        finally:
            if process.poll() is None:  # with its children: they hold the pipe open
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, errors


def _last_lines(errors: str) -> str:
    return " | ".join(errors.strip().splitlines()[-3:]) or "no message"


def _all_failed(dataset: Files, missing: list[File], failures: list[str]) -> str:
    names = [file.name for file in missing]
    lines = [f"{dataset.name}: no source served {', '.join(names)}. The sources, in order:"]
    lines += [f"  - {failure}" for failure in failures]
    lines += ["What you can do, any one of:"]
    for source in dataset.sources:
        match source:
            case MirrorSource():
                forms = "" if dataset.files[0].is_archive else " (plain, or gzipped as <name>.gz)"
                lines.append(
                    f"  - put the files{forms} into <folder>/{dataset.name}/ and"
                    f" set the config key `mirror` or the environment variable {MIRROR_VARIABLE} to <folder>"
                )
            case HttpSource():
                lines.append(f"  - give this machine access to {urlsplit(source.url).netloc}")
            case DebianSource():
                folder = PurePosixPath("/") / PurePosixPath(source.path).parent
                lines.append(
                    f"  - as root, `apt-get install {source.package}`, and set {MIRROR_VARIABLE} to {folder}"
                )
            case WheelSource():
                lines.append(
                    f"  - give this machine access to a Python package index that has {source.package}"
                    f" {source.version}"
                )
    lines.append("Then run the same command again: files that arrived are kept.")
    return "\n".join(lines)
