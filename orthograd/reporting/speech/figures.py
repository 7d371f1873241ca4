"""The figures of a speech experiment: a speaker has one colour and marker in all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orthograd.reporting.captions import Caption
from orthograd.reporting.data import ReportError
from orthograd.reporting.figures import (
    COLOURS,
    DASHES,
    MARKERS,
    PAGE_WIDTH,
    STYLE,
    MethodStyle,
    RenderedFigure,
    axes_grid,
    saved,
)
from orthograd.reporting.speech import comparison
from orthograd.reporting.speech.data import GROUPS, HELD_OUT, RETAIN_SPEAKERS, TEST, SpeechData
from orthograd.reporting.speech.experiment import file_name
from orthograd.reporting.speech.statistics import significance_text, speakers_text
from orthograd.reporting.speech.tables import caption
from orthograd.reporting.text import listing, method_label, number
from orthograd.speech.specs import REFERENCES, Setting

CAP = 150.0
"""Percent: word error rates above are drawn there, so that a model that repeats itself leaves the scale readable."""

LEGEND_COLUMNS = 3
"""Names of synthetic voices are long: more of them side by side are cut off at the page's edges."""

_INK = "0.1"
_SOFT = "0.55"


def speaker_styles(data: SpeechData) -> dict[str, MethodStyle]:
    """One style for each forgotten speaker; no two share colour and marker, up to 91.

    Raises:
        ReportError: there are more speakers than distinct styles.
    """
    names = dict(zip(data.speakers["speaker"], data.speakers["name"], strict=True))
    forgotten = sorted(
        {speaker for setting in data.experiment.settings for speaker in data.forgotten(setting)}
    )
    if len(forgotten) > len(COLOURS) * len(MARKERS):
        raise ReportError(
            f"{len(forgotten)} forgotten speakers, but only {len(COLOURS) * len(MARKERS)} distinct styles; "
            "split the experiment"
        )
    return {
        speaker: MethodStyle(
            # The corpus may say of itself what it is before the voice's name.
            f"{speaker} ({names[speaker].rpartition(': ')[2]})" if names.get(speaker) else speaker,
            COLOURS[slot % len(COLOURS)],
            MARKERS[slot % len(MARKERS)],
            DASHES[slot % len(DASHES)],
        )
        for slot, speaker in enumerate(forgotten)
    }


def speakers(data: SpeechData, setting: Setting) -> RenderedFigure:
    """Word error rates of each forgotten speaker's models: a panel a set, a row a method."""
    groups = ("forget_train", HELD_OUT, RETAIN_SPEAKERS, TEST)
    return _dots(data, setting, "speakers", data.experiment.rows(setting), groups, deviation=False)


def ablation(data: SpeechData, setting: Setting) -> RenderedFigure:
    """The same of the forms of OrthoGrad, with their spread over speakers."""
    rows = [*REFERENCES[setting], *data.experiment.forms(setting)]
    return _dots(data, setting, "ablation", rows, (HELD_OUT, RETAIN_SPEAKERS, TEST), deviation=True)


def _dots(
    data: SpeechData, setting: Setting, name: str, rows: Sequence[str], groups: Sequence[str], deviation: bool
) -> RenderedFigure:
    styles = speaker_styles(data)
    shown = data.forgotten(setting)
    with mpl.style.context(STYLE):
        legend_lines = math.ceil((len(shown) + 1 + deviation) / LEGEND_COLUMNS)
        figure, axes = axes_grid(
            1, len(groups), len(groups), PAGE_WIDTH, 0.8 + 0.26 * len(rows) + 0.18 * legend_lines
        )
        for ax, group in zip(axes, groups, strict=True):
            for place, method in enumerate(rows):
                values = data.rate(setting, method, group)
                mean, spread = values.mean(), values.std(ddof=1)
                # Side by side, so that equal values can be told apart.
                shifts = np.linspace(-0.22, 0.22, len(shown)) if len(shown) > 1 else [0.0]
                for speaker, shift in zip(shown, shifts, strict=True):
                    _marker(ax, _capped(values[speaker]), place + shift, styles[speaker])
                ax.plot(_capped(mean), place, marker="|", ms=13, mew=1.6, color=_INK, zorder=3, clip_on=False)
                if deviation and len(shown) > 1:
                    ax.plot(
                        _capped(np.array([max(0.0, mean - spread), mean + spread])),
                        [place, place],
                        color=_SOFT,
                        lw=3,
                        alpha=0.5,
                        zorder=2,
                    )
            ax.set_title(GROUPS[group][0])
            ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="WER (%)")
            ax.set_yticks(range(len(rows)), [method_label(row) for row in rows] if ax is axes[0] else [])
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
            sns.despine(ax=ax)
        handles = [Line2D([], [], marker="|", ms=10, mew=1.6, ls="", color=_INK, label="Mean over speakers")]
        if deviation:
            handles.append(Line2D([], [], color=_SOFT, lw=3, alpha=0.5, label="± standard deviation"))
        handles += [_handle(styles[speaker], line=False) for speaker in shown]
        figure.legend(handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False)
        return _rendered(figure, data, setting, name)


