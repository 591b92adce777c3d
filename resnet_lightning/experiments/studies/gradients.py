"""Gradients by layer, from image to image, and by the length of their paths."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...data import ImageDataModule
from ...errors import InputError
from ...runs.readable import UNREADABLE, read_text
from ...runs.reader import Run
from ..evaluation import batches_of
from ..gradient_paths import effective_length, path_contributions, path_norms_by_length
from ..gradients import LayerGradients, autocorrelation, images_between, input_gradients, measured_statistics
from ..residual_blocks import find_blocks
from .figure import series_colors, talk_style
from .networks import plain, residual
from .recipes import ADAM, QUICK_IMAGES, SMOKE_NOTE, shortened, smoke
from .results import Results
from .study import Budget, Measurement, Order, Study, Variant
from .trained import data_of, initial_net, trained_net

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS, LINES = 128, 4
"""The number of images on a line between two images, and of lines."""
PATHS = 10
"""The number of random paths of each length."""

START, END = "gradient at the start", "gradient at the end"
RATIO = "log10 of first over last layer"
CORRELATION, NEIGHBORS = "autocorrelation", "autocorrelation of neighbors"
PATH_NORM, PATH_SHARE = "gradient along a path", "share of the paths of a length"
LENGTH, TYPICAL = "effective path length", "half of the blocks"


def _variants(*depths: int) -> tuple[Variant, ...]:
    with_norm = [make(depth) for depth in depths for make in (plain, residual)]
    return *with_norm, *(make(depth, norm_layer="none") for depth in depths for make in (plain, residual))


def measure(run: Run) -> Sequence[Measurement]:
    """Measures the gradients in a run.

    ``at`` is the number of the layer, how many images lie between two on a line, or the length of a path.
    """
    data = data_of(run)
    return [*_by_layer(run), *_from_image_to_image(run, batches_of(data, "train", 256)), *_by_path(run, data)]


def _by_layer(run: Run) -> list[Measurement]:
    steps = _read_norms(run)
    first = min(steps)
    late = [norms for step, norms in steps.items() if step >= max(steps) * 2 / 3]
    found = []
    for number, layer in enumerate(steps[first], start=1):
        found.append(Measurement(START, steps[first][layer], number))
        found.append(Measurement(END, _geometric_mean([norms[layer] for norms in late]), number))
    in_blocks = [norm for layer, norm in steps[first].items() if layer.startswith("layer")]
    return [*found, Measurement(RATIO, math.log10(max(in_blocks[0], _TINY) / max(in_blocks[-1], _TINY)))]


_TINY = 1e-30


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(fmean(math.log(max(value, _TINY)) for value in values))


def _read_norms(run: Run) -> Mapping[int, Mapping[str, float]]:
    """Returns the norm of each layer by step.

    Raises:
        InputError: if the run has not written them.
    """
    file = run.folder / LayerGradients.FILE
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(file))))
        return {int(row.pop("step")): {layer: float(norm) for layer, norm in row.items()} for row in rows}
    except (*UNREADABLE, KeyError, TypeError) as error:
        raise InputError(
            f"{str(file)!r} is missing or damaged; delete the folder of the run and start again"
        ) from error


def _from_image_to_image(run: Run, images: list[tuple[Tensor, Tensor]]) -> list[Measurement]:
    """Measures the gradients of the network before its training, at images on lines between two training images."""
    net = initial_net(run)
    ends = images[0][0]
    with measured_statistics(net, images):
        lines = [images_between(ends[2 * i], ends[2 * i + 1], POINTS) for i in range(LINES)]
        found = torch.stack([autocorrelation(input_gradients(net, line), POINTS // 4) for line in lines])
    mean = found.nanmean(0).tolist()  # nan where a network has no gradient at all
    series = [Measurement(CORRELATION, value, lag) for lag, value in enumerate(mean)]
    return [*series, Measurement(NEIGHBORS, mean[1])]


def _by_path(run: Run, data: ImageDataModule) -> list[Measurement]:
    """Measures the gradients of the trained network along random paths; nothing for a plain network."""
    net = trained_net(run)
    blocks = sum(block.has_shortcut for block in find_blocks(net))
    if not blocks:
        return []
    norms = path_norms_by_length(net, batches_of(data, "test", 32 * PATHS, 32), range(blocks + 1), PATHS)
    shares = path_contributions(norms, blocks)
    found = [Measurement(PATH_NORM, norm, length) for length, norm in norms.items()]
    found += [Measurement(PATH_SHARE, share, length) for length, share in shares.items()]
    return [*found, Measurement(LENGTH, effective_length(shares)), Measurement(TYPICAL, blocks / 2)]


def draw(study: Study, budget: Budget, results: Results) -> "Figure":
    """Draws the gradients by layer and from image to image, with and without norms, and by length of path."""
    from matplotlib.figure import Figure

    with_norm = [variant for variant in budget.variants if "no norm" not in variant.label]
    without = [variant for variant in budget.variants if variant not in with_norm]
    groups = {"with batch norm": with_norm, **({"without norms": without} if without else {})}
    colors = series_colors(budget)
    with talk_style():
        columns = len(groups) + 1
        figure = Figure(figsize=(8 * columns, 11))
        for column, (words, variants) in enumerate(groups.items(), start=1):
            _draw_layers(
                figure.add_subplot(2, columns, column), f"Gradient by layer, {words}", variants, results, colors
            )
            title = f"From image to image, {words}"
            _draw_correlation(figure.add_subplot(2, columns, columns + column), title, variants, results, colors)
        _draw_paths(figure.add_subplot(2, columns, columns), PATH_NORM, with_norm, results, colors)
        _draw_paths(figure.add_subplot(2, columns, 2 * columns), PATH_SHARE, with_norm, results, colors)
        return figure


def _draw_layers(
    axes: "Axes", title: str, variants: Sequence[Variant], results: Results, colors: Mapping[str, str]
) -> None:
    for variant in variants:
        for quantity, style in ((START, "-"), (END, ":")):
            points = results.curve(variant.label, quantity)
            x = [number / len(points) for number in range(1, len(points) + 1)]
            y = [spread.mean for _, spread in points]
            label = variant.label if quantity == START else None
            axes.plot(x, y, style, color=colors[variant.series], label=label)
    axes.set(title=title, xlabel="layer, as a share of the depth", ylabel="norm of the gradient", yscale="log")
    axes.plot([], [], ":", color="#555555", label="end of the training")
    axes.legend(fontsize=13)


def _draw_correlation(
    axes: "Axes", title: str, variants: Sequence[Variant], results: Results, colors: Mapping[str, str]
) -> None:
    for variant in variants:
        points = results.curve(variant.label, CORRELATION)
        x, y = [at / POINTS for at, _ in points], [spread.mean for _, spread in points]
        axes.plot(x, y, color=colors[variant.series], label=variant.label)
    axes.axhline(0, color="#555555", linewidth=1)
    axes.set(title=title, xlabel="distance, as a share of the line between two images", ylabel="autocorrelation")
    axes.set_ylim(-0.35, 1.05)
    axes.legend(fontsize=13)


def _draw_paths(
    axes: "Axes", quantity: str, variants: Sequence[Variant], results: Results, colors: Mapping[str, str]
) -> None:
    for variant in variants:
        points = results.curve(variant.label, quantity)
        if points:
            x, y = [at for at, _ in points], [spread.mean for _, spread in points]
            axes.plot(x, y, color=colors[variant.series], marker="o", markersize=5, label=variant.label)
        typical = results.spread(variant.label, TYPICAL)
        if typical and quantity == PATH_SHARE:
            axes.axvline(typical.mean, color=colors[variant.series], linestyle="--", linewidth=1.5)
    axes.set(xlabel="residual branches on a path")
    if quantity == PATH_NORM:
        axes.set(title="Gradient along one path", yscale="log", ylabel="norm at the image")
    else:
        axes.set(title="Contribution of all paths of a length", ylabel="share of the gradient")
        axes.plot([], [], "--", color="#555555", label="half of the blocks")
    axes.legend(fontsize=13)


_RECORDED = {
    "trainer.callbacks+": "resnet_lightning.experiments.gradients.LayerGradients",
    "trainer.callbacks.every_n_steps": "10",
}
_MEASURED = (
    f"Autocorrelations are those of the network before its training, on {LINES} lines of {POINTS} images between two "
    "training images; the source has fully connected networks and a line of numbers. Contributions of paths are those "
    f"of the trained network, with {PATHS} random paths of each length."
)

STUDY = Study(
    name="gradients",
    title="What happens to gradients on their way to the first layer?",
    source="Balduzzi et al. 2017, *The Shattered Gradients Problem*, Figures 1 and 2; Veit et al. 2016, *Residual "
    "Networks Behave Like Ensembles of Relatively Shallow Networks*, Figure 6",
    summary="With depth, the gradients of plain networks become white noise from image to image; those of residual "
    "networks stay correlated. The gradient of a residual network comes from paths that are much shorter than half of "
    "its blocks.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings={**smoke(2), **_RECORDED},
            variants=(plain(14), residual(14)),
            note=f"{SMOKE_NOTE} The networks have 14 layers. {_MEASURED}",
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings={**shortened(3, QUICK_IMAGES, ADAM), "data.batch_size": "64", **_RECORDED},
            variants=_variants(20, 56),
            note="3 epochs of 10,000 training images in batches of 64 (468 steps) with Adam, which also trains "
            f"networks without norms. {_MEASURED}",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings={**shortened(30, 1.0, ADAM), **_RECORDED, "trainer.callbacks.every_n_steps": "200"},
            variants=_variants(20, 56, 110),
            note=f"30 epochs of CIFAR-10 with Adam, which also trains networks without norms. {_MEASURED}",
            cost="30 epochs a run",
        ),
    },
    orders=(
        *(
            Order(
                f"gradients at neighboring images are more alike in ResNet-{depth} than in plain-{depth}",
                higher=(f"ResNet-{depth}", NEIGHBORS),
                lower=(f"plain-{depth}", NEIGHBORS),
            )
            for depth in (20, 56, 110)
        ),
        Order(
            "gradients at neighboring images are more alike in plain-20 than in plain-56",
            higher=("plain-20", NEIGHBORS),
            lower=("plain-56", NEIGHBORS),
        ),
        *(
            Order(
                f"from the last to the first block, the gradient grows more in plain-{depth} than in ResNet-{depth}",
                higher=(f"plain-{depth}", RATIO),
                lower=(f"ResNet-{depth}", RATIO),
            )
            for depth in (56, 110)
        ),
        *(
            Order(
                f"the paths that contribute to the gradient of {net} are shorter than half of its blocks",
                higher=(net, TYPICAL),
                lower=(net, LENGTH),
            )
            for net in ("ResNet-20", "ResNet-56", "ResNet-110")
        ),
    ),
    measure=measure,
    draw=draw,
    quantities={
        NEIGHBORS: "autocorrelation of neighbors",
        RATIO: "log10 of first over last layer",
        LENGTH: "path length",
    },
)
