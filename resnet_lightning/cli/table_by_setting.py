"""The table of mean and deviation by setting, as commands that compare runs print it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from ..errors import InputError, did_you_mean
from ..runs.comparison import FINAL, by_seed, compared_metrics, counted_runs, final_metrics, group_labels, run_numbers
from ..runs.formatting import mean_and_deviation
from ..runs.ranking import best_first, best_validation, sort_metrics, validation_metric
from ..runs.reader import Run

_NARROWEST_LABEL = 24


def table_by_setting(
    runs: Sequence[Run],
    sort: str | None = None,
    *,
    width: int = 80,
    numbers: Mapping[Path, str] | None = None,
    title: str = "mean ± deviation",
) -> Table:
    """A row for each setting: mean ± sample deviation (n - 1) of each metric over the complete runs with this setting.

    Runs with one setting differ in nothing but the seed or the fold. Of several runs with the same seed and fold, the
    newest counts. Settings without a complete run are last.

    Args:
        runs: runs on the same data; see ``by_data``.
        sort: a final metric such as ``test/acc``, the best first. By default settings are sorted by the best epoch's
            value of the metric that the runs monitor, so that the first is the one that the validation selects.
        width: the columns of the terminal. Metrics that do not fit are left out, the least important first.
        numbers: the number of each run, if another table has them, by its folder.
        title: the head of the first column.

    Raises:
        InputError: if no run has the metric ``sort``.
    """
    known = sort_metrics(runs)
    if sort is not None and sort not in known:
        raise InputError(f"--sort is {sort!r}, a metric that no run has; {did_you_mean(sort, known)}")
    groups = best_first(by_seed(runs), sort)
    labels = group_labels(groups)
    names = [labels[group[0].folder] for group in groups]
    if numbers is not None:
        names = [f"{name} ({run_numbers(group, numbers)})" for name, group in zip(names, groups, strict=True)]
    counts = [str(len(counted_runs(group))) for group in groups]
    used = _label_width([title, *names]) + 2 + max(map(len, counts), default=1)
    columns = {**_fitting(_columns(runs, groups, sort), width, used), "n": counts}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(escape(title), overflow="fold")
    for metric in columns:
        table.add_column(escape(metric), justify="right", no_wrap=True)
    for index, name in enumerate(names):
        table.add_row(escape(name), *(values[index] for values in columns.values()))
    return table


def _columns(runs: Sequence[Run], groups: Sequence[Sequence[Run]], sort: str | None) -> dict[str, list[str]]:
    """The text of each metric for each setting, the most important metric first."""
    spreads = [final_metrics(group) for group in groups]
    metrics = [name for name in compared_metrics(runs) if name in FINAL[:3] or name not in FINAL or name == sort]
    of_final = {name: [mean_and_deviation(name, found.get(name)) for found in spreads] for name in metrics}
    of_final = {name: values for name, values in of_final.items() if set(values) != {"-"}}
    first = [name for name in (sort, "test/acc") if name in of_final]
    columns = {name: of_final[name] for name in first}
    if selected_by := validation_metric(runs):
        best = [best_validation(group, selected_by) for group in groups]
        columns[f"best {selected_by}"] = [mean_and_deviation(selected_by, value) for value in best]
    return {**columns, **of_final}


def _label_width(names: Sequence[str]) -> int:
    return min(max(map(len, names)), _NARROWEST_LABEL)


def _fitting(columns: dict[str, list[str]], width: int, used: int) -> dict[str, list[str]]:
    """The columns that fit into a width, of which some is used."""
    shown: dict[str, list[str]] = {}
    for name, values in columns.items():
        used += max(map(len, (name, *values))) + 2
        if shown and used > width:
            break
        shown[name] = values
    return shown
