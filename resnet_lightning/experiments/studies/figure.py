"""The figures of the studies, in one style that can be read from the back of a room.

Large type, the lines labelled where they end, error bars of one standard deviation over the seeds, and published values
as hollow markers.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...runs.figures.style import BLUE, GREEN, OCHRE, ORANGE, PINK, QUIET, TEAL, VIOLET, style
from .results import Results
from .study import Budget, Study, Variant

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ORANGE, BLUE, GREEN, VIOLET, PINK, OCHRE, TEAL, QUIET
"""The colors of the series, in their order."""


def talk_style() -> contextlib.AbstractContextManager[None]:
    """The style of figures that are made until the end of the ``with`` statement."""
    return style("talk")


def panels(titles: Sequence[str], height: float = 5.5, width: float = 7.5) -> "tuple[Figure, list[Axes]]":
    """Returns a figure with one plot beside the other, with a title each. Use it in ``talk_style``."""
    return _grid(titles, (width * max(len(titles), 1), height), (1, len(titles)))


def _grid(titles: Sequence[str], size: tuple[float, float], shape: tuple[int, int]) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = [figure.add_subplot(*shape, number) for number in range(1, len(titles) + 1)]
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title)
    return figure, axes


def draw_errors(study: Study, budget: Budget, results: Results) -> "Figure":
    """Draws the errors of all variants: over their ``x``, with a line for each series, or as rows without an ``x``."""
    titles = list(dict.fromkeys(variant.panel for variant in budget.variants))
    with talk_style():
        if all(variant.x is None for variant in budget.variants):  # long labels: one plot below the other
            height = 1.3 * len(titles) + 0.55 * len(budget.variants)
            figure, axes = _grid(titles, (11, height), (len(titles), 1))
        else:
            figure, axes = panels(titles)
        colors = series_colors(budget)
        for one, title in zip(axes, titles, strict=True):
            variants = [variant for variant in budget.variants if variant.panel == title]
            if variants[0].x is None:
                _draw_rows(one, study, variants, results)
            else:
                _draw_lines(one, study, variants, results, colors)
        return figure


def series_colors(budget: Budget) -> Mapping[str, str]:
    """Returns the color of each series."""
    names = dict.fromkeys(variant.series for variant in budget.variants)
    return {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)}


def quantity_label(study: Study, quantity: str) -> str:
    """Returns the label of an axis for a quantity."""
    usual = {"error": "test error (%)", "train_error": "training error (%)"}
    return usual.get(quantity, study.quantities.get(quantity, quantity))


def _draw_lines(
    axes: "Axes", study: Study, variants: Sequence[Variant], results: Results, colors: Mapping[str, str]
) -> None:
    """Draws the test error as solid lines, the training error dashed, and the published errors as hollow markers."""
    ends = []
    for name in dict.fromkeys(variant.series for variant in variants):
        members = sorted((v for v in variants if v.series == name and v.x is not None), key=lambda v: v.x or 0)
        dashed = [("train_error", "--")] if "train_error" in study.quantities and study.drawn == "error" else []
        for quantity, line in ((study.drawn, "-"), *dashed):
            spreads = [(v.x, spread) for v in members if (spread := results.spread(v.label, quantity))]
            if not spreads:
                continue
            x = [float(place or 0) for place, _ in spreads]
            y = [spread.mean for _, spread in spreads]
            bars = [spread.deviation or 0.0 for _, spread in spreads]
            alpha = 1.0 if line == "-" else 0.55
            axes.errorbar(x, y, bars, color=colors[name], linestyle=line, marker="o", capsize=5, alpha=alpha)
            if line == "-":
                ends.append((x[-1], y[-1], name))
        _draw_published(axes, study, [(v, v.x or 0.0) for v in members], colors[name], vertical=True)
    places = sorted({v.x for v in variants if v.x is not None})
    is_wide = places[-1] > 8 * places[0]
    if is_wide:
        axes.set_xscale("log")
    if len(places) <= 7:
        axes.set_xticks(places, [f"{place:g}" for place in places], rotation=60 if is_wide else 0)
        axes.minorticks_off()
    axes.margins(x=0.1)
    both = "train_error" in study.quantities and study.drawn == "error"
    axes.set(xlabel=study.x_label, ylabel="error (%)" if both else quantity_label(study, study.drawn))
    label_ends(axes, ends, colors)
    key = ["solid: test, dashed: training"] if both else []
    _draw_key(axes, [*key, *_published_key(study, variants)])


def label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str]], colors: Mapping[str, str]) -> None:
    """Writes the name of each line at its end (x, y, name), in its color; names that would overlap are moved apart."""
    low, high = axes.get_ylim()
    gap = 0.07 * (high - low)
    free = low
    for x, y, name in sorted(ends, key=lambda end: end[1]):
        height = max(y, free)
        free = height + gap
        axes.annotate(
            name,
            (x, height),
            xytext=(14, 0),
            textcoords="offset points",
            va="center",
            color=colors.get(name, "#333333"),
            fontweight="bold",
            annotation_clip=False,
        )


def _draw_rows(axes: "Axes", study: Study, variants: Sequence[Variant], results: Results) -> None:
    """Draws a row for each variant, the first on top."""
    for row, variant in enumerate(variants):
        runs = list(results.values(variant.label, study.drawn).values())
        axes.plot(runs, [row] * len(runs), "o", color=COLORS[1], markersize=5, alpha=0.4)
        if spread := results.spread(variant.label, study.drawn):
            axes.errorbar(spread.mean, row, xerr=spread.deviation or 0.0, fmt="o", color=COLORS[1], capsize=5)
        _draw_published(axes, study, [(variant, float(row))], COLORS[1], vertical=False)
    names = [variant.label.removeprefix(f"{variant.panel}, ") for variant in variants]
    axes.set_yticks(range(len(variants)), names)
    axes.set_ylim(len(variants) - 0.4, -0.6)
    axes.set_xlabel(quantity_label(study, study.drawn))
    axes.grid(axis="y", alpha=0)
    _draw_key(axes, _published_key(study, variants))


def _draw_published(
    axes: "Axes", study: Study, places: Sequence[tuple[Variant, float]], color: str, *, vertical: bool
) -> None:
    for variant, place in places if study.drawn == "error" else ():
        if isinstance(variant.published, int | float):
            point = (place, variant.published) if vertical else (variant.published, place)
            axes.plot(*point, "D", markerfacecolor="none", markeredgecolor=color, markeredgewidth=2, markersize=10)


def _published_key(study: Study, variants: Sequence[Variant]) -> list[str]:
    has_numbers = any(isinstance(variant.published, int | float) for variant in variants)
    return ["hollow: published"] if has_numbers and study.drawn == "error" else []


def _draw_key(axes: "Axes", words: Sequence[str]) -> None:
    if words:
        axes.annotate(
            ", ".join(words),
            (1, 1),
            xycoords="axes fraction",
            xytext=(0, 6),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=12,
            color="#555555",
        )
