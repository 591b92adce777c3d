"""Runs beside each other on one page, which needs nothing but itself: no network, no other file, no script."""

import base64
import binascii
import contextlib
import math
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .. import figures
from ..comparison import (
    FINAL,
    Spread,
    by_data,
    by_seed,
    data_settings,
    differences,
    final_metrics,
    seed_of,
)
from ..reader import Run, Tested, epochs, percent

CURVES = "train/loss", "val/loss", "train/acc", "val/acc"
# Each stands out by at least 3:1 from a white page and from a dark one; more could not be told apart.
COLOURS = "#2f7ed8", "#d9660b", "#17975b", "#c9489a", "#8a63d2", "#a57a06", "#0e93a3", "#d84a4a"


def report(runs: Sequence[Run]) -> str:
    """The page (HTML) that compares runs.

    Raises:
        InputError: where there are none.
    """
    if not runs:
        raise InputError("there are no runs to report on; give at least one folder of a run")
    numbers = {run.folder: str(number) for number, run in enumerate(runs, start=1)}
    of_data = by_data(runs)
    names = " and ".join(dict.fromkeys(run.name for run in runs))
    parts = [
        f"<h1>{escape(names)}</h1>",
        f'<p class="quiet">{len(runs)} runs, numbered as in the first table</p>' if len(runs) > 1 else "",
        _notice(of_data, numbers) if len(of_data) > 1 else "",
        "<h2>Runs</h2>",
        _runs_table(runs, numbers),
        _differences(runs, numbers),
        *(_results(some, of_data, numbers) for some in of_data),
        f"<h2>To repeat {'them' if len(runs) > 1 else 'it'}</h2>",
        *(_origin(run, numbers) for run in runs),
    ]
    style = Path(__file__).with_name("style.css").read_text()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(names)}</title>\n<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n<body>\n'
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def _notice(of_data: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> str:
    items = (f"<li>{run_numbers(some, numbers)}: {escape(name_of_data(some, of_data))}</li>" for some in of_data)
    return (
        '<div class="notice" role="note"><p>These runs were trained on different data, or splits of it: their '
        f"accuracies do not compare, and are kept apart below.</p><ul>{''.join(items)}</ul></div>"
    )


def name_of_data(some: Sequence[Run], of_data: Sequence[Sequence[Run]]) -> str:
    """The data of some runs, by what tells it from the others'."""
    of_all = [data_settings(runs[0]) for runs in of_data]
    own = data_settings(some[0])
    differing = [key for key in own if any(one.get(key) != own[key] for one in of_all) and key != "data"]
    said = [own.get("data", "data of no known kind").rpartition(".")[2], *(f"{key} {own[key]}" for key in differing)]
    alike = [runs for runs in of_data if data_settings(runs[0]) == own]
    if len(alike) > 1:
        tested = next((run.tested for run in some if run.tested), None)
        said.append(f"classes {', '.join(tested.classes)}" if tested else "classes not known")
    return ", ".join(said)


def run_numbers(runs: Sequence[Run], numbers: dict[Path, str]) -> str:
    return f"run{'s' * (len(runs) > 1)} {', '.join(numbers[run.folder] for run in runs)}"


Cell = str | tuple[str, str]
"""The HTML in a cell of a table, or its attributes and the HTML."""


def _table(head: Iterable[str], rows: Iterable[Sequence[Cell]], label: str, texts: int = 1, kind: str = "") -> str:
    """A table in a box that it scrolls in; the first columns, so many, hold text."""

    def line(cells: Sequence[Cell], tag: str, first: str) -> str:
        line = ""
        for number, cell in enumerate(cells):
            attributes, content = cell if isinstance(cell, tuple) else (' class="text"' * (number < texts), cell)
            opened, closed = (first, "th") if number == 0 else (tag, tag.partition(" ")[0])
            line += f"<{opened}{attributes}>{content}</{closed}>"
        return f"<tr>{line}</tr>\n"

    heads = line(list(head), 'th scope="col"', 'th scope="col"')
    body = "".join(line(row, "td", 'th scope="row"') for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="{kind}">'
        f"<thead>{heads}</thead>\n<tbody>{body}</tbody></table></div>"
    )


def _runs_table(runs: Sequence[Run], numbers: dict[Path, str]) -> str:
    def row(run: Run) -> list[str]:
        notes = "".join(f'<span class="quiet">{escape(note)}</span>' for note in run.notes)
        record = run.record
        speed, size = record.get("images_per_second"), record.get("parameters")
        return [
            numbers[run.folder],
            f'{escape(run.name)}<span class="quiet">{escape(run.folder.name)}</span>{notes}',
            escape(run.state),
            percent(run.last("test/acc")),
            percent(run.best_accuracy()),
            epochs(run),
            f"{run.started:%Y-%m-%d %H:%M}",
            _duration(record.get("training_seconds")),
            f"{speed:,.0f}" if speed is not None else "-",
            escape(record.get("net", "-")) + (f'<span class="quiet">{size:,} parameters</span>' if size else ""),
            escape(record.get("device", "-")),
        ]

    head = "", "run", "state", "test acc", "best val acc", "epochs", "started", "time", "images/s", "net", "device"
    return _table(head, map(row, runs), "the runs", texts=3)


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _differences(runs: Sequence[Run], numbers: dict[Path, str]) -> str:
    if len(runs) == 1:
        return ""
    found = differences(runs)
    if not found:
        return "<h2>Differences</h2><p>All of them have the same config.</p>"
    rows = ([f"<code>{escape(key)}</code>", *map(escape, values)] for key, values in found.items())
    head = ["", *(f"run {number}" for number in numbers.values())]
    return "<h2>Differences</h2>" + _table(head, rows, "the settings that differ")


def _results(runs: Sequence[Run], of_data: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> str:
    """What came out of the runs on the same data."""
    groups = by_seed(runs)
    title = f"Results on {escape(name_of_data(runs, of_data))}" if len(of_data) > 1 else "Results"
    parts = [f"<h2>{title}</h2>", _curves(runs, groups, numbers), _final_table(groups, numbers)]
    return "\n".join(parts + [_evaluation(group, groups, numbers) for group in groups])


def group_labels(groups: Sequence[Sequence[Run]]) -> dict[Path, str]:
    """For each run what tells its group from the others on the same data."""
    found = differences([group[0] for group in groups])
    labels = {}
    for place, group in enumerate(groups):
        said = [f"{key} {values[place]}" for key, values in found.items() if key != "seed_everything"]
        label = ", ".join(said[:3]) + ", ..." * (len(said) > 3)
        labels.update({run.folder: label or run.name for run in group})
    return labels


def _curves(runs: Sequence[Run], groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> str:
    """A line for each run; where there are many, those of the same config have one colour."""
    shown = [[run] for run in runs] if len(runs) <= len(COLOURS) else list(groups)
    left_out = len(shown) - len(COLOURS)
    colours = {numbers[r.folder]: colour for some, colour in zip(shown, COLOURS, strict=False) for r in some}
    drawn = ""
    for metric in CURVES:
        curves = {
            numbers[run.folder]: [(epoch + 1, value) for epoch, value in run.curves[metric]]
            for run in runs
            if metric in run.curves and numbers[run.folder] in colours
        }
        if curves:
            svg = figures.as_svg(figures.learning_curves({metric: curves}, colours=colours))
            drawn += f'<figure role="img" aria-label="{metric} by epoch">{svg}</figure>'
    if not drawn:
        return "<p>No metrics were logged.</p>"
    labels = group_labels(groups)
    seeds = {
        run.folder: f", seed {seed_of(run)}" for run in runs if len(runs) > len(groups) and len(shown) == len(runs)
    }
    key = "".join(
        f'<li><i style="background:{colour}"></i>{run_numbers(some, numbers)}: '
        f"{escape(labels[some[0].folder] + seeds.get(some[0].folder, ''))}</li>"
        for some, colour in zip(shown, COLOURS, strict=False)
    )
    more = f'<p class="quiet">Configs whose curves are left out: {left_out}.</p>' if left_out > 0 else ""
    return f'<h3>Learning curves</h3><ul class="key">{key}</ul><div class="curves">{drawn}</div>{more}'


def _final_table(groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> str:
    of_groups = [final_metrics(group) for group in groups]
    metrics = [metric for metric in FINAL if any(metric in one for one in of_groups)]
    if not metrics:
        return "<h3>Final metrics</h3><p>No run has come to its end.</p>"
    labels = group_labels(groups)
    rows = (
        [
            f'{escape(labels[group[0].folder])}<span class="quiet">{run_numbers(group, numbers)}</span>',
            str(max((spread.n for spread in one.values()), default=0)),
            *(spread_as_text(metric, one.get(metric)) for metric in metrics),
        ]
        for group, one in zip(groups, of_groups, strict=True)
    )
    return (
        f"<h3>Final metrics</h3>{_table(['', 'n', *metrics], rows, 'the final metrics')}"
        '<p class="quiet">Test: of the checkpoint that was tested. Others: after the last epoch. Runs that differ only '
        "in their seed are one row, n of them came to their end: mean ± standard deviation of a single run (n - 1). "
        "Of several with the same seed the newest counts.</p>"
    )


def spread_as_text(metric: str, spread: Spread | None) -> str:
    """Such as ``99.44% ± 0.20%``."""
    if spread is None:
        return "-"
    numbers = (spread.mean,) if spread.deviation is None else (spread.mean, spread.deviation)
    return " ± ".join(percent(number) if metric.endswith("/acc") else f"{number:.4f}" for number in numbers)


def _evaluation(group: Sequence[Run], groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> str:
    """The test of the group's best run, which the validation images choose: the test images would flatter it."""
    tested = [run for run in group if run.tested]
    if not tested:
        return ""
    best = max(tested, key=Run.best_monitored)
    assert best.tested is not None
    of = f", of {group_labels(groups)[best.folder]}" if len(groups) > 1 else ""
    why = " (the best of its group on the validation images)" if len(group) > 1 else ""
    parts = [f"<h3>The test, class by class{escape(of)}</h3><p>Run {numbers[best.folder]}{why}.</p>"]
    parts += [_confusion(best.tested), _mistakes(best.tested)]
    return "\n".join(parts)


def _confusion(tested: Tested) -> str:
    counts = np.array(tested.confusion, dtype=np.int64).reshape(len(tested.classes), -1)
    totals = counts.sum(1)
    accuracies = [percent(counts[n, n] / total) if total else "-" for n, total in enumerate(totals)]
    names = list(map(escape, tested.classes))
    if len(names) > 20:  # so many numbers nobody reads
        svg = figures.as_svg(figures.confusion_matrix(counts, tested.classes))
        hardest_first = np.argsort(counts.diagonal() / np.maximum(totals, 1), kind="stable")
        rows = ([names[n], str(totals[n]), accuracies[n]] for n in hardest_first)
        table = _table(["class", "images", "accuracy"], rows, "accuracy by class")
        label = "confusion matrix: classes by predictions"
        summary = f"The accuracy of each of {len(names)} classes, the lowest first"
        of_all = f"<details><summary>{summary}</summary>{table}</details>"
        return f'<figure role="img" aria-label="{label}">{svg}</figure>{of_all}'
    shown: list[list[Cell]] = [
        [name, (' class="share"', accuracies[row]), *(_cell(counts, row, column) for column in range(len(names)))]
        for row, name in enumerate(names)
    ]
    caption = (
        '<p class="quiet">Test images by class (rows) and prediction (columns), with the accuracy of each class.</p>'
    )
    return _table(["class", "accuracy", *names], shown, "confusion matrix", kind="confusion") + caption


def _cell(counts: NDArray[np.int64], row: int, column: int) -> Cell:
    """Coloured by its share of the class, of which the root makes single images visible."""
    if not counts[row, column]:
        return ""
    strength = 15 + 40 * math.sqrt(counts[row, column] / counts[row].sum())
    colour = "--right" if row == column else "--wrong"
    mixed = f"color-mix(in srgb, var({colour}) {strength:.0f}%, transparent)"
    return f' style="background:{mixed}"', str(counts[row, column])


def _mistakes(tested: Tested) -> str:
    if not tested.mistakes:
        return ""
    figures = "".join(map(_mistake, tested.mistakes))
    return f'<h4>Worst mistakes</h4><div class="mistakes">{figures}</div>'


def _mistake(mistake: dict[str, Any]) -> str:
    label, prediction, image = (escape(str(mistake.get(name, "-"))) for name in ("label", "prediction", "image"))
    picture = ""
    with contextlib.suppress(binascii.Error, ValueError):
        png = base64.b64decode(str(mistake.get("png", "")), validate=True)
        if png.startswith(b"\x89PNG"):
            data = base64.b64encode(png).decode()
            picture = f'<img src="data:image/png;base64,{data}" alt="test image {image}">'
    said = f"<b>{label}</b>, taken for <b>{prediction}</b>"
    return (
        f"<figure>{picture}<figcaption>{said}"
        f'<span class="quiet">{mistake["confidence"]:.1%} sure, image {image}</span></figcaption></figure>'
    )


def _origin(run: Run, numbers: dict[Path, str]) -> str:
    """The command that repeats a run, and the code that it ran."""
    from_config = shlex.join(["lightning", "fit", "--config", str(run.folder / "config.yaml")])
    commands = [f"# from the config that it left\n{from_config}"]
    if command := run.record.get("command"):
        commands.insert(0, f"{command}\n")
    git = run.record.get("git") or {}
    changes = ", and uncommitted changes" if git.get("changed") else ""
    facts = {
        "folder": str(run.folder),
        "seed": seed_of(run),
        "state": f"{run.state}, ended {run.record['ended']}" if "ended" in run.record else run.state,
        "git commit": f"{git['commit']}{changes}" if git.get("commit") else "none known",
        "versions": ", ".join(f"{name} {number}" for name, number in run.record.get("versions", {}).items()) or "-",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    opened = " open" if len(numbers) == 1 else ""
    return (
        f"<details{opened}><summary>Run {numbers[run.folder]}, {escape(run.name)}, {escape(run.folder.name)}</summary>"
        f"<pre><code>{escape(chr(10).join(commands))}</code></pre><dl>{listed}</dl></details>"
    )
