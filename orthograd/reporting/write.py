"""The files of a report and their stable names, relative to the folder of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a change of the figures is none of the tables
    from orthograd.reporting.figures import RenderedFigure
    from orthograd.reporting.tables import Table

TABLE_FORMATS = ("csv", "md", "tex")
FIGURE_FORMATS = ("svg", "png")


def table_path(experiment_id: str, name: str, suffix: str) -> str:
    """tables/<id>.<table>.<suffix>"""
    return f"tables/{experiment_id}.{name}.{suffix}"


def figure_path(experiment_id: str, name: str, suffix: str) -> str:
    """figures/<id>.<figure>.<suffix>"""
    return f"figures/{experiment_id}.{name}.{suffix}"


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write the CSV, Markdown and LaTeX form under ``folder``; the paths written."""
    texts = {"csv": table.to_csv(), "md": table.to_markdown(), "tex": table.to_latex()}
    return [
        _write(folder / table_path(table.experiment_id, table.name, suffix), texts[suffix].encode())
        for suffix in TABLE_FORMATS
    ]


def write_figure(figure: RenderedFigure, folder: Path) -> list[Path]:
    """Write the SVG and PNG form under ``folder``; the paths written."""
    contents = {"svg": figure.svg, "png": figure.png}
    return [
        _write(folder / figure_path(figure.experiment_id, figure.name, suffix), contents[suffix])
        for suffix in FIGURE_FORMATS
    ]


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
