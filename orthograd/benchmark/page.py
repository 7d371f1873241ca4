"""The page of the benchmark: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import pandas as pd

from orthograd.benchmark.accuracy import NEAR, PRECISIONS
from orthograd.benchmark.contenders import CONTENDERS
from orthograd.benchmark.models import LABELS
from orthograd.benchmark.worker import SMALL


@dataclass(frozen=True)
class Figure:
    """A figure of the page; its files `<name>.svg` and `<name>.png` lie beside the page."""

    name: str
    title: str
    notes: str
    svg: bytes

    @property
    def source(self) -> str:
        """The SVG as an image within the page, so that the ids inside two figures cannot clash."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class Table:
    """What a table of the page shows; the first columns are text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int


def render(
    timings: pd.DataFrame,
    bars: pd.DataFrame,
    precision: pd.DataFrame,
    conditions: Mapping[str, str],
    cost_figures: Sequence[Figure],
    alignment_figure: Figure,
) -> str:
    """The page as HTML, from the tables as they are written."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("orthograd.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    states = bars["state"].value_counts(sort=False)
    return environment.get_template("benchmark.html.j2").render(
        counts=", ".join(f"{count} {state}" for state, count in states.items()),
        conditions=conditions,
        bars=_bars_table(bars),
        cost_figures=cost_figures,
        timings=_timing_tables(timings),
        small=SMALL,
        precision=_precision_table(precision),
        near=f"{NEAR:g}",
        alignment_figure=alignment_figure,
    )


def _bars_table(bars: pd.DataFrame) -> Table:
    rows = bars[["bar", "where", "required", "measured", "state"]].astype(str).to_numpy().tolist()
    return Table(("Bar", "Where", "Required", "Measured", "State"), rows, 5)


def _timing_tables(timings: pd.DataFrame) -> list[tuple[str, Table]]:
    header = (
        "Contender",
        "Status",
        "Seconds",
        "n",
        "Time, ×",
        "Peak, MiB",
        "Memory, ×",
        "Error",
        "Error, float64",
        "Refined",
    )
    tables = []
    for (model, m, k), rows in timings.groupby(["model", "m", "k"], sort=False):
        found = rows.iloc[0]["parameters"]
        title = f"{LABELS[str(model)]}, {int(found):,} trainable parameters: m = {m}, k = {k}"
        body = [
            (
                CONTENDERS[row["contender"]].label,
                row["status"] + (f": {row['reason']}" if row["reason"] else ""),
                f"{number(row['seconds'])} ({number(row['seconds_min'])} to {number(row['seconds_max'])})"
                if row["repeats"]
                else "–",
                str(row["repeats"]),
                number(row["time_ratio"]),
                number(row["peak_bytes"] / 2**20),
                number(row["memory_ratio"]),
                number(row["error_float32"]),
                number(row["error_float64"]),
                "–" if pd.isna(row["refinements"]) else f"{row['refinements']:.0f}",
            )
            for row in rows.to_dict("records")
        ]
        tables.append((title, Table(header, body, 2)))
    return tables


def _precision_table(precision: pd.DataFrame) -> Table:
    header = (
        "Model",
        "Retain samples",
        "Precision",
        "Refinement",
        "k",
        "κ",
        "Largest |cos|",
        "Relative error",
    )
    rows = [
        (
            LABELS[row["model"]],
            row["samples"],
            PRECISIONS[row["precision"]],
            "yes" if row["refined"] else "no",
            str(row["k"]),
            *(
                (
                    number(row["condition_number"]),
                    number(row["max_cosine"]),
                    number(row["relative_error"]),
                )
                if row["status"] == "done"
                else (row["status"], "–", "–")
            ),
        )
        for row in precision.to_dict("records")
    ]
    return Table(header, rows, 4)


def number(value: float | None) -> str:
    """Three significant digits; below 0.001 as a power of ten; '–' for nothing."""
    if value is None or pd.isna(value):
        return "–"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
