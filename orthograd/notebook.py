"""Run a notebook in a Jupyter kernel and render it as a page of the report.

As with papermill, one code cell is tagged ``parameters`` and sets what may be set from outside; the values for a run
stand in a cell of their own behind it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from markdown_it import MarkdownIt
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

PARAMETERS = "parameters"
INJECTED = "injected-parameters"


class NotebookError(ValueError):
    """A notebook that cannot be run as asked; the message says what to mend."""


def read(path: Path) -> NotebookNode:
    """Read a notebook and check it against the format's schema."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook; the same notebook has the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def imported(notebook: NotebookNode) -> list[str]:
    """The modules of this package that the notebook's code imports."""
    found: set[str] = set()
    for cell in _code(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(name for name in found if name.split(".")[0] == "orthograd")


def inject(notebook: NotebookNode, parameters: Mapping[str, Any], name: str) -> None:
    """Put the parameters of a run behind the cell that declares them.

    Args:
        notebook: changed in place.
        parameters: values that their `repr` makes again: what JSON can hold.
        name: of the notebook, for the message.

    Raises:
        NotebookError: there is not exactly one cell of parameters, or it does not set the same names.
    """
    places = [i for i, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", [])]
    if len(places) != 1:
        raise NotebookError(
            f"{name}: {len(places)} cells are tagged {PARAMETERS!r}: tag the one that sets them"
        )
    (place,) = places
    declared = {
        target.id
        for node in ast.parse(notebook.cells[place].source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if declared != set(parameters):
        raise NotebookError(
            f"{name}: given without being declared {sorted(set(parameters) - declared)}, declared without being given "
            f"{sorted(declared - set(parameters))}: let the notebook and its rule name the same parameters"
        )
    source = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    # The id has to be the same in every run; new_code_cell would draw one.
    cell = new_code_cell(source, id=INJECTED, metadata={"tags": [INJECTED]})
    notebook.cells.insert(place + 1, cell)


def execute(notebook: NotebookNode) -> None:
    """Run the code cells in a kernel of this Python, and put their outputs into them.

    Args:
        notebook: changed in place.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails; the message has its source and its traceback.
    """
    # With times in it, no two runs would have the same bytes; a cell may take as long as it needs.
    NotebookClient(
        notebook,
        timeout=None,
        record_timing=False,
        kernel_name="python3",
        # Tracebacks go to a log, which shows no colours.
        extra_arguments=["--InteractiveShell.colors=nocolor"],
    ).execute()


def to_html(notebook: NotebookNode, title: str) -> str:
    """An executed notebook as a page that loads nothing from elsewhere; in Markdown, raw HTML is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    colours = HtmlFormatter(style="default", cssclass="code")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("orthograd.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = markdown.render
    environment.filters["highlight"] = lambda source: highlight(source, PythonLexer(), colours)
    return environment.get_template("notebook.html.j2").render(
        title=title, cells=notebook.cells, colours=colours.get_style_defs(".code")
    )


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
