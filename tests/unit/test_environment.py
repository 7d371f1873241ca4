"""One source of truth for the environment: pyproject.toml → requirements.lock → the conda environments."""

import importlib.metadata
import re
import runpy
import tomllib
from pathlib import Path

import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def _locked() -> list[tuple[str, str, str, str]]:
    """(name, version, marker, hashes) of each requirement; a name may have a version for each range of Python."""
    entries = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=.*\n?)+)", LOCK, re.M
    )
    return [(name.lower(), *rest) for name, *rest in entries]


def test_every_line_of_the_lock_is_pinned_and_hashed() -> None:
    lines = [line for line in LOCK.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(lines) == len(_locked()) > 100
    assert all("--hash=sha256:" in hashes for *_, hashes in _locked())


def test_the_lock_of_the_benchmark_only_adds_to_the_lock() -> None:
    more = (ROOT / "requirements-bench.lock").read_text(encoding="utf-8").splitlines()
    lines = iter(more)
    assert all(line in lines for line in LOCK.splitlines()), "run `make lock`"  # all of it, in its order
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", "\n".join(more), re.M))
    for text in project["optional-dependencies"]["bench"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[requirement.name]), f"{text}: run `make lock`"


def test_the_lock_names_no_host() -> None:
    for path in (
        ROOT / "requirements.lock",
        ROOT / "requirements-bench.lock",
        ROOT / "environment.yml",
        ROOT / "workflow" / "envs" / "orthograd.yaml",
    ):
        assert "://" not in path.read_text(encoding="utf-8")


def test_the_lock_satisfies_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        versions = [version for name, version, *_ in _locked() if name == requirement.name.lower()]
        assert versions, f"{text} is not locked: run `make lock`"
        assert all(map(requirement.specifier.contains, versions)), (
            f"{text} against {versions}: run `make lock`"
        )


def test_the_environment_is_the_locked_one() -> None:
    for name, version, marker, _ in _locked():
        if not marker or Marker(marker).evaluate():
            assert importlib.metadata.version(name) == version, f"{name}: run `make environment`"


def test_the_conda_environments_are_those_of_the_lock() -> None:
    generate = runpy.run_path(str(ROOT / "workflow" / "envs" / "generate.py"))
    for path, content in generate["files"]().items():
        assert path.read_text(encoding="utf-8") == content, f"{path.name}: run `make lock`"
    pip = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    assert pip == ["-r requirements.lock"]
    pins = yaml.safe_load((ROOT / "workflow" / "envs" / "orthograd.yaml").read_text(encoding="utf-8"))
    assert len(pins["dependencies"][-1]["pip"]) == len(_locked())


def test_the_package_is_typed_and_carries_its_files() -> None:
    package = ROOT / "orthograd"
    for name in (
        "py.typed",
        "data/registry.yaml",
        "speech/registry.yaml",
        "reporting/templates/index.html.j2",
        "reporting/templates/style.css",
    ):
        assert (package / name).is_file()
