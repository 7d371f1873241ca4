"""JSON records: what a step writes about a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON in one form: two spaces, the keys in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """Read a JSON list of objects."""
    value: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return value
