"""The code version of a step changes with the code that the step runs, and with nothing else."""

from pathlib import Path

import pytest

from orthograd import provenance

FILES = {
    "__init__.py": "",
    "step.py": '"""A step."""\nfrom orthograd import used\nfrom orthograd.sub.deep import f\n\n\n'
    "def run():\n    import orthograd.late\n",
    "used.py": "X = 1\n",
    "late.py": "Y = 2\n",
    "other.py": "Z = 3\n",
    "typed.py": "T = 4\n",
    "sub/__init__.py": "",
    "sub/deep.py": "from typing import TYPE_CHECKING\nfrom . import near\n"
    "if TYPE_CHECKING:\n    from orthograd import typed\n"
    "def f(): pass\n",
    "sub/near.py": "N = 5\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "orthograd"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    return folder


def _version(*modules: str) -> str:
    provenance._tree.cache_clear()
    return provenance.code_version(*modules)


def test_the_closure_follows_imports_wherever_they_stand(package: Path) -> None:
    provenance._tree.cache_clear()
    assert provenance.closure("orthograd.step") == [
        "orthograd",
        "orthograd.late",
        "orthograd.step",
        "orthograd.sub",
        "orthograd.sub.deep",
        "orthograd.sub.near",
        "orthograd.used",
    ]


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("used.py", "X = 2\n", True),
        ("late.py", "Y = 3\n", True),
        ("sub/near.py", "N = 6\n", True),
        ("sub/__init__.py", "import os\n", True),
        ("other.py", "Z = 4\n", False),  # not imported
        ("typed.py", "T = 5\n", False),  # imported for annotations only
        ("used.py", '"""A docstring."""\n\nX = 1  # and a comment\n', False),
        ("used.py", "X=(\n  1)\n", False),  # formatting
    ],
)
def test_the_version_changes_with_what_the_code_does(
    package: Path, file: str, text: str, changes: bool
) -> None:
    before = _version("orthograd.step")
    (package / file).write_text(text, encoding="utf-8")
    assert (_version("orthograd.step") != before) == changes


def test_a_module_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_step"):
        provenance.code_version("orthograd.steps.no_such_step")


def test_steps_depend_on_what_they_run_and_on_no_more() -> None:
    training = provenance.closure("orthograd.steps.train")
    assert "orthograd.models.small_resnet" in training
    for apart in (
        "orthograd.config",
        "orthograd.engine",
        "orthograd.methods",
        "orthograd.reporting",
        "orthograd.metrics",
    ):
        assert apart not in training
    fine_tuning = provenance.closure("orthograd.steps.unlearn", "orthograd.methods.ft")
    assert "orthograd.engine" not in fine_tuning
    assert "orthograd.methods.neggrad" not in fine_tuning
    assert "orthograd.engine.gramian" in provenance.closure(
        "orthograd.steps.unlearn", "orthograd.methods.orthograd"
    )
