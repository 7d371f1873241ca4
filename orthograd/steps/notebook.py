"""Run a notebook on the files of a run; write it with its outputs, and as a page. A failing cell ends the step."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd import notebook
from orthograd.reporting.names import NOTEBOOKS


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--notebook", type=Path, required=True, help="notebook without outputs")
    parser.add_argument(
        "--parameters", type=json.loads, required=True, help="JSON: values of its cell of parameters"
    )
    parser.add_argument("--out", type=Path, required=True, help="notebook to write")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write")


def run(arguments: Namespace) -> None:
    name = arguments.notebook.name
    content = notebook.read(arguments.notebook)
    notebook.inject(content, arguments.parameters, name)
    notebook.execute(content)
    notebook.write(content, arguments.out)
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    title = NOTEBOOKS.get(arguments.notebook.stem, arguments.notebook.stem)
    arguments.page.write_bytes(notebook.to_html(content, title).encode())
