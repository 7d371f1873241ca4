"""The unlearning methods, one module each; the method's name is its module's, its config key and its path segment.

A module under this package that defines `METHOD` is a method; `base` holds what they share. Other distributions add
methods through the entry-point group `orthograd.methods`: the entry's name is the method's, its value the place of its
`Method`. The modules are read when a config is checked, so none imports torch before it runs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from functools import cache

from orthograd.methods.base import Method

GROUP = "orthograd.methods"


def _own() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"]


@cache
def entries() -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of methods in other distributions, by name; looked for once in a process.

    Raises:
        ValueError: two methods have one name.
    """
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name in found or entry.name in _own():
            raise ValueError(
                f"two methods have the name {entry.name!r}, one of them from {entry.value!r}: uninstall or rename one"
            )
        found[entry.name] = entry
    return found


def _entry(name: str) -> importlib.metadata.EntryPoint:
    found = entries()
    if name not in found:
        raise KeyError(f"unknown method {name!r}: choose one of {', '.join(names())}")
    return found[name]


def names() -> list[str]:
    """The names of all methods."""
    return sorted([*_own(), *entries()])


def module(name: str) -> str:
    """The module that a method's code starts from.

    Raises:
        KeyError: the name is not in `names()`.
    """
    if name in _own():
        return f"{__name__}.{name}"
    return _entry(name).module


def of_run(run: str) -> str:
    """The method of a run: `ft` of the runs `ft`, `ft-published` and `ft-<variant>`."""
    return run if run in names() else run.rpartition("-")[0]


def load(name: str) -> Method:
    """The method of that name.

    Raises:
        KeyError: the name is not in `names()`.
        TypeError: what an entry point leads to is no `Method` of that name.
    """
    if name in _own():
        own: Method = importlib.import_module(f"{__name__}.{name}").METHOD
        return own
    entry = _entry(name)
    method = entry.load()
    if not isinstance(method, Method) or method.name != name:
        raise TypeError(
            f"the entry point {name!r} leads to {entry.value!r}, which is no orthograd.methods.base.Method "
            "of that name: correct the entry or the name"
        )
    return method
