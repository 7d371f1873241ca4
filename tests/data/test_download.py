import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy import CONTENT, FAST, Answer, Server, Stopwatch, body, make_dataset, status, zipped

from orthograd.data.download import (
    MIRROR_VARIABLE,
    DownloadError,
    Provenance,
    check_mirror,
    download,
    resolve_mirror,
)
from orthograd.data.registry import Dataset

MIRROR = {"kind": "mirror"}
DEBIAN = {"kind": "debian", "package": "dataset-toy", "path": "usr/share/datasets/toy/{file}.gz"}


def http(server: Server, folder: str = "") -> dict[str, str]:
    return {"kind": "http", "url": f"{server.url}{folder}/{{file}}.gz"}


def sources(provenance: list[Provenance]) -> dict[str, str]:
    return {entry.file: entry.source for entry in provenance}


def assert_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"provenance.json", *CONTENT}
    for name, content in CONTENT.items():
        assert (folder / name).read_bytes() == content


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    (folder / "toy").mkdir(parents=True)
    return folder


class TestHttp:
    def test_serves_and_records_where_from(self, server: Server, tmp_path: Path) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", body(zipped(name)))
        provenance = download(make_dataset(http(server)), tmp_path, None, FAST)
        assert_complete(tmp_path)
        assert provenance == [
            Provenance(
                name, "http", f"{server.url}/{name}.gz", len(content), hashlib.sha256(content).hexdigest()
            )
            for name, content in CONTENT.items()
        ]
        written = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
        assert [Provenance(**entry) for entry in written] == provenance

    def test_takes_content_that_a_server_has_decompressed(self, server: Server, tmp_path: Path) -> None:
        for name, content in CONTENT.items():
            server.serve(f"/{name}.gz", body(content))
        download(make_dataset(http(server)), tmp_path, None, FAST)
        assert_complete(tmp_path)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (lambda good: body(good[: len(good) // 2], announced=len(good)), "broken off"),
            (lambda good: body(good[: len(good) // 2]), "the gzip data break off"),
            (lambda good: body(CONTENT["alpha"][:-1]), "incomplete: 8191 of 8192 bytes"),
            (lambda good: body(CONTENT["alpha"] + b"!"), "more than the 8192 bytes"),
            (lambda good: body(good[:-20] + bytes(12) + good[-8:]), "broken gzip data"),
            (lambda good: body(bytes(8192)), f"SHA-256 {hashlib.sha256(bytes(8192)).hexdigest()}, expected"),
            (lambda good: body(b""), "incomplete: 0 of 8192 bytes"),
            (lambda good: body(b"\x1f"), "incomplete: 1 of 8192 bytes"),
            (lambda good: body(b"<html>Please log in</html>"), "incomplete: 26 of 8192 bytes"),
            (lambda good: status(404), "not found"),
            (lambda good: status(400), "HTTP 400"),
            (lambda good: status(500), "HTTP 500"),
        ],
    )
    def test_what_is_not_the_file_is_refused_and_leaves_nothing(
        self, server: Server, tmp_path: Path, answer: Callable[[bytes], Answer], reason: str
    ) -> None:
        server.serve("/alpha.gz", answer(zipped("alpha")))
        server.serve("/beta.gz", body(zipped("beta")))
        with pytest.raises(DownloadError) as failure:
            download(make_dataset(http(server)), tmp_path, None, FAST)
        assert reason in str(failure.value)
        assert "no source served alpha." in str(failure.value)
        assert {path.name for path in tmp_path.iterdir()} == {"beta"}

    def test_passing_server_error_is_tried_again(self, server: Server, tmp_path: Path) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", status(500), status(503), body(zipped(name)))
        download(make_dataset(http(server)), tmp_path, None, FAST)
        assert_complete(tmp_path)
        assert server.requests == ["/alpha.gz"] * 3 + ["/beta.gz"] * 3

    def test_lasting_server_error_is_tried_a_limited_number_of_times(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.serve("/alpha.gz", status(500))
        server.serve("/beta.gz", body(zipped("beta")))
        with pytest.raises(DownloadError):
            download(make_dataset(http(server)), tmp_path, None, FAST)
        assert server.requests.count("/alpha.gz") == 1 + FAST.retries

    def test_server_that_asks_for_a_long_pause_does_not_get_it(self, server: Server, tmp_path: Path) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", body(b"", status=503, retry_after=60), body(zipped(name)))
        with Stopwatch() as watch:
            download(make_dataset(http(server)), tmp_path, None, FAST)
        assert watch.seconds < 10

    def test_stalling_server_is_cut_and_not_asked_again(self, server: Server, tmp_path: Path) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", server.stall(zipped(name)))
        with Stopwatch() as watch, pytest.raises(DownloadError, match=r"stalls.*[Rr]ead timed out"):
            download(make_dataset(http(server)), tmp_path, None, FAST)
        assert FAST.read <= watch.seconds < 5
        assert server.requests == ["/alpha.gz"]
        assert list(tmp_path.iterdir()) == []

    def test_unreachable_host_is_asked_once_and_the_next_source_serves(
        self, server: Server, closed_port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", body(zipped(name)))
        away = {"kind": "http", "url": f"http://127.0.0.1:{closed_port}/{{file}}.gz"}
        provenance = download(make_dataset(away, http(server)), tmp_path, None, FAST)
        assert_complete(tmp_path)
        assert [entry.location for entry in provenance] == [f"{server.url}/{name}.gz" for name in CONTENT]
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert f"127.0.0.1:{closed_port} cannot be reached" in warnings[0]

    def test_each_file_comes_from_the_first_source_that_has_it(self, server: Server, tmp_path: Path) -> None:
        server.serve("/one/alpha.gz", body(zipped("alpha")))
        server.serve("/two/alpha.gz", body(zipped("alpha")))
        server.serve("/two/beta.gz", body(zipped("beta")))
        dataset = make_dataset(http(server, "/one"), http(server, "/two"))
        provenance = download(dataset, tmp_path, None, FAST)
        assert [entry.location.removeprefix(server.url) for entry in provenance] == [
            "/one/alpha.gz",
            "/two/beta.gz",
        ]
        assert "/two/alpha.gz" not in server.requests


class TestFilesThatAreThere:
    def test_valid_files_are_kept_without_asking_any_source(self, server: Server, tmp_path: Path) -> None:
        for name, content in CONTENT.items():
            (tmp_path / name).write_bytes(content)
        provenance = download(make_dataset(http(server)), tmp_path, None, FAST)
        assert sources(provenance) == {"alpha": "kept", "beta": "kept"}
        assert server.requests == []

    @pytest.mark.parametrize("left", [CONTENT["alpha"][:-1], bytes(len(CONTENT["alpha"]))])
    def test_invalid_file_is_replaced(self, server: Server, tmp_path: Path, left: bytes) -> None:
        (tmp_path / "alpha").write_bytes(left)
        (tmp_path / "alpha.part").write_bytes(b"from a run that was killed")
        (tmp_path / "beta").write_bytes(CONTENT["beta"])
        server.serve("/alpha.gz", body(zipped("alpha")))
        provenance = download(make_dataset(http(server)), tmp_path, None, FAST)
        assert sources(provenance) == {"alpha": "http", "beta": "kept"}
        assert_complete(tmp_path)

    def test_interruption_leaves_no_file_that_looks_whole(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(self: Path, target: Path) -> Path:
            raise KeyboardInterrupt

        for name in CONTENT:
            server.serve(f"/{name}.gz", body(zipped(name)))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", interrupt)  # the last moment before the file has its name
            with pytest.raises(KeyboardInterrupt):
                download(make_dataset(http(server)), tmp_path, None, FAST)
        assert list(tmp_path.iterdir()) == []
        download(make_dataset(http(server)), tmp_path, None, FAST)
        assert_complete(tmp_path)


class TestMirror:
    @pytest.mark.parametrize("name", ["toy/{}.gz", "toy/{}", "{}.gz", "{}"])
    def test_folder_in_each_layout(self, mirror: Path, tmp_path: Path, name: str) -> None:
        for file, content in CONTENT.items():
            (mirror / name.format(file)).write_bytes(zipped(file) if name.endswith(".gz") else content)
        for address in (str(mirror), mirror.as_uri()):
            out = tmp_path / f"out-{address[0] == '/'}"
            provenance = download(make_dataset(MIRROR), out, address, FAST)
            assert_complete(out)
            assert [entry.location for entry in provenance] == [
                str(mirror / name.format(file)) for file in CONTENT
            ]

    def test_web_server(self, server: Server, tmp_path: Path) -> None:
        server.serve("/data/toy/alpha.gz", body(zipped("alpha")))
        server.serve("/data/beta", body(CONTENT["beta"]))
        download(make_dataset(MIRROR), tmp_path, f"{server.url}/data/", FAST)
        assert_complete(tmp_path)

    def test_corrupt_copy_is_passed_over_for_a_good_one(self, mirror: Path, tmp_path: Path) -> None:
        (mirror / "toy" / "alpha.gz").write_bytes(zipped("alpha")[:-9])
        for name, content in CONTENT.items():
            (mirror / name).write_bytes(content)
        out = tmp_path / "out"
        download(make_dataset(MIRROR), out, str(mirror), FAST)
        assert_complete(out)

    def test_mirror_comes_before_the_web(self, server: Server, mirror: Path, tmp_path: Path) -> None:
        for name in CONTENT:
            (mirror / name).write_bytes(CONTENT[name])
            server.serve(f"/{name}.gz", body(zipped(name)))
        provenance = download(make_dataset(MIRROR, http(server)), tmp_path / "out", str(mirror), FAST)
        assert sources(provenance) == {"alpha": "mirror", "beta": "mirror"}
        assert server.requests == []

    def test_lacking_files_come_from_the_next_source_with_a_warning(
        self, server: Server, mirror: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (mirror / "alpha").write_bytes(CONTENT["alpha"])
        server.serve("/beta.gz", body(zipped("beta")))
        provenance = download(make_dataset(MIRROR, http(server)), tmp_path / "out", str(mirror), FAST)
        assert sources(provenance) == {"alpha": "mirror", "beta": "http"}
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "mirror: beta: not found" in warnings[0]

    def test_no_mirror_is_no_cause_for_a_warning(
        self, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", body(zipped(name)))
        download(make_dataset(MIRROR, http(server)), tmp_path, None, FAST)
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    def test_missing_mirror_is_an_error_before_anything_else(self, server: Server, tmp_path: Path) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", body(zipped(name)))
        out = tmp_path / "out"
        with pytest.raises(ValueError, match=r"config key `mirror`.*ORTHOGRAD_MIRROR.*does not exist.*unset"):
            download(make_dataset(MIRROR, http(server)), out, str(tmp_path / "nowhere"), FAST)
        assert server.requests == []
        assert not out.exists()

    def test_check_names_key_cause_and_mend(self, closed_port: int, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for mirror, cause in {
            str(tmp_path / "nowhere"): "does not exist",
            (tmp_path / "nowhere").as_uri(): "does not exist",
            str(tmp_path / "file"): "is not a folder",
            "ftp://example.invalid/data": "neither a folder nor",
            f"http://127.0.0.1:{closed_port}/": "does not answer",
        }.items():
            with Stopwatch() as watch, pytest.raises(ValueError, match=cause) as failure:
                check_mirror(mirror)
            assert watch.seconds < 5
            for part in (repr(mirror), "config key `mirror`", MIRROR_VARIABLE, "correct it, or unset it"):
                assert part in str(failure.value)

    def test_check_accepts_what_exists(self, server: Server, tmp_path: Path) -> None:
        for mirror in (str(tmp_path), tmp_path.as_uri(), server.url):  # the server answers 404: it is there
            check_mirror(mirror)

    def test_config_key_comes_before_the_environment(self) -> None:
        environ = {MIRROR_VARIABLE: "/from/environment"}
        assert resolve_mirror("/from/config", environ) == "/from/config"
        assert resolve_mirror(None, environ) == "/from/environment"
        assert resolve_mirror(None, {MIRROR_VARIABLE: ""}) is None
        assert resolve_mirror(None, {}) is None


class TestDebian:
    """With stand-ins for apt-get and dpkg, which are shell scripts on PATH."""

    @pytest.fixture
    def tools(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package, and an `apt-get` and a `dpkg` that know it and note how they were called."""
        package = tmp_path / "package" / "usr" / "share" / "datasets" / "toy"
        package.mkdir(parents=True)
        for name in CONTENT:
            (package / f"{name}.gz").write_bytes(zipped(name))
        folder = tmp_path / "bin"
        folder.mkdir()
        self.script(
            folder / "apt-get",
            f'echo "$@" >> {tmp_path}/apt-calls',
            "case $* in *download*) touch dataset-toy_1_all.deb;; esac",
        )
        self.script(
            folder / "dpkg",
            'test "$1" = --extract && test -f "$2" && test -d "$3" || exit 9',
            f'cp -r {tmp_path}/package/. "$3"',
        )
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    @staticmethod
    def script(path: Path, *lines: str) -> None:
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
        path.chmod(0o755)

    @pytest.fixture
    def dataset(self) -> Dataset:
        return make_dataset(DEBIAN)

    def test_serves_with_private_state_only(self, tools: Path, dataset: Dataset, tmp_path: Path) -> None:
        out = tmp_path / "out"
        provenance = download(dataset, out, None, FAST)
        assert_complete(out)
        assert provenance[0].location == "dataset-toy_1_all.deb: usr/share/datasets/toy/alpha.gz"
        calls = (tmp_path / "apt-calls").read_text(encoding="utf-8").splitlines()
        assert [call.split()[-1] for call in calls] == ["update", "dataset-toy"]
        for call in calls:
            settings = dict(
                part.removeprefix("--option=").split("=", 1) for part in call.split()[1:-1] if "=" in part
            )
            for key in ("Dir::State", "Dir::State::Lists", "Dir::State::status", "Dir::Cache"):
                assert Path(settings[key]).is_relative_to(out)

    def test_serves_after_the_web_failed(self, tools: Path, server: Server, tmp_path: Path) -> None:
        server.serve("/alpha.gz", body(zipped("alpha")))
        server.serve("/beta.gz", body(zipped("beta")[:-9]))
        provenance = download(make_dataset(MIRROR, http(server), DEBIAN), tmp_path / "out", None, FAST)
        assert sources(provenance) == {"alpha": "http", "beta": "debian"}

    def test_package_is_not_fetched_when_nothing_is_missing(
        self, tools: Path, server: Server, tmp_path: Path
    ) -> None:
        for name in CONTENT:
            server.serve(f"/{name}.gz", body(zipped(name)))
        download(make_dataset(http(server), DEBIAN), tmp_path / "out", None, FAST)
        assert not (tmp_path / "apt-calls").exists()

    def test_index_that_fails_in_part_does_not_matter(
        self, tools: Path, dataset: Dataset, tmp_path: Path
    ) -> None:
        self.script(
            tools / "apt-get",
            "case $* in *update*) exit 100;; *download*) touch dataset-toy_1_all.deb;; esac",
        )
        download(dataset, tmp_path / "out", None, FAST)
        assert_complete(tmp_path / "out")

    @pytest.mark.parametrize("tool", ["apt-get", "dpkg"])
    def test_missing_tool(
        self, tools: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
    ) -> None:
        (tools / tool).unlink()
        monkeypatch.setenv("PATH", str(tools))
        with pytest.raises(DownloadError, match=f"debian: the command `{tool}` is not on this machine"):
            download(dataset, tmp_path / "out", None, FAST)

    def test_unknown_package_shows_what_apt_said(self, tools: Path, dataset: Dataset, tmp_path: Path) -> None:
        self.script(
            tools / "apt-get",
            "case $* in",
            "*update*) echo 'W: Some index files failed' >&2;;",
            "*download*) echo 'E: Unable to locate package' >&2; exit 100;; esac",
        )
        with pytest.raises(DownloadError) as failure:
            download(dataset, tmp_path / "out", None, FAST)
        expected = (
            "`apt-get download dataset-toy` failed: W: Some index files failed | E: Unable to locate package"
        )
        assert expected in str(failure.value)

    def test_broken_package(self, tools: Path, dataset: Dataset, tmp_path: Path) -> None:
        self.script(tools / "dpkg", "echo 'dpkg-deb: error: not a Debian archive' >&2; exit 2")
        with pytest.raises(DownloadError, match="failed: dpkg-deb: error: not a Debian archive"):
            download(dataset, tmp_path / "out", None, FAST)
        assert list((tmp_path / "out").iterdir()) == []

    def test_package_with_other_content(self, tools: Path, dataset: Dataset, tmp_path: Path) -> None:
        folder = tmp_path / "package" / "usr" / "share" / "datasets" / "toy"
        (folder / "alpha.gz").write_bytes(zipped("beta"))
        with pytest.raises(DownloadError, match=r"debian: alpha: .*wrong content: SHA-256"):
            download(dataset, tmp_path / "out", None, FAST)
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"beta"}

    def test_hanging_apt_is_ended_with_its_children(
        self, tools: Path, dataset: Dataset, tmp_path: Path
    ) -> None:
        late = tmp_path / "late"
        self.script(tools / "apt-get", f"(sleep 1.5; touch {late}) &", "wait")
        limits = replace(FAST, package_index=0.5)
        with (
            Stopwatch() as watch,
            pytest.raises(DownloadError, match=r"apt-get update` took longer than 0\.5"),
        ):
            download(dataset, tmp_path / "out", None, limits)
        assert watch.seconds < 1.5
        time.sleep(1.5)
        assert not late.exists()


def test_when_all_sources_fail_each_reason_and_the_mends_are_listed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    server.serve("/alpha.gz", body(b"nothing"))
    with pytest.raises(DownloadError) as failure:
        download(make_dataset(MIRROR, http(server), DEBIAN), tmp_path / "out", None, FAST)
    host = server.url.removeprefix("http://")
    assert str(failure.value).splitlines() == [
        "toy: no source served alpha, beta. The sources, in order:",
        "  - mirror: not set (neither the config key `mirror` nor ORTHOGRAD_MIRROR)",
        f"  - http: alpha: {server.url}/alpha.gz: incomplete: 7 of 8192 bytes",
        f"  - http: beta: not found (looked for {server.url}/beta.gz)",
        "  - debian: the command `apt-get` is not on this machine (only Debian and its kin have it)",
        "What you can do, any one of:",
        "  - put the files (plain, or gzipped as <name>.gz) into <folder>/toy/ and set the config key "
        "`mirror` or the environment variable ORTHOGRAD_MIRROR to <folder>",
        f"  - give this machine access to {host}",
        "  - as root, `apt-get install dataset-toy`, and set ORTHOGRAD_MIRROR to /usr/share/datasets/toy",
        "Then run the same command again: files that arrived are kept.",
    ]
