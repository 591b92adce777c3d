"""``lightning study``: trains the variants of a published table, and puts ours beside the published numbers."""

import argparse
import os
import shlex
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from ..errors import InputError, nearest
from ..experiments.processes import check_jobs
from ..experiments.studies import STUDIES, find_study
from ..experiments.studies.certainty import resolve
from ..experiments.studies.page import format_published, format_spread
from ..experiments.studies.results import ROWS, Results
from ..experiments.studies.runner import FIGURE, PAGE, Plan, run_study
from ..experiments.studies.study import Study, only, orders_of
from ..runs.folder import local_folder
from ..signals import Signalled
from .arguments import given_options
from .console import console
from .sweep import print_interrupted
from .tool_parser import ToolParser
from .trials_display import TrialsDisplay

_SET = {
    **dict.fromkeys(("config", "ckpt_path"), "leave it out"),
    **dict.fromkeys(("resume",), "the same command continues it"),
    "seed_everything": "--seeds N trains with the seeds 0 to N - 1",
    "trainer.default_root_dir": "--folder names the folder of the study",
    **dict.fromkeys(("data", "data.root"), "--data_root names the folder of the data sets"),
}
"""The options of ``lightning fit`` that a study sets, each with what to do instead."""


def command(arguments: list[str]) -> None:
    options, fit_options = _parser().parse_known_args(arguments)
    if options.name is None:
        if fit_options:
            raise InputError(f"give the name of a study before {fit_options[0]!r}; `lightning study` lists them")
        console().print(_catalogue(), highlight=False)
        return
    plan = _plan(options, fit_options)
    folder = Path("runs", "studies", f"{plan.study.name}-{plan.budget_name}")
    if options.folder:
        folder = local_folder("--folder", options.folder)
    if options.dry_run:
        for line in plan.commands(folder):
            program = "python" if line[0] == "-m" else "lightning"
            print(program, shlex.join(line))
        return
    _check(plan)
    out = console()
    typed = shlex.join(["lightning", "study", *arguments])
    count = len(plan.seeds) * len(plan.budget.variants)
    try:
        with TrialsDisplay(out, folder / "runs", count, options.jobs) as display:
            results, failed = run_study(plan, folder, typed, options.jobs, display.ended, display.update)
    except (Signalled, KeyboardInterrupt):
        print_interrupted(typed)
        raise
    console().print(_table(plan, results), *_orders(plan, results), sep="\n", highlight=False, soft_wrap=True)
    written = ", ".join(name for name in (PAGE, FIGURE, ROWS) if (folder / name).exists())
    console().print(f"[dim]folder[/] {escape(str(folder))} ({written})", highlight=False, soft_wrap=True)
    if failed:
        first = failed[0]
        raise InputError(
            f"{len(failed)} of {count} runs failed; {first.trial.label}: {first.reason}; the same command tries again"
        )


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser(
        prog="resnet-lightning study",
        description="Trains the networks of a published table or figure, and writes a table, a figure and a page with "
        "the published numbers beside ours. Without a name, lists the studies.",
        epilog="All other options are those of `lightning fit`, for all runs, such as --trainer.precision bf16-mixed.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", help="the study")
    parser.add_argument(
        "--budget",
        default="smoke",
        help="smoke: seconds a run; quick: up to an hour on two CPU cores; paper: that of the source (default: smoke)",
    )
    parser.add_argument("--seeds", type=int, help="number of seeds (default: that of the budget)")
    parser.add_argument(
        "--variants", help="only these rows of the table, separated by commas, such as 'plain-20,ResNet-20'"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of runs at a time (default: 1)")
    parser.add_argument(
        "--data_root",
        type=Path,
        default=Path(os.environ.get("RESNET_LIGHTNING_DATA", "data")),
        help="folder of the data sets (default: $RESNET_LIGHTNING_DATA, or data)",
    )
    parser.add_argument("--folder", help="folder of the study (default: runs/studies/NAME-BUDGET)")
    parser.add_argument("--dry_run", action="store_true", help="print the command of each run, and run nothing")
    return parser


def _plan(options: argparse.Namespace, fit_options: list[str]) -> Plan:
    study = find_study(options.name)
    budget = study.budget(options.budget)
    seeds = budget.seeds if options.seeds is None else options.seeds
    for name, number in (("--seeds", seeds), ("--jobs", options.jobs)):
        if number < 1:
            raise InputError(f"{name} is {number}; give at least 1")
    check_jobs(options.jobs)
    if options.variants is not None:
        budget = only(budget, [label.strip() for label in options.variants.split(",") if label.strip()])
    return Plan(study, options.budget, budget, options.data_root, tuple(range(seeds)), tuple(fit_options))


def _check(plan: Plan) -> None:
    """Checks the further options of all runs.

    Raises:
        InputError: if one is unknown, or is set by the study.
    """
    if not plan.extra:
        return
    given = {name for name, _ in given_options(plan.extra)}
    own = {"--variants", "--budget", "--seeds", "--jobs", "--data_root", "--folder", "--dry_run"}
    varied = {key for variant in plan.budget.variants for key in variant.overrides}
    for name in sorted(given):
        if "." not in name and (meant := nearest(f"--{name}", own)):
            raise InputError(f"unknown option '--{name}'; did you mean {' or '.join(meant)}?")
        if name in _SET:
            raise InputError(f"--{name} is set by the study; {_SET[name]}")
        if name in varied:
            raise InputError(f"--{name} is what the variants of {plan.study.name!r} differ in; leave it out")
    from .parsed_config import parsed_config  # imported here, since importing Lightning takes seconds

    trained = [variant for variant in plan.budget.variants if not variant.script]
    for variant in trained[:1]:
        parsed_config([*plan.options(plan.data_of(variant)), *plan.trials(variant)[0].options()])


def _catalogue() -> Table:
    """Returns a table with a row for each study."""
    table = Table("study", "what", "source", "budgets", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.columns[0].no_wrap = True
    for name in STUDIES:
        study = find_study(name)
        budgets = "\n".join(f"{name}: {budget.cost}" for name, budget in study.budgets.items())
        table.add_row(name, study.title, study.source.partition(",")[0], budgets)
    return table


def _table(plan: Plan, results: Results) -> Table:
    """Returns a table with the published and the measured error of each variant, and below it the orders."""
    study: Study = plan.study
    names = ["", "published", "ours", "n", *study.quantities.values()]
    table = Table(*names, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for variant in plan.budget.variants:
        spread = results.spread(variant.label)
        others = [format_spread(results.spread(variant.label, name)) for name in study.quantities]
        cells = format_published(variant.published), format_spread(spread), str(spread.n if spread else 0)
        table.add_row(escape(variant.label), *cells, *others)
    return table


def _orders(plan: Plan, results: Results) -> list[str]:
    """Returns a line for each expected order."""
    found = (resolve(order, results) for order in orders_of(plan.study, plan.budget))
    return [f"{one.order.claim}: [bold]{one.verdict}[/] ({one.how_sure})" for one in found]
