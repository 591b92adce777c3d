"""Runs a study: plans its trials, runs what is missing, and writes table, figure and page."""

import csv
import dataclasses
import io
import itertools
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...atomic_write import atomic_write_text
from ...runs.figures import save
from ...runs.readable import UNREADABLE, read_text
from ...runs.reader import Run
from ..launcher import Outcome, Status, command_of, run_trials
from ..trials import SEED, Trial
from .data_sets import StudyData, study_data
from .figure import draw_errors
from .page import render
from .results import (
    RECORD,
    Results,
    Row,
    check_config,
    read_results,
    write_results,
)
from .scripts import run_script, script_command
from .study import Budget, Study, Variant

FIGURE, PAGE = "figure.png", "page.md"

_DIVERGED = re.compile(r"the (?:loss is (?:nan|inf|-inf)|weights are NaN or infinite) .*?step \d+", re.DOTALL)


@dataclass(frozen=True)
class Plan:
    """The runs of a study at a budget.

    Args:
        study: the study.
        budget_name: the name of the budget.
        budget: the budget, with the chosen variants.
        root: the folder of the data sets.
        seeds: the seeds of each variant.
        extra: further options of ``lightning fit``, for all runs.
    """

    study: Study
    budget_name: str
    budget: Budget
    root: Path
    seeds: tuple[int, ...]
    extra: tuple[str, ...] = ()

    def data_of(self, variant: Variant) -> StudyData:
        """Returns the data set of a variant."""
        return study_data(variant.data or self.budget.data, self.root)

    def options(self, data: StudyData) -> list[str]:
        """Returns the options that all runs on a data set share."""
        shared = {**data.settings, **self.budget.settings}
        return [*(f"--{key}={value}" for key, value in shared.items()), *self.extra]

    def trials(self, variant: Variant) -> list[Trial]:
        """Returns a trial for each seed of a variant."""
        return [Trial(f"{variant.label}, seed {seed}", {**variant.overrides, SEED: str(seed)}) for seed in self.seeds]

    def commands(self, folder: Path) -> Iterator[list[str]]:
        """Yields the command line of each run: what follows ``lightning``, or ``python`` for a script."""
        for variant in self.budget.variants:
            for trial in self.trials(variant):
                if variant.script:
                    yield script_command(variant.script, self.data_of(variant), trial)
                else:
                    yield command_of(self.options(self.data_of(variant)), trial, folder / "runs")

    def record(self, command: str) -> dict[str, Any]:
        """Returns what is run, for ``study.json``."""
        extra = {"options": " ".join(self.extra)} if self.extra else {}
        return {
            "study": self.study.name,
            "budget": self.budget_name,
            "data": study_data(self.budget.data, self.root).label,
            "settings": {**self.budget.settings, **extra},
            "variants": {
                variant.label: {**variant.overrides, "data set": self.data_of(variant).label}
                for variant in self.study.budget(self.budget_name).variants
            },
            "command": command,
            "machine": "",  # filled in when something is trained
        }


def _machine() -> str:
    """Returns the processor and the number of its cores that this process may use."""
    name = platform.machine()
    try:
        found = re.search(r"^model name\s*: (.+)$", read_text(Path("/proc/cpuinfo")), re.MULTILINE)
        name = found[1] if found else name
    except UNREADABLE:  # not Linux
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def run_study(
    plan: Plan,
    folder: Path,
    command: str,
    jobs: int = 1,
    show: Callable[[Outcome], None] = lambda outcome: None,
    watch: Callable[[Sequence[Status]], None] = lambda statuses: None,
) -> tuple[Results, list[Outcome]]:
    """Runs what is missing of a study, and writes its results, figure and page.

    Finished runs are read back, interrupted ones go on, and results of other seeds and variants in the folder stay.

    Args:
        plan: the runs.
        folder: the folder of the study; the runs are in its folder ``runs``.
        command: the command line that starts the study, for the page.
        jobs: how many runs at a time.
        show: is called with the outcome of each run.
        watch: is called about once a second with the states of the runs on one data set.

    Returns:
        All results in the folder, and the outcomes of the runs that have no result.

    Raises:
        InputError: if the results in the folder were edited or are of another study or config.
    """
    results = _open(plan, folder, command)
    outcomes = list(_run_all(plan, folder, jobs, show, watch))
    failed = []
    rows = []
    for variant, outcome in outcomes:
        row = _row(plan, variant, outcome)
        rows += [row] if row else []
        failed += [] if row else [outcome]
    if any(not outcome.is_old for _, outcome in outcomes):
        machines = dict.fromkeys((*str(results.record["machine"]).split("; "), _machine()))
        results = dataclasses.replace(results, record={**results.record, "machine": "; ".join(filter(None, machines))})
    results = results.with_rows(rows)
    write_results(results, folder)
    for variant, outcome in outcomes:
        results = _measured(plan.study, variant, outcome, results, folder)
    write_page(plan.study, plan.budget_name, results, folder, plan.root)
    return results, failed


