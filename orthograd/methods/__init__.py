"""The unlearning methods, one module each; the method's name is its module's, its config key and its path segment.

A module under this package that defines `METHOD` is a method; `base` holds what they share. The modules are read when a
config is checked, so none imports torch before it runs.
"""

from __future__ import annotations

import importlib
import pkgutil

from orthograd.methods.base import Method


def names() -> list[str]:
    """The names of all methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def load(name: str) -> Method:
    """The method of that name.

    Raises:
        KeyError: the name is not in `names()`.
    """
    if name not in names():
        raise KeyError(f"unknown method {name!r}: choose one of {', '.join(names())}")
    method: Method = importlib.import_module(f"{__name__}.{name}").METHOD
    return method
