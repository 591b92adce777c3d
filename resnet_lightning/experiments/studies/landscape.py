"""Slices of the loss around trained weights, with and without shortcuts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...runs.reader import Run
from ..evaluation import batches_of
from ..landscape import nonconvexity, random_direction, slice_1d, slice_2d
from .figure import panels, series_colors, talk_style
from .networks import plain, residual
from .recipes import ADAM, HE_2016, PAPER_NOTE, SMOKE_NOTE, shortened, smoke
from .results import Results
from .study import Budget, Measurement, Order, Study, Variant
from .trained import data_of, trained_net

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_IMAGES, PLANE_IMAGES = 500, 200
"""The number of training images on which the loss is computed."""
LINES = 3
"""The number of random directions of which each is a line through the trained weights."""

LOSS, NONCONVEX, PLANE = "loss on a line", "share of negative curvature", "loss on a plane, second direction at"

_TEN_THOUSAND = 1 / 6
"""The share of the training images of MNIST."""
_MEASURED = (
    f"The loss is that of {LINE_IMAGES:,} training images along {LINES} random directions, and of {PLANE_IMAGES} on a "
    "plane for the first seed. Directions are normalized for each filter; norms, biases and running statistics are not "
    "changed."
)
_LINE = torch.linspace(-1, 1, 31).tolist()
_PLANE = torch.linspace(-1, 1, 11).tolist()


def measure(run: Run) -> Sequence[Measurement]:
    """Measures the loss on training images along three lines and, for the first seed, on a plane.

    ``at`` is the distance from the trained weights in units of their filters' norms. On the plane, it is that along the
    first direction; the one along the second is in the name of the quantity.
    """
    net, data = trained_net(run), data_of(run)
    images = batches_of(data, "train", LINE_IMAGES)
    lines = torch.stack([slice_1d(net, images, random_direction(net, seed), _LINE)[0] for seed in range(LINES)])
    found = [Measurement(NONCONVEX, 100 * nonconvexity(line), number) for number, line in enumerate(lines)]
    # The mean of logarithms, because the losses of the lines differ by orders of magnitude at their ends.
    means = lines.clamp(1e-6, 1e9).log().mean(0).exp()
    found += [Measurement(LOSS, loss, at) for at, loss in zip(_LINE, means.tolist(), strict=True)]
    if run.setting("seed_everything") == 0:
        images = batches_of(data, "train", PLANE_IMAGES)
        directions = random_direction(net, 0), random_direction(net, 1)
        plane, _ = slice_2d(net, images, *directions, _PLANE, _PLANE)
        columns = zip(_PLANE, plane.clamp(max=1e9).T.tolist(), strict=True)
        found += [
            Measurement(_on_plane(second), loss, first)
            for second, losses in columns
            for first, loss in zip(_PLANE, losses, strict=True)
        ]
    return found


def _on_plane(second: float) -> str:
    return f"{PLANE} {second:+.3f}"


def draw(study: Study, budget: Budget, results: Results) -> "Figure":
    """Draws the lines of all networks, and the planes of the deepest plain and residual ones."""
    deepest = {variant.label.partition("-")[0]: variant for variant in sorted(budget.variants, key=lambda v: v.x or 0)}
    with talk_style():
        figure, axes = panels(["Loss along a random direction", *(v.label for v in deepest.values())], width=8)
        _draw_lines(axes[0], budget, results)
        for one, variant in zip(axes[1:], deepest.values(), strict=True):
            _draw_plane(one, variant, results)
        return figure


def _draw_lines(axes: "Axes", budget: Budget, results: Results) -> None:
    colors = series_colors(budget)
    for variant in budget.variants:
        points = results.curve(variant.label, LOSS)
        if not points:
            continue
        x, y = np.array([at for at, _ in points]), np.array([spread.mean for _, spread in points])
        bars = np.array([spread.deviation or 0.0 for _, spread in points])
        axes.plot(x, y, color=colors[variant.series], label=variant.label)
        axes.fill_between(
            x, np.maximum(y - bars, y / 10), y + bars, color=colors[variant.series], alpha=0.2, linewidth=0
        )
    axes.set(yscale="log", xlabel="distance from the trained weights (filter norms)", ylabel="training loss")
    axes.legend(loc="lower left", fontsize=13)


def _draw_plane(axes: "Axes", variant: Variant, results: Results) -> None:
    rows = [results.curve(variant.label, _on_plane(second)) for second in _PLANE]
    axes.set(xlabel="first direction", ylabel="second direction", aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    if not all(rows):
        axes.text(0.5, 0.5, "measured for seed 0 only", ha="center", transform=axes.transAxes)
        return
    losses = np.log10(np.maximum([[spread.mean for _, spread in row] for row in rows], 1e-3))
    levels = np.linspace(-3, 3, 25)
    drawn = axes.contourf(_PLANE, _PLANE, np.clip(losses, -3, 3), levels=levels, cmap="viridis")
    axes.contour(_PLANE, _PLANE, np.clip(losses, -3, 3), levels=levels, colors="white", linewidths=0.5)
    axes.plot(0, 0, "+", color="white", markersize=14, markeredgewidth=2)
    bar = axes.figure.colorbar(drawn, ax=axes, ticks=[-3, -2, -1, 0, 1, 2, 3])
    bar.set_label("log10 of the training loss")


STUDY = Study(
    name="landscape",
    title="What does the loss look like around trained weights?",
    source="Li et al. 2018, *Visualizing the Loss Landscape of Neural Nets*, Figures 5 and 6",
    summary="Around the weights of a deep plain network, slices of the loss are chaotic and not convex; with shortcuts "
    "they are smooth and nearly convex.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=smoke(6),
            variants=(plain(14), residual(14)),
            note=f"{SMOKE_NOTE} The networks have 14 layers. {_MEASURED}",
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="mnist",
            settings={**shortened(8, _TEN_THOUSAND, ADAM), "data.batch_size": "64"},
            variants=(plain(20), residual(20), plain(56), residual(56)),
            note="8 epochs of 10,000 digits of MNIST in batches of 64 (1,256 steps) with Adam, in place of 300 epochs "
            f"of CIFAR-10 with SGD, so that a plain network of 56 layers also learns. {_MEASURED}",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=HE_2016,
            variants=(plain(20), residual(20), plain(56), residual(56), plain(110), residual(110)),
            note=f"{PAPER_NOTE} The source trains for 300 epochs with a weight decay of 5e-4. {_MEASURED}",
            cost="64,000 steps a run",
        ),
    },
    orders=tuple(
        Order(
            f"slices around {plain_net} have a larger share of negative curvature than those around {residual_net}",
            higher=(plain_net, NONCONVEX),
            lower=(residual_net, NONCONVEX),
        )
        for plain_net, residual_net in (("plain-56", "ResNet-56"), ("plain-110", "ResNet-110"))
    ),
    measure=measure,
    draw=draw,
    quantities={NONCONVEX: "negative curvature (%)"},
)
