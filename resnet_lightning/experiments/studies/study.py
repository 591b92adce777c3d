"""What a study consists of: variants of a run, budgets, and the orders that its source leads one to expect."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ...errors import InputError, did_you_mean
from ...runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .results import Results

BudgetName = Literal["smoke", "quick", "paper"]
"""``smoke``: seconds a run, on the digits. ``quick``: up to an hour on two CPU cores. ``paper``: that of the source."""


@dataclass(frozen=True)
class Variant:
    """One row of a study's table, trained once for each seed.

    Args:
        label: its name in tables and figures, unique in its budget.
        overrides: keys and values of ``lightning fit``, on top of those of the budget.
        published: the error in percent that the source gives, or text such as ``"fail"``; None if it gives none.
        remeasured: what others measured, as text such as ``"8.51 ± 0.22 (n = 5)"``.
        series: the line of the figure to which it belongs, such as ``"plain"``; empty for a figure of rows.
        x: its place on the x axis of that line, such as the depth.
        panel: the title of the part of the figure in which it is drawn.
        data: the data set, if it is not that of the budget; see ``data_sets.py``.
        script: a module to run in place of ``lightning fit``; see ``scripts.py``. It takes the overrides as options.
    """

    label: str
    overrides: Mapping[str, str]
    published: float | str | None = None
    remeasured: str = ""
    series: str = ""
    x: float | None = None
    panel: str = ""
    data: str = ""
    script: str = ""


@dataclass(frozen=True)
class Budget:
    """The variants that are trained, and for how long.

    Args:
        data: the data set; see ``data_sets.py``.
        settings: keys and values of ``lightning fit`` that all variants share.
        variants: what is trained.
        note: what differs from the source in recipe and data, in whole sentences.
        cost: what all its runs take, such as ``"a minute"``.
        seeds: the number of seeds, by default.
    """

    data: str
    settings: Mapping[str, str]
    variants: tuple[Variant, ...]
    note: str
    cost: str
    seeds: int = 3


@dataclass(frozen=True)
class Order:
    """An order of two numbers that the source leads one to expect.

    Args:
        claim: the order in words, such as ``"plain-56 has a higher training error than plain-20"``.
        higher: a variant and a quantity, which is ``"error"``, ``"train_error"`` or one that the study measures.
        lower: the same for the smaller number.
    """

    claim: str
    higher: tuple[str, str]
    lower: tuple[str, str]


@dataclass(frozen=True)
class Measurement:
    """A number that is measured on a trained network.

    Args:
        quantity: what it is, such as ``"error without one block"``.
        value: the number; an error in percent.
        at: where it was measured, such as the number of the block; None if there is one value for each run.
    """

    quantity: str
    value: float
    at: float | None = None


@dataclass(frozen=True)
class Study:
    """A named list of trainings with the published numbers beside it.

    Args:
        name: its name on the command line.
        title: what it asks, in a few words.
        source: the paper, and the table or figure in it.
        summary: what the source found, in a sentence or two.
        budgets: by name.
        orders: the orders that the source leads one to expect. A budget without one of the two variants skips the
            order.
        measure: measures further numbers on a finished run; its folder has the checkpoints. It is called once for each
            run.
        draw: draws the figure; by default the errors of all variants.
        quantities: the columns of the table after the test error, by name, such as ``{"train_error": "training"}``. A
            quantity that is measured is averaged over the places where it was measured.
        x_label: the label of the x axis, for variants with an ``x``.
        drawn: the quantity on the y axis of the default figure.
        statistic: what the published numbers are, such as ``"median of 5 runs"``.
    """

    name: str
    title: str
    source: str
    summary: str
    budgets: Mapping[BudgetName, Budget]
    orders: tuple[Order, ...] = ()
    measure: Callable[[Run], Sequence[Measurement]] | None = None
    draw: "Callable[[Study, Budget, Results], Figure] | None" = None
    quantities: Mapping[str, str] = field(default_factory=dict)
    x_label: str = ""
    drawn: str = "error"
    statistic: str = "single run"

    def budget(self, name: str) -> Budget:
        """Returns a budget by its name.

        Raises:
            InputError: if the study has no such budget.
        """
        budgets: dict[str, Budget] = {str(key): value for key, value in self.budgets.items()}
        if name not in budgets:
            raise InputError(f"study {self.name!r} has no budget {name!r}; {did_you_mean(name, budgets)}")
        return budgets[name]


def only(budget: Budget, labels: Sequence[str]) -> Budget:
    """Returns a budget with some of its variants, in its own order.

    Raises:
        InputError: if there is no variant of a label.
    """
    known = [variant.label for variant in budget.variants]
    for label in labels:
        if label not in known:
            raise InputError(f"unknown variant {label!r}; {did_you_mean(label, known)}")
    return dataclasses.replace(budget, variants=tuple(v for v in budget.variants if v.label in labels))


def expect(higher: str, lower: str, quantity: str = "error") -> Order:
    """Returns the order of two variants in the test error, or with ``"train_error"`` in the training error."""
    name = {"error": "test error", "train_error": "training error"}.get(quantity, quantity)
    return Order(f"{higher} has a higher {name} than {lower}", (higher, quantity), (lower, quantity))


def orders_of(study: Study, budget: Budget) -> list[Order]:
    """Returns the orders of a study whose variants are both in a budget."""
    labels = {variant.label for variant in budget.variants}
    return [order for order in study.orders if {order.higher[0], order.lower[0]} <= labels]
