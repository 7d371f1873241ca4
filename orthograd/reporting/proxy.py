"""Examples of a proxy beside images of the retain set that it stands in for."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.style
import numpy as np
from numpy.typing import NDArray

from orthograd.data.scenarios import DatasetProxy, Proxy
from orthograd.reporting.captions import Caption
from orthograd.reporting.figures import PAGE_WIDTH, STYLE, RenderedFigure, axes_grid, saved

NAME = "proxy"
"""Behind the experiment's id in the names of the files."""


def described(proxy: Proxy) -> str:
    """What a proxy is made of, in words."""
    if isinstance(proxy, DatasetProxy):
        return f"{proxy.size:,} images of {proxy.dataset}"
    return (
        f"{proxy.size:,} held-out images of the same dataset, turned by {proxy.rotation:g}°, scaled by "
        f"{proxy.scale:g}, moved by {proxy.translation:g} pixels to the right and down, with {proxy.contrast:g} times "
        f"the contrast and Gaussian noise of standard deviation {proxy.noise:g} on pixels in [0, 1]"
    )


def caption(title: str, proxy: Proxy) -> Caption:
    """What the figure shows."""
    return Caption(
        title,
        "Of the first seed.",
        "One image of each class: above, of the retain set; below, of the proxy that stands in for it, as "
        f"the methods get it (before standardisation): {described(proxy)}.",
    )


def figure(
    experiment_id: str,
    title: str,
    proxy: Proxy,
    classes: Sequence[str],
    retain: NDArray[np.float32],
    stand_in: NDArray[np.float32],
) -> RenderedFigure:
    """Two rows of images.

    Args:
        experiment_id: names the files.
        title: of the experiment.
        proxy: what it is made of.
        classes: of the images, one a column.
        retain: (classes, C, H, W) in [0, 1].
        stand_in: (classes, C, H, W) in [0, 1].
    """
    with mpl.style.context(STYLE):
        columns = len(classes)
        drawing, axes = axes_grid(2, columns, 2 * columns, PAGE_WIDTH, 0.25 + 2 * PAGE_WIDTH / columns)
        for row, images in enumerate((retain, stand_in)):
            for column, image in enumerate(images):
                ax = axes[row * columns + column]
                # Grey images have one channel.
                ax.imshow(
                    np.moveaxis(image, 0, -1).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
                )
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                if row == 0:
                    ax.set_title(classes[column].replace(" ", "\n").replace("/", "/\n"), fontsize=5.5)
                if column == 0:
                    ax.set_ylabel(("Retain", "Proxy")[row], fontsize=7)
        return RenderedFigure(experiment_id, NAME, caption(title, proxy), *saved(drawing))
