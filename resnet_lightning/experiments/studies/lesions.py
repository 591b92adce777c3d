"""Lesions: what a trained network loses with a block, with several of them, and when blocks change places."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ...runs.reader import Run
from ..evaluation import batches_of
from ..lesions import Lesion, deletable, errors_of, kendall_tau, random_deletions, random_swaps, single_deletions
from ..residual_blocks import find_blocks
from .figure import label_ends, panels, series_colors, talk_style
from .networks import plain, residual
from .recipes import HE_2016, PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, shortened, smoke
from .results import Results
from .study import Budget, Measurement, Order, Study
from .trained import data_of, trained_net

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = 2_000
"""At most so many test images are classified with each lesion."""
DRAWS = 10
"""The number of random lesions of each size."""

ONE, ONE_THAT_CHANGES_SHAPE = "one block deleted", "one block that changes the shape deleted"
SEVERAL, SWAPPED, TAU = "several blocks deleted", "pairs of blocks swapped", "Kendall's tau"

_MEASURED = (
    f"Each lesion is tried on {IMAGES:,} test images, and each number of deleted or swapped blocks on {DRAWS} random "
    "draws."
)
_PAIRS = ("plain-14", "ResNet-14"), ("plain-20", "ResNet-20"), ("plain-20", "ResNet-32"), ("plain-20", "ResNet-110")


def measure(run: Run) -> Sequence[Measurement]:
    """Measures the error in percent of the trained network of a run with each lesion.

    ``at`` is the number of the deleted block in the network, or how many blocks are deleted or pairs swapped; 0 is the
    intact network. In a plain network, blocks that change the shape cannot be deleted.
    """
    net, images = trained_net(run), batches_of(data_of(run), "test", IMAGES)
    numbers = {block.name: number for number, block in enumerate(find_blocks(net), start=1)}
    blocks = deletable(net)
    intact, *errors = errors_of(net, images, [Lesion(), *single_deletions(net)])
    found = [
        Measurement(ONE if block.keeps_shape else ONE_THAT_CHANGES_SHAPE, error, numbers[block.name])
        for block, error in zip(blocks, errors, strict=True)
    ]
    found += [Measurement(SEVERAL, intact, 0), Measurement(SWAPPED, intact, 0), Measurement(TAU, 1, 0)]
    for count in _sizes(len(blocks)):
        deletions = random_deletions(net, count, DRAWS)
        found.append(Measurement(SEVERAL, fmean(errors_of(net, images, deletions)), count))
        swaps = random_swaps(net, count, DRAWS)
        found.append(Measurement(SWAPPED, fmean(errors_of(net, images, swaps)), count))
        found.append(Measurement(TAU, fmean(kendall_tau(net, swap) for swap in swaps), count))
    return found


def _sizes(most: int) -> list[int]:
    """Returns up to eight numbers from 1 to ``most``, closer together where they are small."""
    return sorted({round(most ** (i / 7)) for i in range(8)})


def draw(study: Study, budget: Budget, results: Results) -> "Figure":
    """Draws the error without each block, with several deleted, and with blocks in another order."""
    with talk_style():
        titles = ["One block deleted", "Several blocks deleted", "Blocks in another order"]
        figure, axes = panels(titles, width=8)
        _draw_single(axes[0], budget, results)
        _draw_lines(axes[1], budget, results, SEVERAL)
        _draw_lines(axes[2], budget, results, SWAPPED, over=TAU)
        axes[0].set(xlabel="number of the block, from the image to the head", ylabel="test error (%)")
        axes[1].set(xlabel="number of deleted blocks")
        axes[2].set(xlabel="Kendall's tau of the order; 1 is the trained order")
        axes[2].invert_xaxis()
        for one in axes:
            one.set_ylim(-2, 102)
        return figure


def _draw_single(axes: "Axes", budget: Budget, results: Results) -> None:
    colors, ends = series_colors(budget), []
    for variant in budget.variants:
        points = results.curve(variant.label, ONE)
        x, y = [at for at, _ in points], [spread.mean for _, spread in points]
        bars = [spread.deviation or 0.0 for _, spread in points]
        axes.errorbar(x, y, bars, color=colors[variant.series], marker="o", markersize=6, capsize=3, linewidth=1.5)
        if points:
            ends.append((x[-1], y[-1], variant.series))
        changing = results.curve(variant.label, ONE_THAT_CHANGES_SHAPE)
        places, errors = [at for at, _ in changing], [spread.mean for _, spread in changing]
        axes.plot(
            places, errors, "s", markersize=11, markerfacecolor="none", markeredgewidth=2, color=colors[variant.series]
        )
    label_ends(axes, ends, colors)
    axes.annotate(
        "squares: blocks that change the shape",
        (0.5, 0.97),
        xycoords="axes fraction",
        ha="center",
        va="top",
        fontsize=12,
        color="#555555",
    )


def _draw_lines(axes: "Axes", budget: Budget, results: Results, quantity: str, over: str = "") -> None:
    """Draws a quantity over another one, or over the place at which it was measured."""
    colors, ends = series_colors(budget), []
    for variant in budget.variants:
        places = {at: spread.mean for at, spread in results.curve(variant.label, over)} if over else {}
        points = [(places.get(at, at), spread) for at, spread in results.curve(variant.label, quantity)]
        points.sort(key=lambda point: -point[0] if over else point[0])
        x, y = [place for place, _ in points], [spread.mean for _, spread in points]
        bars = [spread.deviation or 0.0 for _, spread in points]
        axes.errorbar(x, y, bars, color=colors[variant.series], marker="o", capsize=4)
        if points:
            ends.append((x[-1], y[-1], variant.series))
    label_ends(axes, ends, colors)


STUDY = Study(
    name="lesions",
    title="What does a trained network lose with a block?",
    source="Veit et al. 2016, *Residual Networks Behave Like Ensembles of Relatively Shallow Networks*, Figures 3 and "
    "5",
    summary="Without one block, a residual network is hardly worse, unless the block down-samples, and a plain network "
    "is at chance. The error of a residual network rises smoothly with the number of blocks that are deleted, and with "
    "the disorder of blocks that change places.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=smoke(6),
            variants=(plain(14), residual(14)),
            note=f"{SMOKE_NOTE} The networks have 6 blocks.",
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings={**shortened(15, QUICK_IMAGES), "data.batch_size": "64"},
            variants=(plain(20), residual(20), residual(32), residual(32, order="full_pre_activation")),
            note="15 epochs of 10,000 training images in batches of 64 (2,355 steps) in place of 64,000 steps on "
            "45,000 images. The residual networks have 9 and 15 blocks, not 54; the plain one has 20 layers, and VGG "
            f"15. {_MEASURED}",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=HE_2016,
            variants=(plain(20), residual(20), residual(110), residual(110, order="full_pre_activation")),
            note=f"{PAPER_NOTE} The plain network has 20 layers; the source has VGG with 15. {_MEASURED}",
            cost="64,000 steps a run",
        ),
    },
    orders=(
        *(
            Order(
                f"without one block that keeps the shape, {plain_net} has a higher error than {residual_net}",
                higher=(plain_net, ONE),
                lower=(residual_net, ONE),
            )
            for plain_net, residual_net in _PAIRS
        ),
        *(
            Order(
                f"{net} has a higher error without a block that changes the shape than without another one",
                higher=(net, ONE_THAT_CHANGES_SHAPE),
                lower=(net, ONE),
            )
            for net in ("ResNet-32", "ResNet-32, pre-activation", "ResNet-110", "ResNet-110, pre-activation")
        ),
    ),
    measure=measure,
    draw=draw,
    quantities={ONE: "one block deleted", ONE_THAT_CHANGES_SHAPE: "one that changes the shape"},
)
