"""Shows the runs of an experiment while they train: a live table, or without a terminal a line when a run ends."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..experiments.launcher import Outcome, Status, runs_of
from ..runs.formatting import duration, epochs, percent
from ..runs.reader import Run

_OTHER_LINES = 8  # of the terminal, around the rows


class TrialsDisplay:
    """Shows the states of trials, for ``with``.

    Args:
        console: where to show them.
        folder: the folder of the experiment.
        count: the number of trials.
        jobs: how many run at a time.
    """

    def __init__(self, console: Console, folder: Path, count: int, jobs: int) -> None:
        self._console, self._folder, self._count, self._jobs = console, folder, count, jobs
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._ended = self._old = 0
        self._seen: dict[Path, tuple[float, Run]] = {}
        self._first_epochs: dict[str, int] = {}
        self._durations: dict[str, float] = {}  # by label

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def ended(self, outcome: Outcome) -> None:
        """Prints a line for a trial that has ended, unless it had ended before."""
        self._ended += 1
        self._old += outcome.is_old
        if outcome.is_old:
            return
        if self._old and self._ended == self._old + 1:
            self._console.print(f"[dim]{self._old} of {self._count} runs had ended before[/]", highlight=False)
        run = outcome.run
        if run is None:
            what = f"[bold]failed:[/] {escape(outcome.reason)}"
        else:
            state = "finished" if run.is_complete else "stopped early"
            what = f"{state}, {epochs(run)} epochs{_best(run, ', best ')}{_test(run)}"
        line = f"[dim]{self._ended}/{self._count}[/] {escape(outcome.trial.label or 'run')}: {what}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def update(self, statuses: Sequence[Status]) -> None:
        """Shows the states of all trials."""
        for status in statuses:
            if status.started is not None and status.outcome is not None:
                self._durations.setdefault(status.trial.label, time.monotonic() - status.started)
        if self._live:
            self._live.update(Group(self._table(statuses), self._summary(statuses)), refresh=True)

    def _table(self, statuses: Sequence[Status]) -> Table:
        table = Table("run", "state", "epoch", "best so far", "time left", box=box.SIMPLE_HEAD, show_edge=False)
        for column in table.columns[2:]:
            column.justify = "right"
        shown = self._shown(statuses)
        for status in shown:
            table.add_row(*self._row(status))
        if len(shown) < len(statuses):
            table.add_row(f"[dim]and {len(statuses) - len(shown)} more[/]")
        return table

    def _shown(self, statuses: Sequence[Status]) -> list[Status]:
        """The trials that fit on the terminal, in their order: first those that run, then those that ended last."""
        most = max(self._console.height - _OTHER_LINES, 3)
        if len(statuses) <= most:
            return list(statuses)
        by_importance = sorted(
            range(len(statuses)),
            key=lambda i: (statuses[i].job is None, statuses[i].outcome is not None, i),
        )
        return [statuses[i] for i in sorted(by_importance[:most])]

    def _row(self, status: Status) -> tuple[str, ...]:
        label = escape(status.trial.label or "run")
        if status.outcome is not None:
            run = status.outcome.run
            if run is None:
                return label, "[bold red]failed[/]", "", "", ""
            state = "[green]finished[/]" if run.is_complete else "stopped early"
            return label, state, epochs(run), _best(run), ""
        if status.job is None:
            return label, "[dim]waiting[/]", "", "", ""
        run = self._run_of(status)
        if run is None:
            return label, "starts", "", "", ""
        return label, "[cyan]running[/]", epochs(run), _best(run), duration(self._seconds_left(status, run))

    def _run_of(self, status: Status) -> Run | None:
        """Returns the run of a process, read again only when it has logged more."""
        files = sorted((self._folder / status.trial.folder_name).glob("*/*/metrics.csv"), key=lambda file: file.parent)
        if not files:
            return None
        file, changed = files[-1], _changed(files[-1])
        if file not in self._seen or self._seen[file][0] != changed:
            try:
                run = next(iter(runs_of(status.trial, self._folder)), None)
            except (InputError, OSError):  # a file has just been replaced
                run = None
            if run is None:
                return None
            self._seen[file] = changed, run
            self._first_epochs.setdefault(status.trial.label, run.epochs)
        return self._seen[file][1]

    def _seconds_left(self, status: Status, run: Run) -> float | None:
        new = run.epochs - self._first_epochs.get(status.trial.label, 0)
        if status.started is None or run.max_epochs is None or new < 1:
            return None
        return (time.monotonic() - status.started) / new * (run.max_epochs - run.epochs)

    def _summary(self, statuses: Sequence[Status]) -> Text:
        counts = Counter(
            "running" if s.job is not None else "waiting" if s.outcome is None else "ended" for s in statuses
        )
        parts = [f"{counts[name]} {name}" for name in ("ended", "running", "waiting") if counts[name]]
        if self._durations:
            mean = sum(self._durations.values()) / len(self._durations)
            rounds = math.ceil((counts["waiting"] + counts["running"] / 2) / max(self._jobs, 1))
            parts.append(f"about {duration(mean * rounds)} left")
        return Text(", ".join(parts), style="dim")


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _best(run: Run, prefix: str = "") -> str:
    """The best value of the monitored metric so far; empty if there is none."""
    metric = run.monitor or ""
    value = run.best_monitored()[0]
    if not math.isfinite(value):
        return ""
    value = abs(value) if value == 0 else -value if run.setting("checkpoint.mode") == "min" else value
    return f"{prefix}{escape(metric)} " + (percent(value) if metric.endswith("/acc") else f"{value:.4f}")


def _test(run: Run) -> str:
    value = run.last("test/acc")
    return "" if value is None else f", test/acc {percent(value)}"
