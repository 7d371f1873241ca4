"""List the methods: rule, source, the data they read, their parameters with published, searched and tuned values."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from orthograd import methods
from orthograd.config import load
from orthograd.methods.base import IMAGES, Method
from orthograd.reporting.text import ABSENT, method_label
from orthograd.search import Choices, Range, Space

HEADER = """\
# The methods

Written by `make docs`. L_r and L_f are the mean cross-entropies of a batch of retain and forget samples, θ the
parameters, η the learning rate, g_u the gradient of L_f, g_r those of the retain samples, each alone. The last column
is the file that pins the method against its definition; `tests/methods/test_contract.py` pins all of them: a method
changes the model, reads what it declares and nothing else, reads every parameter, repeats for a seed, and counts its
passes.

"""

SECTIONS = """\
In the tables below *published* values are defaults of the source, from which a value differs only where it is said;
*searched* are the spaces of `snakemake tune`, *tuned* what the laptop profile takes (`methods` in
`config/laptop.yaml`).

"""

GRADIENT_RULES = ("ft", "neggrad", "neggrad_plus", "orthograd")
"""Methods that share one file of tests, which works each first update out on one linear model."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spaces", type=Path, help="YAML: search space of each method (config/spaces.yaml)")
    parser.add_argument("--profile", type=Path, help="YAML: a profile, whose parameters are shown")


def run(arguments: Namespace) -> None:
    spaces = {} if arguments.spaces is None else _read(arguments.spaces)
    tuned = {} if arguments.profile is None else load(arguments.profile).methods
    print(HEADER + overview() + SECTIONS + listing(spaces, tuned), end="")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def pinned_by(name: str) -> str | None:
    """The file of the repository that tests a method against its definition; None for one of another distribution.

    By rule, since an installed package has no tests to look among.
    """
    if name in methods.entries():
        return None
    if name in GRADIENT_RULES:
        return "tests/unit/test_methods.py"
    # The copy is the authors' code, no form of ours.
    family = name.startswith("orthograd_") and name != "orthograd_copy"
    return f"tests/methods/test_{'orthograd_family' if family else name}.py"


def overview() -> str:
    """Markdown: a table with a row a method, which links to its section."""
    rows = []
    for name in methods.names():
        method, tests = methods.load(name), pinned_by(name)
        rows.append(
            [
                f"[{method_label(name)}](#{name})",
                method.rule,
                ", ".join(sorted(method.reads)),
                ABSENT if tests is None else f"[{Path(tests).name}](../{tests})",
            ]
        )
    return "\n".join([*_table(["method", "rule", "reads", "pinned by"], rows), "", ""])


def listing(spaces: Mapping[str, Any], tuned: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a section a method.

    Args:
        spaces: method → parameter → search space, as in the config.
        tuned: scenario → method → parameter → value.
    """
    adapter = TypeAdapter(Space)
    return "\n".join(
        _section(
            methods.load(name),
            adapter.validate_python(spaces.get(name, {})),
            {scenario: found[name] for scenario, found in tuned.items() if name in found},
        )
        for name in methods.names()
    )


def _section(method: Method, space: Space, tuned: Mapping[str, Mapping[str, Any]]) -> str:
    columns = {
        "published": None if method.published is None else method.published.params,
        "searched": {key: _space(value) for key, value in space.items()} or None,
        **{f"tuned, {scenario}": values for scenario, values in tuned.items()},
    }
    shown = {title: values for title, values in columns.items() if values is not None}
    lines = [
        # A heading's own anchor depends on who renders it, and two of the labels differ by a sign that it loses.
        f'<a id="{method.name}"></a>',
        "",
        f"## {method_label(method.name)}",
        "",
        f"- name: `{method.name}`",
        f"- rule: {method.rule}",
        f"- source: {method.source}",
        f"- reads: {', '.join(sorted(method.reads))}",
    ]
    images = method.scenarios & IMAGES
    if len(images) == 1:
        lines.append(f"- scenario: of images {next(iter(images))} only")
    if method.no_speech is not None:
        lines.append(f"- not for speech: {method.no_speech}")
    if method.published is not None:
        lines.append(f"- published defaults: {method.published.source}")
    rows = [
        [
            f"`{key}`",
            str(field.description),
            *(_value(values[key]) if key in values else ABSENT for values in shown.values()),
        ]
        for key, field in method.params.model_fields.items()
    ]
    lines += ["", *_table(["parameter", "meaning", *shown], rows), ""]
    return "\n".join(lines)


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    table = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _space(value: object) -> str:
    if isinstance(value, Range):
        return f"{_value(value.low)} to {_value(value.high)}{', logarithmic' if value.log else ''}"
    if isinstance(value, Choices):
        return ", ".join(map(_value, value.choices))
    return _value(value)