def curves(data: SpeechData, setting: Setting) -> RenderedFigure:
    """Test against forget word error rate along the runs: one panel a method, one line a speaker and seed."""
    styles = speaker_styles(data)
    methods = data.experiment.methods[setting]
    with mpl.style.context(STYLE):
        figure, axes = _panels(len(methods), len(data.forgotten(setting)))
        for index, (ax, method) in enumerate(zip(axes, methods, strict=True)):
            for (speaker, _), rows in comparison.curves(data, setting, method).groupby(["speaker", "seed"]):
                style = styles[str(speaker)]
                ax.plot(
                    _capped(rows[comparison.CURVE[0]]),
                    _capped(rows[comparison.CURVE[1]]),
                    color=style.colour,
                    ls=style.dashes,
                    marker=style.marker,
                    ms=3,
                    mec="white",
                    mew=0.3,
                    lw=1,
                    clip_on=False,
                )
            for level in data.experiment.levels:
                ax.axvline(100 * level, color=_SOFT, lw=0.7, ls=":", zorder=1)
            ax.set_title(method_label(method), fontsize=8)
            _label_outer(ax, index, len(methods), "Forget WER (%)", "Test WER (%)")
        _same_limits(axes)
        handles = [
            *(_handle(styles[speaker], line=True) for speaker in data.forgotten(setting)),
            Line2D([], [], color=_SOFT, lw=0.7, ls=":", label="Levels of the table"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False)
        return _rendered(figure, data, setting, "curves")


def similarity(data: SpeechData, setting: Setting) -> RenderedFigure:
    """Damage to other voices against their likeness to the forgotten one: one panel a method, one marker a pair."""
    styles = speaker_styles(data)
    methods = data.experiment.methods[setting]
    with mpl.style.context(STYLE):
        figure, axes = _panels(len(methods), len(data.forgotten(setting)))
        for index, (ax, method) in enumerate(zip(axes, methods, strict=True)):
            pairs = comparison.damage(data, setting, method)
            ax.axhline(0, color=_INK, lw=0.8, zorder=1)
            for speaker, rows in pairs.groupby("speaker"):
                for likeness, harm in zip(rows["similarity"], _capped(rows["damage"]), strict=True):
                    _marker(ax, likeness, harm, styles[str(speaker)], size=4)
            correlation = comparison.likeness(pairs)
            if not math.isnan(correlation):
                ax.text(
                    0.97,
                    0.97,
                    f"ρ = {number(correlation, 2)}",
                    ha="right",
                    va="top",
                    fontsize=7,
                    transform=ax.transAxes,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
                    zorder=5,
                )
            ax.set_title(method_label(method), fontsize=8)
            _label_outer(ax, index, len(methods), "Likeness of voices", "Damage (points)")
        _same_limits(axes)
        handles = [_handle(styles[speaker], line=False) for speaker in data.forgotten(setting)]
        figure.legend(handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False)
        return _rendered(figure, data, setting, "similarity")


def figure_caption(data: SpeechData, setting: Setting, name: str) -> Caption:
    """The caption of a figure, without drawing it."""
    n = data.n(setting)
    dots = (
        f"One marker a forgotten speaker ({speakers_text(n)}), seeds pooled; word error rates in percent, above "
        f"{number(CAP, 0)} drawn at {number(CAP, 0)}. Axes differ and need not start at 0."
    )
    texts = {
        "speakers": f"{dots} {significance_text(n)}.",
        "ablation": f"Forms of OrthoGrad at the end of their runs. {dots} {significance_text(n)}.",
        "curves": (
            "Word error rate of the test speakers against that of the forgotten speaker's utterances that stopping "
            "looks at, from the original model (left) along each run, at the checks at which both were measured; "
            f"one line a speaker and seed ({speakers_text(n)}). Lower is better at equal forgetting. Dotted: the "
            f"levels of the table. {_empty(data, setting)}Above {number(CAP, 0)} drawn at {number(CAP, 0)}."
        ),
        "similarity": (
            "Word error rate of a retain or test speaker after another was forgotten, minus that of the original "
            "model, in percentage points, against the likeness of the two voices; colour and marker: the forgotten "
            f"speaker ({speakers_text(n)}). ρ: Spearman's rank correlation over pairs, which share voices: a "
            f"description, no test. Above {number(CAP, 0)} drawn at {number(CAP, 0)}."
        ),
    }
    return caption(data, setting, texts[name])


def _empty(data: SpeechData, setting: Setting) -> str:
    without = [
        method_label(method)
        for method in data.experiment.methods[setting]
        if len(comparison.curves(data, setting, method)) <= len(data.runs_of(setting, method))
    ]
    return f"Without checks along the way: {listing(without)}. " if without else ""


FIGURES: dict[str, Callable[[SpeechData, Setting], RenderedFigure]] = {
    "speakers": speakers,
    "curves": curves,
    "similarity": similarity,
    "ablation": ablation,
}
"""One function a figure by its name."""


def _capped(fractions: Any) -> Any:
    """Rates, one or an array or series of them, as percent, at most `CAP`: where they are drawn."""
    return np.minimum(100 * fractions, CAP)


def _marker(ax: Axes, x: float, y: float, style: MethodStyle, size: float = 5) -> None:
    ax.plot(
        x,
        y,
        marker=style.marker,
        ms=size,
        ls="",
        color=style.colour,
        mec="white",
        mew=0.5,
        zorder=4,
        clip_on=False,
    )


def _handle(style: MethodStyle, line: bool) -> Line2D:
    return Line2D(
        [],
        [],
        marker=style.marker,
        ms=5,
        color=style.colour,
        ls=style.dashes if line else "",
        lw=1,
        mec="white",
        mew=0.5,
        label=style.label,
    )


_COLUMNS = 4


def _panels(count: int, speakers_shown: int) -> tuple[Any, Sequence[Axes]]:
    columns = min(_COLUMNS, count)
    lines = math.ceil(count / columns)
    legend_lines = math.ceil((speakers_shown + 1) / LEGEND_COLUMNS)
    width = max(PAGE_WIDTH * columns / _COLUMNS, 3.4)
    return axes_grid(lines, columns, count, width, 0.4 + 1.6 * lines + 0.18 * legend_lines)


def _label_outer(ax: Axes, index: int, count: int, x: str, y: str) -> None:
    """Axis labels at the left and at the lowest panel of each column alone."""
    columns = min(_COLUMNS, count)
    if index % columns == 0:
        ax.set_ylabel(y)
    if index + columns >= count:
        ax.set_xlabel(x)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize=7)
    sns.despine(ax=ax)


def _same_limits(axes: Sequence[Axes]) -> None:
    """The limits of all panels, so that they can be compared; an empty panel asks for none."""
    filled = [
        ax
        for ax in axes
        if any(np.size(line.get_xdata()) and line.get_marker() != "None" for line in ax.lines)
    ]
    for read, write in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        limits = [getattr(ax, read)() for ax in filled or axes]
        for ax in axes:
            getattr(ax, write)(min(low for low, _ in limits), max(high for _, high in limits))


def _rendered(figure: Any, data: SpeechData, setting: Setting, name: str) -> RenderedFigure:
    return RenderedFigure(
        data.experiment.id, file_name(name, setting), figure_caption(data, setting, name), *saved(figure)
    )
