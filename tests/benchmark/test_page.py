"""A toy run of the whole step: its files, and a page that shows the numbers in them."""

import base64
import html
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from orthograd.benchmark.contenders import CONTENDERS, FLOOR
from orthograd.benchmark.figures import cost, size
from orthograd.benchmark.page import number
from orthograd.benchmark.run import AGREEMENT, DONE, SKIPPED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    command = [sys.executable, "-m", "orthograd", "bench", "--quick", "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def _read(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / f"{name}.csv", keep_default_na=False, na_values=[""])


def test_every_contender_has_a_row_with_machine_and_commit(out: Path) -> None:
    timings = _read(out, "timings")
    assert sorted(timings["contender"]) == sorted(CONTENDERS)
    without = timings[timings["status"] != DONE]
    assert set(without["contender"]) <= {name for name, c in CONTENDERS.items() if c.needs}
    assert set(without["status"]) <= {"not installed"}
    conditions = json.loads((out / "conditions.json").read_text(encoding="utf-8"))
    for name in ("commit", "processor", "torch", "threads", "device"):
        assert (timings[f"with_{name}"].astype(str) == conditions[name]).all()
    measured = timings[(timings["status"] == DONE) & (timings["contender"] != FLOOR)]
    assert (measured["error_float64"] < AGREEMENT).all()
    assert (timings[timings["status"] == DONE]["peak_bytes"] > 0).all()


def test_low_precision_loses_orthogonality(out: Path) -> None:
    precision = _read(out, "precision").set_index(["samples", "precision", "refined"]).sort_index()
    single = precision.loc["independent", "float32", False]
    half = precision.loc["independent", "bf16", False]
    assert single["max_cosine"] < 1e-5
    assert 10 * single["max_cosine"] < half["max_cosine"] < 0.1
    assert set(precision.loc[:, "tf32", :]["status"]) == {"not available on this machine"}
    pairs = precision.loc["nearly equal pairs", "float32"]
    assert pairs["condition_number"].min() > 3 * single["condition_number"]
    assert pairs["max_cosine"].max() < 1e-5


def test_only_sampled_data_under_plain_sgd_are_left_alone(out: Path) -> None:
    alignment = _read(out, "alignment").set_index(["optimizer", "step", "samples"])["max_cosine"]
    for step in (1, 5):
        assert alignment["SGD", step, "sampled"].max() < 1e-4
        assert alignment["SGD", step, "unsampled"].min() > 1e-2
        assert alignment["Adam", step, "sampled"].min() > 1e-2
    momentum = alignment["SGD, momentum 0.9"]
    assert momentum[1, "sampled"].max() < 1e-4  # the first step of momentum is one of plain SGD
    assert momentum[5, "sampled"].min() > 1e-3


def test_the_page_shows_the_numbers_and_loads_nothing(out: Path) -> None:
    page = (out / "index.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    for row in _read(out, "timings").to_dict("records"):
        assert CONTENDERS[row["contender"]].label in text
        if row["status"] == DONE:
            spread = (
                f"{number(row['seconds'])} ({number(row['seconds_min'])} to {number(row['seconds_max'])})"
            )
            assert spread in text
            assert number(row["peak_bytes"] / 2**20) in text
        else:
            assert f"{row['status']}: {row['reason']}" in text
    for row in _read(out, "bars").to_dict("records"):
        assert row["bar"] in text
        assert row["measured"] in text
    for name in ("time", "memory", "size", "alignment"):
        drawn = (out / f"{name}.svg").read_bytes()
        assert f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}" in page
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    links = re.findall(r"(?:href|src)=\"([^\"]+)\"", page)
    assert all(link.startswith("data:") or (out / link).is_file() for link in links)


def test_the_figures_take_a_table_with_gaps() -> None:
    rows = [
        {
            "model": model,
            "contender": contender,
            "k": k,
            "status": SKIPPED if (contender, k) == ("ours-cg", 64) else DONE,
            "parameters": parameters,
            "seconds": 0.01 * k,
            "peak_bytes": 1e6 * k,
            "time_ratio": 2.0,
            "memory_ratio": 1.5,
        }
        for model, parameters in (("small-resnet", 174_274), ("resnet18", 11_173_962))
        for contender in (FLOOR, "ours-gramian", "ours-cg")
        for k in (8, 64)
    ]
    timings = pd.DataFrame(rows)
    for svg, png in (cost(timings, "seconds"), cost(timings, "peak_bytes"), size(timings)):
        assert svg.startswith(b"<?xml")
        assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (2.5, "2.5"),
        (1234.5, "1,234"),
        (3.4e-7, "3.4e-07"),
        (0.0, "0"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
