"""The projection engine. Notation as in arXiv:2503.02312.

``g_u``: gradient of the mean forget loss; ``g_r^i``: gradient of the loss of retain sample i = 1..k;
``G``: the k×d matrix with the rows ``g_r^i``; ``K = G Gᵀ``: its Gramian; ``r = G g_u``;
``g_u⊥``: ``g_u`` less its projection onto the rows of ``G``. The direction to descend is
``g = α · mean_i(g_r^i) − (1 − α) · g_u⊥``.
"""

from orthograd.engine.core import OrthoGrad
from orthograd.engine.diagnostics import Diagnostics
from orthograd.engine.materialize import NotFiniteError

__all__ = ["Diagnostics", "NotFiniteError", "OrthoGrad"]
