"""What the projection removes from each layer along OrthoGrad's runs, and how orthogonal it leaves the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orthograd.reporting.captions import Caption
from orthograd.reporting.data import ReportError
from orthograd.reporting.experiment import Experiment
from orthograd.reporting.figures import COLOURS, DASHES, PAGE_WIDTH, STYLE, RenderedFigure, axes_grid, saved
from orthograd.reporting.text import seeds_text

NAME = "projections"
"""Behind the experiment's id in the names of the files."""

ROUNDING = 2.0**-24
"""Largest relative error of a rounding to float32, the precision of the gradients."""

TITLE = "What the projection removes, layer by layer"


@dataclass(frozen=True, eq=False)
class ProjectionData:
    """What the step `projections` found.

    Attributes:
        experiment: whose OrthoGrad runs on its first model were made anew.
        params: of OrthoGrad there.
        rows: columns seed, step, layer, removed, rank, removed_fraction, max_cosine; a row a seed, step and layer,
            the layers in the order of the model.
    """

    experiment: Experiment
    params: Mapping[str, float | None]
    rows: pd.DataFrame

    @property
    def removed(self) -> pd.DataFrame:
        """‖g_u − g_u⊥‖ / ‖g_u‖ of each layer (layers, steps), the mean over the seeds whose run has the step."""
        means = self.rows.pivot_table(index="layer", columns="step", values="removed", sort=False)
        return means.sort_index(axis="columns")

    @property
    def residuals(self) -> pd.DataFrame:
        """Largest |cos(g_u⊥, g_r)| of each seed and step: columns seed, step, max_cosine.

        Raises:
            ReportError: one is no cosine.
        """
        found = self.rows.drop_duplicates(["seed", "step"])[["seed", "step", "max_cosine"]]
        if not found["max_cosine"].between(0, 1).all():
            raise ReportError(
                f"{self.experiment.id}: a largest cosine is not in [0, 1]; run the step `projections` again"
            )
        return found


def caption(data: ProjectionData) -> Caption:
    """What the figure shows."""
    experiment, params = data.experiment, data.params
    setting = (
        f"Dataset {experiment.dataset}, model {experiment.models[0]}, scenario {experiment.scenario}; retain subset of "
        f"{experiment.retain_size:,} samples."
    )
    if experiment.substitutions:
        setting += f" Substitutions: {'; '.join(experiment.substitutions)}."
    last = int(data.rows["step"].max())
    notes = (
        f"OrthoGrad's runs of this experiment on {experiment.models[0]}, made anew with all diagnostics "
        f"({seeds_text(data.rows['seed'].nunique())}; each up to its unlearned model or step {last}): α = "
        f"{params['alpha']:.3g}, step size {params['learning_rate']:.3g}, {params['forget_batch']} forget and "
        f"{params['retain_batch']} retain samples a step, singular values below {params['rtol']:g} of the largest "
        "left out. Left: the part of the forget gradient that the projection removes from each tensor of parameters "
        "(input at the top), ‖g_u − g_u⊥‖ / ‖g_u‖ of this tensor, mean over the seeds that make the step. The "
        "projection is made in the space of all parameters, where it removes at most the whole; within one tensor it "
        "may change more than was there (above 1). Right: what is left of the overlap, the largest |cos(g_u⊥, g_r)| "
        "over the retain samples of the step, measured on their gradients; 0 is ideal (drawn at the lower edge), grey "
        "is the rounding of their float32, 2⁻²⁴. Where directions were left out, an overlap may remain of up to "
        f"{_bound(params):.2g} (the share times the square root of the number of samples). One line a seed."
    )
    return Caption(experiment.title, setting, notes)


def _bound(params: Mapping[str, float | None]) -> float:
    """Of |cos(g_u⊥, g_r)|: what is left out has singular values below rtol σ_max <= rtol √k (unit rows)."""
    share, samples = params["rtol"], params["retain_batch"]
    assert share is not None, "OrthoGrad's parameters are numbers, all but `passes`"
    assert samples is not None, "OrthoGrad's parameters are numbers, all but `passes`"
    return float(share * np.sqrt(samples))


def figure(data: ProjectionData) -> RenderedFigure:
    """Left a map of layers and steps, right the residual against the step, one thin line a seed."""
    removed = data.removed
    with mpl.style.context(STYLE):
        drawing, (left, right) = axes_grid(1, 2, 2, PAGE_WIDTH, 0.8 + 0.115 * max(len(removed), 14))
        _map(left, removed)
        drawing.colorbar(left.images[0], ax=left, label="Part removed", pad=0.02)
        residuals = data.residuals
        # Whole decades: what varies within one is rounding.
        decades = np.log10([*residuals.loc[residuals["max_cosine"] > 0, "max_cosine"], ROUNDING])
        bottom, top = 10.0 ** np.floor(decades.min()), 10.0 ** np.ceil(decades.max())
        for number, (seed, path) in enumerate(residuals.groupby("seed")):
            right.plot(
                path["step"],
                path["max_cosine"].clip(lower=bottom),
                color=COLOURS[number % len(COLOURS)],
                ls=DASHES[number % len(DASHES)],
                lw=0.9,
                # A line through one step is none.
                marker="o" if len(path) == 1 else "",
                ms=3.5,
                label=f"Seed {seed}",
            )
        right.axhline(ROUNDING, color="0.55", lw=0.9, zorder=1, label="Rounding of float32")
        right.set_yscale("log")
        right.set_ylim(bottom, top)
        right.set_title("Largest |cos(g_u⊥, g_r)|", fontsize=7.5)
        right.set(xlabel="Unlearning step")
        right.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        drawing.legend(loc="outside lower center", ncols=4, frameon=False)
        sns.despine(ax=right)
        return RenderedFigure(data.experiment.id, NAME, caption(data), *saved(drawing))


def _map(ax: Axes, removed: pd.DataFrame) -> None:
    first, last = int(removed.columns.min()), int(removed.columns.max())
    ax.imshow(
        removed,
        aspect="auto",
        interpolation="nearest",
        # Uniform to the eye, for the colour-blind too, and from dark to bright in grey.
        cmap="cividis",
        vmin=0,
        vmax=max(1.0, float(removed.to_numpy().max())),
        extent=(first - 0.5, last + 0.5, len(removed) - 0.5, -0.5),
    )
    ax.set_title("Part of g_u removed, by layer", fontsize=7.5)
    ax.set(xlabel="Unlearning step")
    ax.set_yticks(range(len(removed)), removed.index, fontsize=5.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.grid(False)
