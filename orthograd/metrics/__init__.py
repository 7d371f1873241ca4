"""The metrics of unlearning, each from its definition. Accuracies are fractions in [0, 1]."""

from orthograd.metrics.uis import unlearning_impact_score

__all__ = ["unlearning_impact_score"]
