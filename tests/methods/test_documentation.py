"""The page of the methods is what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orthograd import methods
from orthograd.steps.methods import pinned_by

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


def test_every_method_has_its_search_space() -> None:
    spaces = yaml.safe_load((ROOT / "config" / "spaces.yaml").read_text(encoding="utf-8"))
    assert sorted(spaces) == methods.names()


@pytest.mark.parametrize("name", methods.names())
def test_the_named_file_tests_the_method(name: str) -> None:
    tests = pinned_by(name)
    assert tests is not None
    assert f'"{name}"' in (ROOT / tests).read_text(encoding="utf-8")
    own = f"tests/methods/test_{name}.py"
    assert tests == own or not (ROOT / own).exists()


def test_a_method_of_another_distribution_has_no_file_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned_by("scrub") == "tests/methods/test_scrub.py"
    monkeypatch.setattr(methods, "entries", lambda: {"scrub": None})
    assert pinned_by("scrub") is None


def test_the_page_begins_with_a_row_a_method_that_links_to_its_section() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    first = page.split("\n\n")[2].splitlines()
    assert first[:2] == ["| method | rule | reads | pinned by |", "| --- | --- | --- | --- |"]
    assert len(first) == 2 + len(methods.names())
    (row,) = (line for line in first if line.startswith("| [NegGrad+]"))
    assert row == (
        "| [NegGrad+](#neggrad_plus) | θ ← θ − η ∇(α L_r − (1−α) L_f) | forget, retain "
        "| [test_methods.py](../tests/unit/test_methods.py) |"
    )
    for name in methods.names():
        assert page.count(f"](#{name}) |") == page.count(f'<a id="{name}"></a>\n\n## ') == 1
