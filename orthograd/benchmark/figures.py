"""The figures of the benchmark, in the style of the reports."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import matplotlib.style
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from orthograd.benchmark.contenders import CONTENDERS, FLOOR
from orthograd.benchmark.models import LABELS
from orthograd.benchmark.run import DONE
from orthograd.reporting.figures import COLOURS, DASHES, MARKERS, PAGE_WIDTH, STYLE, axes_grid, saved

MIB = 2**20

SIZE_K = 64


def cost(timings: pd.DataFrame, column: str) -> tuple[bytes, bytes]:
    """Time (`seconds`) or peak memory (`peak_bytes`) of one step against k, one panel a model: SVG and PNG.

    A cell without a result has no point; the table has its status.
    """
    models = [model for model in LABELS if model in set(timings["model"])]
    done = timings[timings["status"] == DONE]
    with mpl.style.context(STYLE):
        columns = min(2, len(models))
        lines = math.ceil(len(models) / columns)
        legend = 0.2 * math.ceil((len(CONTENDERS)) / 3)
        figure, axes = axes_grid(lines, columns, len(models), PAGE_WIDTH, 2.3 * lines + legend)
        for ax, model in zip(axes, models, strict=True):
            for name in CONTENDERS:
                rows = done[(done["model"] == model) & (done["contender"] == name)].sort_values("k")
                ax.plot(rows["k"], rows[column] / _unit(column), **_look(name))
            _axes(ax, timings[timings["model"] == model], column)
            ax.set_title(LABELS[model])
        figure.legend(handles=_handles(), loc="outside lower center", ncols=3, frameon=False)
        return saved(figure)


def size(timings: pd.DataFrame) -> tuple[bytes, bytes]:
    """Time and peak memory of a step over the floor's, models in the order of trainable parameters: SVG and PNG.

    Each model at its largest measured k up to `SIZE_K`.
    """
    done = timings[timings["status"] == DONE]
    floor = done[(done["contender"] == FLOOR) & (done["k"] <= SIZE_K)]
    largest = floor.groupby("model")["k"].max()
    done = done[done["k"] == done["model"].map(largest)]
    panels = {"time_ratio": "Time of a step, × NegGrad+", "memory_ratio": "Peak memory, × NegGrad+"}
    sizes = done.groupby("model")[["parameters", "k"]].first().sort_values("parameters")
    position = {model: place for place, model in enumerate(sizes.index)}
    names = [name for name in CONTENDERS if name != FLOOR]
    with mpl.style.context(STYLE):
        figure, axes = axes_grid(1, 2, 2, PAGE_WIDTH, 3.3)
        for ax, (column, label) in zip(axes, panels.items(), strict=True):
            ax.axhline(1, **_look(FLOOR))
            for place, name in enumerate(names):
                rows = done[done["contender"] == name]
                shift = (place - (len(names) - 1) / 2) * 0.09
                ax.plot(rows["model"].map(position) + shift, rows[column], **{**_look(name), "ls": ""})
            ax.set_yscale("log")
            ax.minorticks_off()
            ax.set_xlim(-0.5, len(sizes) - 0.5)
            labels = [
                f"{LABELS[str(model)]}\n{count / 1e6:.2g} M\nk = {k}"
                for model, count, k in sizes.itertuples()
            ]
            ax.set_xticks(range(len(sizes)), [text.replace(", ", ",\n") for text in labels])
            ax.tick_params(axis="x", labelsize=7)
            _plain_ticks(ax)
            ax.set_xlabel("Model, trainable parameters")
            ax.set_ylabel(label)
            sns.despine(ax=ax)
        figure.legend(handles=_handles(), loc="outside lower center", ncols=3, frameon=False)
        return saved(figure)


def _handles() -> list[Line2D]:
    return [Line2D([], [], label=contender.label, **_look(name)) for name, contender in CONTENDERS.items()]


def _unit(column: str) -> float:
    return 1.0 if column == "seconds" else MIB


def _look(name: str) -> dict[str, Any]:
    """Line and mark of a contender, the same in every figure: ours solid, the others dashed."""
    if name == FLOOR:
        return {"color": "0.35", "marker": "", "ls": ":", "lw": 2.0}
    slot = list(CONTENDERS).index(name) - 1  # the floor comes first
    ours = name.startswith("ours")
    colours = [*COLOURS, "0.1"]
    return {
        "color": colours[slot % len(colours)],
        "marker": MARKERS[slot % len(MARKERS)],
        "ls": DASHES[0] if ours else DASHES[1],
        "lw": 1.6 if ours else 1.0,
        "ms": 5,
        "mec": "white",
        "mew": 0.5,
    }


def _axes(ax: Axes, rows: pd.DataFrame, column: str) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    sizes = sorted(set(rows["k"]))
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel("k, retain samples")
    ax.set_ylabel("Seconds a step" if column == "seconds" else "Peak memory (MiB)")
    _plain_ticks(ax)
    sns.despine(ax=ax)


def _plain_ticks(ax: Axes) -> None:
    """Plain numbers on the logarithmic axis, some between the powers of ten where it spans few of them."""
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if high < 50 * low else (1,)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def alignment(rows: pd.DataFrame) -> tuple[bytes, bytes]:
    """Largest |cos| between retain gradients and the step, for each optimizer and step: SVG and PNG."""
    steps = sorted(set(rows["step"]))
    optimizers = list(dict.fromkeys(rows["optimizer"]))
    looks = {"sampled": ("o", COLOURS[0], -0.14), "unsampled": ("s", COLOURS[1], 0.14)}
    with mpl.style.context(STYLE):
        figure, axes = axes_grid(1, len(steps), len(steps), PAGE_WIDTH, 2.9)
        for ax, step in zip(axes, steps, strict=True):
            for samples, (marker, colour, shift) in looks.items():
                shown = rows[(rows["step"] == step) & (rows["samples"] == samples)]
                ax.plot(
                    [optimizers.index(name) + shift for name in shown["optimizer"]],
                    shown["max_cosine"],
                    marker=marker,
                    ls="",
                    ms=6,
                    color=colour,
                    mec="white",
                    mew=0.5,
                )
            ax.set_yscale("log")
            ax.set_ylim(rows["max_cosine"].min() / 2, 1.5)
            ax.set_xlim(-0.5, len(optimizers) - 0.5)
            ax.set_xticks(range(len(optimizers)), [name.replace(", ", ",\n") for name in optimizers])
            ax.set_title(f"Step {step}")
            sns.despine(ax=ax)
        axes[0].set_ylabel("Largest |cos| of a retain gradient\nand the change of the parameters")
        handles = [
            Line2D(
                [], [], ls="", marker=marker, color=colour, ms=6, label=f"{samples.capitalize()} retain data"
            )
            for samples, (marker, colour, _) in looks.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        return saved(figure)
