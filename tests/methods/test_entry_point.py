"""A method from another distribution: installed, found, checked, run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orthograd import methods

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, sys, torch
from orthograd import config, methods, provenance
from orthograd.data.samples import PixelScale, Samples
from orthograd.methods.base import DataView

method = methods.load("sign_ascent")
model = torch.nn.Linear(2, 2).eval()
before = [p.detach().clone() for p in model.parameters()]
samples = Samples(torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([0, 1]))
data = DataView({"forget": samples}, method.reads, 0, PixelScale((0.0,), (1.0,)))
params = method.params.model_validate({"step": 0.25, "batch_size": 2, "passes": 3})
steps = sum(1 for _ in method.run(model, data, params))
moved = max(float((a - b).abs().max()) for a, b in zip(before, model.parameters()))
code = provenance.code_version(methods.module("sign_ascent"))
print(json.dumps({"names": methods.names(), "steps": steps, "moved": moved, "code": code}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the example as pip or uv installs it."""
    source = tmp_path_factory.mktemp("source")
    for file in (ROOT / "examples" / "method").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    target = tmp_path_factory.mktemp("site")
    uv = Path(sys.executable).with_name("uv")
    place = ["--offline", "--python", sys.executable, "--target", target]
    how = ["--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([uv, "pip", "install", *place, *how, source], check=True)
    return target


def _python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True
    )


def test_it_stands_beside_the_others_and_runs(installed: Path) -> None:
    found = json.loads(_python(installed, "-c", SCRIPT).stdout)
    assert found["names"] == sorted([*methods.names(), "sign_ascent"])
    assert found["steps"] == 3
    # Three steps of 0.25 at most; a coordinate may turn back.
    assert 0.25 - 1e-6 <= found["moved"] <= 0.75 + 1e-6


def test_its_code_is_a_part_of_the_version_of_its_results(installed: Path) -> None:
    def code() -> str:
        return str(json.loads(_python(installed, "-c", SCRIPT).stdout)["code"])

    before = code()
    module = installed / "sign_ascent.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text.replace("weight += params.step", "weight += 1.0 * params.step"), encoding="utf-8")
    try:
        assert code() != before
    finally:
        module.write_text(text, encoding="utf-8")


def test_the_command_lists_it(installed: Path) -> None:
    listed = _python(installed, "-m", "orthograd", "methods").stdout
    assert "- name: `sign_ascent`" in listed
    assert "- name: `orthograd`" in listed
    assert "| `step` | change of every parameter in a step, a number > 0 |" in listed
