"""The table with a row for each run, made as wide as the terminal is."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from ..runs.comparison import REPEATS, differences, own_metrics, settings
from ..runs.configs import MISSING, as_text
from ..runs.formatting import epochs, percent, time_ago
from ..runs.reader import Run
from ..runs.short_names import short_names, short_values

_GAP = 2
_NARROWEST_FOLDER = 21  # the name of a run's folder: 2026-11-25_10-59-17, perhaps with a number
_WIDEST_FOLDER = 40  # of those that are wider, part of the other columns' place is not taken


# The ranks of columns: those of a lower rank are shown first, and the last one only beside an unfolded path.
_MAIN, _SETTING, _BEST, _INTERVAL, _OWN, _LENGTH, _FURTHER_SETTING, _EXTRA = range(8)


@dataclass(frozen=True, eq=False)
class _Column:
    """A column, with the text of each run, and its rank."""

    head: str
    texts: Sequence[str]
    rank: int
    justify: Literal["left", "right"] = "right"

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.head, *self.texts)))


def table_of_runs(
    runs: Sequence[Run],
    width: int,
    setting: str | None = None,
    metric: str | None = None,
    numbers: Mapping[Path, str] | None = None,
    *,
    folds: bool = True,
) -> tuple[Table, list[str]]:
    """A table with a row for each run: results, the settings that differ, epochs and state.

    The most important columns that fit into the width are shown. A long path is folded.

    Args:
        runs: the runs in the order of the rows.
        width: the columns of the terminal.
        setting: the full name of a setting to show first, such as ``model.lr``.
        metric: a metric to show first, such as ``test/loss``.
        numbers: the number of each run, which other tables refer to, by its folder.
        folds: whether a path that is too wide is folded; otherwise the table is wider.

    Returns:
        The table, and the settings that differ but have no place in it.
    """
    folder = _Column("folder", [str(run.folder) for run in runs], _MAIN)
    first = [_Column("", [numbers[run.folder] for run in runs], _MAIN)] if numbers is not None else []
    columns = _columns(runs, setting, metric)
    room = width - sum(column.width + _GAP for column in first)
    shown = _fitting(columns, room, folder.width, _NARROWEST_FOLDER if folds else folder.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for column in first:
        table.add_column(column.head, no_wrap=True)
    left = max(room - sum(column.width + _GAP for column in shown), 1) if folds else folder.width
    table.add_column("folder", overflow="fold", max_width=left)
    for column in shown:
        table.add_column(escape(column.head), justify=column.justify, no_wrap=True)
    for index, run in enumerate(runs):
        name = _folded(str(run.folder), left)
        name = escape(name) + "".join(f"\n[dim]{escape(note)}[/]" for note in run.notes)
        numbered = (column.texts[index] for column in first)
        table.add_row(*numbered, name, *(_styled(column, index) for column in shown))
    left_out = [
        column.head for column in columns if column.rank in (_SETTING, _FURTHER_SETTING) and column not in shown
    ]
    return table, left_out


def _columns(runs: Sequence[Run], setting: str | None, metric: str | None) -> list[_Column]:
    """All columns but the folder, in their order in the table."""
    now = datetime.datetime.now().astimezone()
    own = list(dict.fromkeys(name for run in runs for name in own_metrics(run, "test")))
    chosen = [metric] if metric and metric not in own and metric != "test/acc" else []
    return [
        _Column("config", [run.name for run in runs], _EXTRA, "left"),
        *_settings(runs, setting),
        _Column("epochs", [epochs(run) for run in runs], _LENGTH),
        _Column("best val", [percent(run.best_accuracy()) for run in runs], _BEST),
        _Column("test", [percent(run.last("test/acc")) for run in runs], _MAIN),
        *_intervals(runs),
        *(_Column(name, [_number(name, run.last(name)) for run in runs], _MAIN) for name in chosen),
        *(_Column(name.replace("/", " "), [_number(name, run.last(name)) for run in runs], _OWN) for name in own),
        _Column("when", [time_ago(now, run.started) for run in runs], _EXTRA, "left"),
        _Column("state", [run.state for run in runs], _MAIN, "left"),
    ]


def _intervals(runs: Sequence[Run]) -> list[_Column]:
    """The 95 % interval of the test accuracy and the number of test images; none if no run has them."""
    found = [run.accuracy_score() for run in runs]
    if not any(found):
        return []
    ends = [score.interval_text() if score else MISSING for score in found]
    images = [
        f"{run.evaluation.images:,}" if score and run.evaluation and run.evaluation.images else MISSING
        for run, score in zip(runs, found, strict=True)
    ]
    return [_Column("95% interval", ends, _INTERVAL), _Column("n", images, _INTERVAL)]


def _settings(runs: Sequence[Run], chosen: str | None) -> list[_Column]:
    """The settings that differ between the runs, by short names: the chosen one first, the seed last.

    If runs of different configs are listed, only what differs between runs of one config: what belongs to a config
    follows from its name.
    """
    differing = differences(runs)
    names = [run.name for run in runs]
    within = {
        key: texts for key, texts in differing.items() if len(set(zip(names, texts, strict=True))) > len(set(names))
    }
    found = within or differing
    shown = dict(sorted(found.items(), key=lambda item: item[0] in REPEATS))
    if chosen is not None:
        texts = [as_text(own[chosen]) if chosen in (own := settings(run)) else MISSING for run in runs]
        shown = {chosen: texts, **shown}
    short = short_names({name for run in runs for name in settings(run)})
    ranks = [_MAIN if key == chosen else _SETTING if place < 3 else _FURTHER_SETTING for place, key in enumerate(shown)]
    return [
        _Column(short[key], short_values(texts), rank) for (key, texts), rank in zip(shown.items(), ranks, strict=True)
    ]


def _number(metric: str, value: float | None) -> str:
    if metric.endswith("/acc"):
        return percent(value)
    return "-" if value is None else f"{value:.4f}"


def _fitting(columns: Sequence[_Column], room: int, folder: int, narrowest: int) -> list[_Column]:
    """The columns that fit beside the folder, in their order; the most important ones are chosen first."""
    shown: list[_Column] = []
    for column in sorted(columns, key=lambda column: column.rank):
        least = max(narrowest, _WIDEST_FOLDER) if column.rank == _EXTRA else narrowest
        used = sum(other.width + _GAP for other in (*shown, column))
        if column.rank == _MAIN or used + min(folder, least) <= room:
            shown.append(column)
    return [column for column in columns if column in shown]


def _styled(column: _Column, index: int) -> str:
    text = escape(column.texts[index])
    return f"[bold]{text}[/]" if column.head == "state" and text not in ("finished", "running") else text


def _folded(path: str, width: int) -> str:
    """Breaks a path after slashes, where it is wider than the column."""
    lines = [""]
    for part in path.replace("/", "/\n").split("\n"):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