def write_page(study: Study, budget_name: str, results: Results, folder: Path, root: Path) -> None:
    """Writes the figure and the page of a study."""
    budget = study.budget(budget_name)
    found = {row.variant for row in results.rows}
    budget = dataclasses.replace(budget, variants=tuple(v for v in budget.variants if v.label in found))
    if not budget.variants:
        return
    figure = (study.draw or draw_errors)(study, budget, results)
    save(figure, folder / FIGURE)
    notes = [study_data(name, root).note for name in dict.fromkeys((v.data or budget.data) for v in budget.variants)]
    atomic_write_text(folder / PAGE, render(study, budget_name, budget, results, [n for n in notes if n], FIGURE))


def _open(plan: Plan, folder: Path, command: str) -> Results:
    """Returns the results in a folder, after checking that they belong to the plan; empty ones for a new folder."""
    record = plan.record(command)
    results = Results(record)
    if (folder / RECORD).exists():
        found = read_results(folder, may_lack_tables=True)
        check_config(found, record, folder)
        results = dataclasses.replace(found, record={**record, "machine": found.record.get("machine", "")})
    write_results(results, folder)
    return results


def _run_all(
    plan: Plan,
    folder: Path,
    jobs: int,
    show: Callable[[Outcome], None],
    watch: Callable[[Sequence[Status]], None],
) -> Iterator[tuple[Variant, Outcome]]:
    runs = folder / "runs"
    trained = [variant for variant in plan.budget.variants if not variant.script]
    by_data = itertools.groupby(
        sorted(trained, key=lambda variant: variant.data), key=lambda variant: plan.data_of(variant).label
    )
    for _, same_data in by_data:
        variants = list(same_data)
        trials = [(variant, trial) for variant in variants for trial in plan.trials(variant)]
        options = plan.options(plan.data_of(variants[0]))
        outcomes = run_trials(options, [trial for _, trial in trials], runs, jobs=jobs, show=show, watch=watch)
        yield from zip((variant for variant, _ in trials), outcomes, strict=True)
    for variant in plan.budget.variants:
        if variant.script:
            for trial in plan.trials(variant):
                outcome = run_script(variant.script, plan.data_of(variant), trial, runs)
                show(outcome)
                yield variant, outcome


def _row(plan: Plan, variant: Variant, outcome: Outcome) -> Row | None:
    """Returns the result of a run; None if it has none and did not diverge."""
    seed, data = int(outcome.trial.overrides[SEED]), plan.data_of(variant)
    run = outcome.run
    if run is None:
        diverged = _DIVERGED.search(outcome.reason)
        if not diverged:
            return None
        return Row(variant.label, seed, data.chance, None, None, None, None, data.label, "", f"diverged: {diverged[0]}")
    test = run.last("test/acc")
    if test is None:
        return None
    train = run.last("train/acc")
    return Row(
        variant.label,
        seed,
        error=_rounded(100 * (1 - test)),
        train_error=None if train is None else _rounded(100 * (1 - train)),
        parameters=run.record.get("parameters"),
        steps=_steps(run),
        seconds=run.record.get("training_seconds"),
        data=data.label,
        device=run.record.get("device", ""),
    )


def _rounded(value: float) -> float:
    """Returns a number with the digits that the file of the results has."""
    return float(f"{value:.6g}")


def _steps(run: Run) -> int | None:
    """Returns the number of optimizer steps of a run: that of a script, or that in the row of the test."""
    if (steps := run.last("step")) is not None:
        return int(steps)
    try:
        rows = csv.DictReader(io.StringIO(read_text(run.folder / "metrics.csv")))
        return max(int(row["step"]) for row in rows if row.get("test/acc"))
    except UNREADABLE:
        return None


def _measured(study: Study, variant: Variant, outcome: Outcome, results: Results, folder: Path) -> Results:
    """Returns the results with what the study measures on the network of a run, and writes them."""
    seed = int(outcome.trial.overrides[SEED])
    if study.measure is None or outcome.run is None or seed in results.seeds_measured(variant.label):
        return results
    results = results.with_measured(variant.label, seed, study.measure(outcome.run))
    write_results(results, folder)
    return results
