"""What a sweep ends with: the table of its settings, the best one, and the runs that failed."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..errors import InputError
from ..experiments.launcher import Outcome
from ..runs.certainty import certainty_of_best
from ..runs.comparison import by_data, data_label
from ..runs.formatting import mean_and_deviation
from ..runs.ranking import best_first, best_validation, validation_metric
from ..runs.reader import Run
from .table_by_setting import table_by_setting


def print_result(out: Console, outcomes: Sequence[Outcome], folder: Path, sort: str | None) -> None:
    """Prints the table of the finished runs, the best setting by validation, and the runs that failed.

    Raises:
        InputError: if no run has finished.
    """
    runs = [outcome.run for outcome in outcomes if outcome.run is not None and outcome.run.is_complete]
    failed = [outcome for outcome in outcomes if outcome.run is None]
    if not runs:
        raise InputError(
            f"no run of the sweep finished; {failed[0].trial.label}: {failed[0].reason}"
            if failed
            else "no run of the sweep finished"
        )
    datasets = by_data(runs)
    for group in datasets:
        title = data_label(group, datasets) if len(datasets) > 1 else "mean ± deviation"
        out.print(table_by_setting(group, sort, width=out.width, title=title), highlight=False)
    if len(datasets) == 1:
        _print_best(out, outcomes)
    for outcome in failed:
        out.print(
            f"[bold]failed:[/] {escape(outcome.trial.label)}: {escape(outcome.reason)}", highlight=False, soft_wrap=True
        )
    early = sum(outcome.run is not None and not outcome.run.is_complete for outcome in outcomes)
    if early:
        out.print(f"{early} of {len(outcomes)} runs were stopped early", highlight=False)
    out.print(f"[dim]folder[/] {escape(str(folder))}", highlight=False, soft_wrap=True)


def _print_best(out: Console, outcomes: Sequence[Outcome]) -> None:
    """Prints the setting with the best mean of the validation metric, if there are several, and how sure that is."""
    labels: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for outcome in outcomes:
        if outcome.run is not None and outcome.run.is_complete:
            labels.setdefault(outcome.trial.setting, []).append(outcome.run)
    metric = validation_metric([run for group in labels.values() for run in group])
    if metric is None or len({outcome.trial.setting for outcome in outcomes}) < 2:
        return
    best = best_first(list(labels.values()))[0]
    spread = best_validation(best, metric)
    setting = next(setting for setting, group in labels.items() if group is best)
    name = ", ".join(f"{key} {value}" for key, value in setting)
    value = f"{mean_and_deviation(metric, spread)}, n = {len(best)}"
    out.print(f"[bold]best by {escape(metric)}:[/] {escape(name)} ({value})", highlight=False, soft_wrap=True)
    out.print(escape(certainty_of_best(list(labels.values()))), highlight=False, soft_wrap=True)
