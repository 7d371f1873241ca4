"""The page of the methods is what the code says."""

import subprocess
import sys
from pathlib import Path

import yaml

from orthograd import methods

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    """Mend: `make docs`."""
    arguments = ["--spaces", "config/spaces.yaml", "--profile", "config/laptop.yaml"]
    listed = subprocess.run(
        [sys.executable, "-m", "orthograd", "methods", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == listed.stdout


def test_every_method_has_its_value_tests_and_its_search_space() -> None:
    spaces = yaml.safe_load((ROOT / "config" / "spaces.yaml").read_text(encoding="utf-8"))
    assert sorted(spaces) == methods.names()
    shared = [
        ROOT / "tests" / "unit" / "test_methods.py",
        ROOT / "tests" / "methods" / "test_orthograd_family.py",
    ]
    values = "".join(path.read_text(encoding="utf-8") for path in shared)
    for name in methods.names():
        own = ROOT / "tests" / "methods" / f"test_{name}.py"
        assert own.is_file() or f'"{name}"' in values, name
