"""Where a result comes from: the code it depends on, the commit, the machine and the versions."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def _path(module: str) -> Path | None:
    """The source file of a module of this repository or of a distribution that adds to it; None if there is none."""
    if module.split(".")[0] != "orthograd":
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # a name in a module that is no package
            return None
        return Path(spec.origin) if spec and spec.origin else None
    base = _ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _named(tree: ast.Module, package: str) -> frozenset[str]:
    """What a module of a package imports, anywhere in its text, but for annotations only; not all of it modules."""
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parent, *([node.module] if node.module else [])])
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return frozenset(found)


def _imports(module: str, path: Path) -> set[str]:
    """Modules of this package or its own that a module imports, see `_named`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    packages = ("orthograd", module.split(".")[0])
    return {name for name in _named(_tree(path), package) if name.split(".")[0] in packages and _path(name)}


def closure(*modules: str) -> list[str]:
    """The modules of this package that the given ones import, directly or not, with themselves and their packages.

    Read from the source text, so nothing is imported. A module named in a string (the methods' registry) is not
    seen: name it as an argument.

    Raises:
        ModuleNotFoundError: a given name is no module.
    """
    pending = list(modules)
    found: set[str] = set()
    while pending:
        module = pending.pop()
        if module in found:
            continue
        path = _path(module)
        if path is None:
            raise ModuleNotFoundError(f"no module {module!r}, neither in {_ROOT} nor installed")
        found.add(module)
        pending.extend(_imports(module, path))
        pending.extend(filter(None, [module.rpartition(".")[0]]))
    return sorted(found)


@cache
def _without_docstrings(tree: ast.Module) -> str:
    """The syntax tree as text, without docstrings, comments and positions."""
    copy = ast.parse(ast.unparse(tree))
    for node in ast.walk(copy):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(copy)


def code_version(*modules: str) -> str:
    """Hash (16 hex digits) of what the given modules and their import closure do.

    Docstrings, comments and formatting do not change it: a result depends on none of them.
    """
    digest = hashlib.sha256()
    for module in closure(*modules):
        path = _path(module)
        assert path is not None, "closure() names only modules with a file"
        digest.update(f"{module}\n{_without_docstrings(_tree(path))}\n".encode())
    return digest.hexdigest()[:16]


def commit() -> str:
    """The commit of the working tree, with '+changes' when the code or a config differs; 'unknown' outside git."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git(
            "status", "--porcelain", "--", "orthograd", "workflow", "config", "profiles", "Snakefile"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, str]:
    """Processor, cores, operating system, Python and the versions that numbers depend on."""
    packages = ("torch", "torchvision", "numpy", "scipy", "pandas", "snakemake")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }
