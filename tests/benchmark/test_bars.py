"""The bars: arithmetic on a table made by hand, and what a missing number means."""

import pandas as pd
import pytest

from orthograd.benchmark.bars import MET, MISSED, NOT_MEASURED, bars
from orthograd.benchmark.contenders import OURS, VMAP_GLOBAL, VMAP_TENSOR

OVER_FLOOR, MEMORY, FASTER, SMALLER, GPU_TIME, GPU_LARGE, KEPT_TENSOR, KEPT_GLOBAL = range(8)


def _row(contender, k, seconds, **changes):
    row = {
        "model": "resnet18",
        "contender": contender,
        "m": 64,
        "k": k,
        "status": "done",
        "reason": "",
        "seconds": seconds,
        "time_ratio": seconds / 1.0,
        "peak_bytes": 100.0,
        "memory_ratio": 1.5,
    }
    return {**row, **changes}


def _table(*changed):
    rows = {
        (OURS, 64): _row(OURS, 64, 2.0),
        (OURS, 256): _row(OURS, 256, 5.0),
        (OURS, 512): _row(OURS, 512, 10.0),
        (VMAP_TENSOR, 64): _row(VMAP_TENSOR, 64, 8.0, peak_bytes=250.0),
        (VMAP_TENSOR, 256): _row(VMAP_TENSOR, 256, 20.0),
        (VMAP_GLOBAL, 64): _row(VMAP_GLOBAL, 64, 10.0),
        (VMAP_GLOBAL, 256): _row(VMAP_GLOBAL, 256, 30.0),
        (VMAP_GLOBAL, 512): _row(VMAP_GLOBAL, 512, 90.0),
    }
    for row in changed:
        rows[row["contender"], row["k"]] = row
    decoys = [{**row, "model": "small-resnet", "seconds": 1e-6} for row in rows.values()]
    return pd.DataFrame([*decoys, *rows.values()])


def test_the_values_are_the_quotients() -> None:
    table = bars(_table(), "cpu")
    assert list(table["measured"]) == [
        "2.00×",
        "1.50×",
        "4.00×",  # 8 / 2
        "2.50×",  # 250 / 100
        "not measured: no GPU",
        "not measured: no GPU",
        "4.00× at k = 64, 4.00× at k = 256",
        "5.00× at k = 64, 6.00× at k = 256",
    ]
    assert list(table["state"]) == [MET] * 4 + [NOT_MEASURED] * 2 + [MET] * 2


def test_on_a_gpu_only_its_own_bars_count() -> None:
    table = bars(_table(), "cuda")
    assert list(table["measured"][[GPU_TIME, GPU_LARGE]]) == ["2.00×", "9.00×"]
    assert list(table["state"][[GPU_TIME, GPU_LARGE]]) == [MET, MISSED]
    assert set(table["state"].drop([GPU_TIME, GPU_LARGE])) == {NOT_MEASURED}


@pytest.mark.parametrize(
    ("bar", "changed"),
    [
        (OVER_FLOOR, _row(OURS, 64, 2.6, time_ratio=2.51)),
        (MEMORY, _row(OURS, 64, 2.0, memory_ratio=1.61)),
        (FASTER, _row(VMAP_TENSOR, 64, 7.9, peak_bytes=250.0)),
        (SMALLER, _row(VMAP_TENSOR, 64, 8.0, peak_bytes=200.0)),  # exactly half is not less than half
        (KEPT_TENSOR, _row(VMAP_TENSOR, 256, 19.9)),
        (KEPT_GLOBAL, _row(VMAP_GLOBAL, 256, 24.0)),
    ],
)
def test_each_bar_can_be_missed(bar: int, changed: dict) -> None:
    assert bars(_table(changed), "cpu")["state"][bar] == MISSED


@pytest.mark.parametrize(
    ("contender", "status", "state"),
    [
        (VMAP_TENSOR, "out of memory", MET),
        (VMAP_TENSOR, "over the time limit", MET),
        (VMAP_TENSOR, "skipped", NOT_MEASURED),
        (VMAP_TENSOR, "wrong direction", NOT_MEASURED),
        (OURS, "out of memory", MISSED),
        (OURS, "skipped", NOT_MEASURED),
    ],
)
def test_a_contender_without_a_number(contender: str, status: str, state: str) -> None:
    row = _row(contender, 256, float("nan"), status=status, reason="why")
    found = bars(_table(row), "cpu").loc[KEPT_TENSOR]
    assert found["state"] == state
    assert found["measured"] == f"{contender}, k = 256: {status} (why)"


def test_a_run_without_the_cells_says_so() -> None:
    table = _table()
    table = bars(table[table["model"] != "resnet18"], "cpu")
    assert set(table["state"]) == {NOT_MEASURED}
    assert table["measured"][OVER_FLOOR] == "no row for ours-gramian, k = 64"
