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


def test_a_file_in_place_of_the_methods_is_read(tmp_path: Path) -> None:
    profile = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    (tmp_path / "tuned.yaml").write_text(
        yaml.safe_dump(profile["methods"], sort_keys=False), encoding="utf-8"
    )
    printed = []
    for section in (profile["methods"], str(tmp_path / "tuned.yaml")):
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump({**profile, "methods": section}, sort_keys=False), encoding="utf-8")
        arguments = ["--spaces", "config/spaces.yaml", "--profile", str(path)]
        run = subprocess.run(
            [sys.executable, "-m", "orthograd", "methods", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(run.stdout)
    assert printed[0] == printed[1]
    rate = profile["methods"]["random"]["ft"]["learning_rate"]
    section = printed[1].split("## FT\n")[1].split("\n## ")[0]
    assert "| published | searched | tuned, random | tuned, class |" in section
    assert f"| 0.01 | 0.001 to 0.3, logarithmic | {rate:.3g} |" in section


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
