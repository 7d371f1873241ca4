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
parameters, η the learning rate, g_u the gradient of L_f, g_r those of the retain samples, each alone. *Published*
values are defaults of the source, from which a value differs only where it is said; *searched* are the spaces of
`snakemake tune`, *tuned* what the laptop profile takes (`methods` in `config/laptop.yaml`). Each method is
pinned by `tests/methods/test_<name>.py` against its definition (gradient rules by `tests/unit/test_methods.py`,
OrthoGrad's variants by `test_orthograd_family.py`), and all by `tests/methods/test_contract.py`: it changes the
model, reads what it declares and nothing else, reads every parameter, repeats for a seed, and counts its passes.

"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spaces", type=Path, help="YAML: search space of each method (config/spaces.yaml)")
    parser.add_argument("--profile", type=Path, help="YAML: a profile, whose parameters are shown")


def run(arguments: Namespace) -> None:
    spaces = {} if arguments.spaces is None else _read(arguments.spaces)
    tuned = {} if arguments.profile is None else load(arguments.profile).methods
    print(HEADER + listing(spaces, tuned), end="")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


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
    table = [["parameter", "meaning", *shown], ["---"] * (2 + len(shown)), *rows]
    lines += [
        "",
        *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table),
        "",
    ]
    return "\n".join(lines)


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
