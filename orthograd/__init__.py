"""OrthoGrad: machine unlearning by per-sample gradient orthogonalisation (arXiv:2503.02312)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthograd.engine import Diagnostics, OrthoGrad

__version__ = "0.1.0"
__all__ = ["Diagnostics", "OrthoGrad", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the engine, and torch with it, only when it is asked for (PEP 562)."""
    if name in ("Diagnostics", "OrthoGrad"):
        # Named in a string, so that the engine is no part of the import closure of all other modules.
        return getattr(importlib.import_module("orthograd.engine"), name)
    raise AttributeError(f"module 'orthograd' has no attribute {name!r}")
