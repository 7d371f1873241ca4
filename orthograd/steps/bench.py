"""Measure the engine beside the other ways to compute its direction: tables, figures and page under `--out`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

from orthograd import provenance, records
from orthograd.benchmark import accuracy, figures, page
from orthograd.benchmark import run as timing
from orthograd.benchmark.bars import bars
from orthograd.benchmark.contenders import CONTENDERS, FLOOR
from orthograd.benchmark.models import WORKLOADS
from orthograd.benchmark.worker import Cell

log = logging.getLogger(__name__)

MOST_FORGET = 64

LARGEST_ON_CPU = {"resnet18": 256, "vit-tiny": 64, "whisper-tiny-lora": 8}
"""Largest k of a model on a CPU, so that `make bench` takes under half an hour; `--whole-grid` lifts it."""

PACKAGES = ("transformers", "peft", "opacus", "torchjd")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("reports/benchmark"), help="folder to write")
    parser.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--k", type=int, nargs="+", default=[8, 64, 256, 512], help="retain samples")
    parser.add_argument(
        "--whole-grid", action="store_true", help="every k for every model, on a CPU too: takes much longer"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps in each cell, at most")
    parser.add_argument("--enough", type=float, default=4, help="seconds of steps to time in a cell")
    parser.add_argument("--time-limit", type=float, default=40, help="seconds for one step")
    parser.add_argument(
        "--memory-limit", type=float, help="GiB for the process of one cell; else 0.7 of what is free"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--quick", action="store_true", help="small ResNet, k = 8, one repeat: does it run?")


def run(arguments: Namespace) -> None:
    """Measure and write timings.csv, bars.csv, precision.csv, alignment.csv, the figures and index.html."""
    if arguments.quick:
        arguments.models, arguments.k, arguments.repeats = ["small-resnet"], [8], 1
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    free = psutil.virtual_memory().available
    memory = arguments.memory_limit * 2**30 if arguments.memory_limit else 0.7 * free
    limits = timing.Limits(arguments.time_limit, int(memory), arguments.repeats, arguments.enough)
    arguments.out.mkdir(parents=True, exist_ok=True)
    conditions = _conditions(arguments, device, limits)
    records.write_json(arguments.out / "conditions.json", conditions)

    rows: list[dict[str, Any]] = []
    for measured in _timings(arguments, device, limits):
        rows += measured
        timings = pd.DataFrame(rows)
        _write(timings.assign(**_columns(conditions)), arguments.out / "timings.csv")
    held = bars(timings, device)
    _write(held, arguments.out / "bars.csv")

    precision, alignment = _accuracy(arguments, torch.device(device))
    _write(precision, arguments.out / "precision.csv")
    _write(alignment, arguments.out / "alignment.csv")
    _report(arguments.out, timings, held, precision, alignment, conditions)


def _accuracy(arguments: Namespace, device: torch.device) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of precision.csv and of alignment.csv."""
    # Sample by sample there is little work at a time: more threads wait for each other longer than they help.
    torch.set_num_threads(1)
    count = 8 if arguments.quick else 32
    models = [model for model in arguments.models if not model.startswith("whisper")]
    precision = [
        row
        for model in models
        # The oracle holds every gradient in float64: fewer samples where there are many parameters.
        for row in accuracy.precision(model, device, count if model == "small-resnet" else count // 4)
    ]
    alignment = accuracy.alignment(device, count, seeds=1 if arguments.quick else 3)
    return pd.DataFrame(precision), pd.DataFrame(alignment)


def _report(
    out: Path,
    timings: pd.DataFrame,
    held: pd.DataFrame,
    precision: pd.DataFrame,
    alignment: pd.DataFrame,
    conditions: dict[str, str],
) -> None:
    """The figures and the page, from the tables."""
    count, seeds = alignment["count"].iloc[0], alignment["seed"].nunique()
    drawings = (
        (
            "time",
            "Time of a step against k",
            "Median seconds of one step over m = min(k, 64) forget and k retain samples. Where a line ends, the "
            "contender ran out of memory or time, or was not run: the tables say which.",
            figures.cost(timings, "seconds"),
        ),
        (
            "memory",
            "Peak memory of a step against k",
            "The most memory in use during one step beside model and data, on the same cells.",
            figures.cost(timings, "peak_bytes"),
        ),
        (
            "size",
            "Time and peak memory against the size of the model",
            f"At the largest measured k up to {figures.SIZE_K}, over the NegGrad+ step of the same run. Of Whisper, "
            "only the LoRA matrices are trained.",
            figures.size(timings),
        ),
        (
            "alignment",
            "Retain gradients against the change of the parameters",
            f"Largest |cos(g_r^i, Δθ)| over {count} retain samples for the change Δθ of one step with α = 0 on a "
            f"small ResNet; one mark for each of {seeds} seeds (weights and data). Sampled: the retain samples "
            "of the step; unsampled: others of the same distribution.",
            figures.alignment(alignment),
        ),
    )
    *costs, last = (_figure(out, *drawing) for drawing in drawings)
    html = page.render(timings, held, precision, conditions, costs, last)
    (out / "index.html").write_text(html, encoding="utf-8")
    log.info("wrote %s", out / "index.html")


def _timings(arguments: Namespace, device: str, limits: timing.Limits) -> Iterator[list[dict[str, Any]]]:
    """The rows of one model and k after another, small k first; every contender has one, measured or not."""
    forkserver = timing.context(arguments.models)
    names = list(CONTENDERS)
    for model in arguments.models:
        agreement = timing.verify(forkserver, model, names, arguments.threads, device, limits)
        parameters = agreement[FLOOR]["parameters"]
        before: dict[str, timing.Outcome] = {}
        for k in sorted(arguments.k):
            m = min(k, MOST_FORGET)
            largest = LARGEST_ON_CPU.get(model, k)
            if device == "cpu" and k > largest and not arguments.whole_grid:
                outcomes = [
                    timing.Outcome(
                        Cell(model, name, m, k, arguments.threads, device),
                        timing.SKIPPED,
                        f"on a CPU this model stops at k = {largest}; --whole-grid goes on",
                    )
                    for name in names
                ]
            else:
                fit = {
                    name: timing.foreseen(before[name], m, k, limits) if name in before else None
                    for name in names
                    if name != FLOOR and "status" not in agreement[name]
                }
                outcomes = timing.measure(forkserver, model, m, k, fit, arguments.threads, device, limits)
                before = {outcome.cell.contender: outcome for outcome in outcomes}
                outcomes += [
                    timing.Outcome(
                        Cell(model, name, m, k, arguments.threads, device),
                        agreement[name]["status"],
                        agreement[name]["reason"],
                    )
                    for name in names
                    if "status" in agreement[name]
                ]
            yield [
                {**outcome.row(agreement[outcome.cell.contender]), "parameters": parameters}
                for outcome in outcomes
            ]


def _conditions(arguments: Namespace, device: str, limits: timing.Limits) -> dict[str, str]:
    versions = {
        name: importlib.metadata.version(name) if importlib.util.find_spec(name) else "not installed"
        for name in PACKAGES
    }
    machine = provenance.machine()
    return {
        "commit": provenance.commit(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": str(arguments.threads),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        **{
            name: machine[name] for name in ("processor", "cores", "system", "python", "torch", "torchvision")
        },
        **versions,
        "limits": f"{limits.seconds:.0f} s for a step, {limits.bytes / 2**30:.1f} GiB for a process",
    }


def _columns(conditions: dict[str, str]) -> dict[str, str]:
    """The conditions as columns that no column of the measurements is called."""
    return {f"with_{name}": value for name, value in conditions.items()}


def _write(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _figure(out: Path, name: str, title: str, notes: str, drawn: tuple[bytes, bytes]) -> page.Figure:
    svg, png = drawn
    (out / f"{name}.svg").write_bytes(svg)
    (out / f"{name}.png").write_bytes(png)
    return page.Figure(name, title, notes, svg)
