"""Run a notebook in this process and render it as HTML: the lock has no Jupyter kernel, and none is needed.

A notebook that is run here runs in Jupyter as well. As with papermill, one code cell is tagged ``parameters`` and sets
what may be set from outside; the values for a run stand in a cell of their own behind it.
"""

from __future__ import annotations

import ast
import base64
import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

PARAMETERS = "parameters"
INJECTED = "injected-parameters"


class NotebookError(ValueError):
    """A notebook that cannot be run as asked; the message says what to mend."""


@dataclass(frozen=True)
class Prose:
    """Text with computed numbers, as Markdown: the value of a cell."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text


@dataclass(frozen=True)
class Picture:
    """A figure, and in words what it shows: the value of a cell."""

    png: bytes
    alt: str

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return self.alt


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


def execute(notebook: NotebookNode, name: str) -> None:
    """Run the code cells in one namespace, and put what they print and the value of their last expression into them.

    An exception in a cell comes through as it is; its traceback names the cell as the file.

    Args:
        notebook: changed in place.
        name: of the notebook, for tracebacks.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(_code(notebook), 1):
        cell.execution_count = number
        cell.outputs = _run(cell.source, f"{name}, code cell {number}", namespace)


def _run(source: str, file: str, namespace: dict[str, Any]) -> list[NotebookNode]:
    body = ast.parse(source, file).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), file, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), file, "eval"), namespace)
    outputs = []
    if printed.getvalue():
        outputs.append(new_output("stream", name="stdout", text=printed.getvalue()))
    if value is not None:
        outputs.append(new_output("display_data", data=_shown(value)))
    return outputs


def _shown(value: Any) -> dict[str, str]:
    """A value in the formats in which it can show itself, by their MIME types (the protocol of IPython)."""
    data = {"text/plain": repr(value)}
    if hasattr(value, "_repr_markdown_"):
        data["text/markdown"] = value._repr_markdown_()
    if hasattr(value, "_repr_png_"):
        data["image/png"] = base64.b64encode(value._repr_png_()).decode()
    return data


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
