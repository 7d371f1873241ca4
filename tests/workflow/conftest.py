"""The smoke profile, run once through the real Snakefile in a temporary copy of the repository."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile",
    "config",
    "notebooks",
    "orthograd",
    "profiles",
    "workflow",
    "environment.yml",
    "pyproject.toml",
)

Snakemake = Callable[..., subprocess.CompletedProcess[str]]


def copy_repository(target: Path) -> Path:
    """What the pipeline consists of, without results and without git."""
    target.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / part)
    return target


def snakemake(folder: Path, *arguments: str, mirror: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder as a user does; the environment that holds it need not be active."""
    environment = dict(os.environ)
    if mirror is not None:
        environment["ORTHOGRAD_MIRROR"] = str(mirror)
    return subprocess.run(
        [str(Path(sys.executable).with_name("snakemake")), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the whole smoke profile ran."""
    folder = copy_repository(tmp_path_factory.mktemp("smoke") / "repository")
    run = snakemake(folder, "--cores", "2", "--configfile", "config/smoke.yaml")
    assert run.returncode == 0, run.stderr
    return folder
