"""OrthoGrad: machine unlearning by per-sample gradient orthogonalisation (arXiv:2503.02312)."""

__version__ = "0.1.0"
