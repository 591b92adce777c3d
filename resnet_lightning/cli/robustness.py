"""``lightning test --corruptions``: where the results are written, and how they are shown."""

from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..runs.robustness import COLUMNS, FILE, Robustness
from .summary import print_line


def folder_of_checkpoint(checkpoint: str | None) -> Path | None:
    """Returns where the results of a checkpoint belong: the folder of its run, or else its own; None without one."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint).resolve().parent
    is_of_a_run = folder.name == "checkpoints" and (folder.parent / "run.json").is_file()
    return folder.parent if is_of_a_run else folder


@rank_zero_only
def print_robustness(console: Console, found: Robustness, folder: Path | None) -> None:
    """Prints the accuracy by corruption and strength, the mean corruption error, and where they are written."""
    table = Table(*COLUMNS, title="accuracy by corruption and strength", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, *values in found.rows():
        table.add_row(name, *(f"{value:.2%}" for value in values))
    console.print(table)
    print_line(console, f"mean corruption error [bold]{found.mean_error:.2%}[/], clean error {1 - found.clean:.2%}")
    if folder:
        print_line(console, f"[dim]see[/] {escape(str(folder / FILE))} [dim]and[/] {escape(str(folder / 'pictures'))}")
