"""Names and numbers as the reader sees them."""

import math

from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, PUBLISHED, RETRAINED
from orthograd.reporting.statistics import Interval

ABSENT = "–"

# The order fixes colours and markers of the figures: append, do not insert.
METHOD_LABELS = {
    ORTHOGRAD: "OrthoGrad",
    "ft": "FT",
    "neggrad": "NegGrad",
    "neggrad_plus": "NegGrad+",
    "scrub": "SCRUB",
    "gdr_gma": "GDR-GMA",
    "salun": "SalUn",
    "random_label": "Random label",
    "bad_teacher": "Bad Teacher",
    "ssd": "SSD",
    "duck": "DUCK",
    "boundary_shrink": "Boundary Shrink",
    "fisher": "Fisher",
    "l1_sparse": "ℓ1-sparse",
    "munba": "MUNBa",
    "pgu": "PGU",
    "scissorhands": "Scissorhands",
    "langevin": "Langevin",
    "unsir": "UNSIR",
    "scrub_r": "SCRUB+R",
    "orthograd_tensor": "OrthoGrad, per tensor",
    "orthograd_mean": "OrthoGrad, mean",
    "orthograd_ascent": "OrthoGrad, α = 0",
    "orthograd_lora": "OrthoGrad, LoRA",
    "orthograd_adam": "OrthoGrad, Adam",
    "orthograd_kl": "OrthoGrad, KL",
    "orthograd_norm": "OrthoGrad, norm-sampled",
    "orthograd_copy": "OrthoGrad, code copy",
    "orthograd_layers": "OrthoGrad, layers",
}
REFERENCE_LABELS = {ORIGINAL: "Original", RETRAINED: "Retrained"}


def method_label(method: str) -> str:
    """The printed name of a method; a method that has none is shown by its registry key."""
    if method.endswith(PUBLISHED):
        return f"{method_label(method.removesuffix(PUBLISHED))} (published)"
    labels = REFERENCE_LABELS | METHOD_LABELS
    name, _, variant = method.partition("-")
    if method in labels or name not in labels:
        return labels.get(method, method)
    return f"{labels[name]}, {variant}"


def number(value: float, decimals: int) -> str:
    """Fixed decimals, thousands separated by commas, a true minus sign, no negative zero; '–' for NaN.

    From a million on with three digits and a power of ten: a divergence of a collapsed model has no decimals to show.
    """
    if math.isnan(value):
        return ABSENT
    if decimals > 0 and 1e6 <= abs(value) < math.inf:
        digits, _, exponent = f"{value:.2e}".partition("e")
        return f"{digits}e{int(exponent)}".replace("-", "−")
    rounded = round(value, decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:,.{decimals}f}".replace("-", "−")


def estimate(value: Interval, scale: float, decimals: int) -> str:
    """'mean ± half-width', both multiplied by ``scale``; only the mean where there is no interval."""
    mean = number(value.mean * scale, decimals)
    if math.isnan(value.half_width):
        return mean
    return f"{mean} ± {number(value.half_width * scale, decimals)}"


def on_lines(label: str) -> str:
    """Each part of 'OrthoGrad, mean, same' on a line of its own, for a narrow panel."""
    return label.replace(", ", ",\n")


def listing(items: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def seeds_text(n: int) -> str:
    """'n = 1 seed', 'n = 3 seeds'."""
    return f"n = {n} seed{'' if n == 1 else 's'}"
