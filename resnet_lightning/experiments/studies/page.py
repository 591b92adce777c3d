"""The page of a study: the published numbers beside ours, and which orders came out, in Markdown."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...runs.comparison import Spread
from .certainty import resolve
from .results import Results
from .study import Budget, Study, Variant, orders_of

_WHOLE = {"parameters", "steps", "seconds"}


def render(
    study: Study, budget_name: str, budget: Budget, results: Results, data_notes: Sequence[str], figure: str
) -> str:
    """Returns the page.

    Args:
        study: the study.
        budget_name: the name of the budget.
        budget: the budget, with the variants that have results.
        results: the results.
        data_notes: how the data differ from those of the source.
        figure: the file of the figure, in the folder of the page.
    """
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    rows = [_row(study, variant, results) for variant in budget.variants]
    return environment.get_template("page.md.j2").render(
        study=study,
        budget=budget,
        budget_name=budget_name,
        record=results.record,
        data_notes=data_notes,
        figure=figure,
        columns=["", *_columns(study, budget)],
        rows=[[cell for cell, used in zip(row, _used(study, budget), strict=True) if used] for row in rows],
        resolved=[resolve(order, results) for order in orders_of(study, budget)],
        diverged=[row for row in results.rows if row.note],
        devices=sorted({row.device for row in results.rows if row.device}),
        data=sorted({row.data for row in results.rows}),
        seeds=sorted({row.seed for row in results.rows}),
    )


def _used(study: Study, budget: Budget) -> list[bool]:
    """Whether each column of ``_row`` is shown: the published ones only if there is a number in them."""
    published = any(variant.published is not None for variant in budget.variants)
    remeasured = any(variant.remeasured for variant in budget.variants)
    return [True, published, remeasured, True, True, *([True] * len(study.quantities)), True, True]


def _columns(study: Study, budget: Budget) -> list[str]:
    names = [
        f"published error ({study.statistic})",
        "others",
        "ours, test error",
        "n",
        *study.quantities.values(),
        "steps",
        "seconds a run",
    ]
    return [name for name, used in zip(names, _used(study, budget)[1:], strict=True) if used]


def _row(study: Study, variant: Variant, results: Results) -> list[str]:
    error = results.spread(variant.label)
    failed = sum(row.variant == variant.label and bool(row.note) for row in results.rows)
    ours = format_spread(error) + (f" ({failed} diverged)" if failed else "")
    return [
        variant.label,
        format_published(variant.published),
        variant.remeasured,
        ours,
        str(error.n if error else 0),
        *(_quantity(results, variant, name) for name in study.quantities),
        _quantity(results, variant, "steps"),
        _quantity(results, variant, "seconds"),
    ]


def _quantity(results: Results, variant: Variant, name: str) -> str:
    spread = results.spread(variant.label, name)
    if name in _WHOLE:
        return "-" if spread is None else f"{spread.mean:,.0f}"
    return format_spread(spread)


def format_spread(spread: Spread | None) -> str:
    """Formats a mean and its deviation, such as ``8.51 ± 0.22``; a dash without runs."""
    if spread is None:
        return "-"
    return f"{spread.mean:.2f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.2f}")


def format_published(value: float | str | None) -> str:
    """Formats a published error; a dash if there is none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.2f}"
