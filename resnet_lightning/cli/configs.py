"""``lightning configs``: lists the shipped configs, prints one or copies it."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ..atomic_write import atomic_write_text
from ..errors import InputError, did_you_mean
from .console import console
from .shipped_configs import FOLDER, read_header, shipped_configs
from .tool_parser import ToolParser


def command(arguments: list[str]) -> None:
    description = "Lists the configs that come with the package. With a name, prints that config or copies it."
    parser = ToolParser(prog="resnet-lightning configs", description=description)
    parser.add_argument("name", nargs="?", help="a config, such as digits, overlays/ema or sweeps/digits")
    parser.add_argument("--output", type=Path, metavar="FILE", help="copy the config to this new file")
    options = parser.parse_args(arguments)
    if options.name is None:
        if options.output is not None:
            raise InputError(f"--output is {str(options.output)!r}; give the name of the config to copy there as well")
        out = console()
        out.print(listing())
        out.print(f"[dim]folder[/] {escape(str(FOLDER))}", highlight=False, soft_wrap=True)
        return
    text = _find(options.name).read_text()
    if options.output is None:
        print(text, end="")
    else:
        _write_new(options.output, text)


def listing() -> Table:
    """A table with a row for each shipped config: its name, its purpose, and what a run costs."""
    table = Table("config", "purpose", "cost", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    folder = FOLDER
    for name, path in shipped_configs().items():
        if path.parent != folder:  # an empty line before the overlays, and before the sweeps
            folder = path.parent
            table.add_row()
        header = read_header(path.read_text())
        table.add_row(*map(escape, (name, header.purpose, header.cost)))
    return table


def _find(name: str) -> Path:
    """Returns the shipped config of this name; the folder of an overlay and the suffix may be left out.

    Raises:
        InputError: if there is none.
    """
    known = shipped_configs()
    name = name.removesuffix(".yaml")
    if found := known.get(name) or known.get(f"overlays/{name}"):
        return found
    raise InputError(f"there is no shipped config {name!r}; {did_you_mean(name, known)}")


def _write_new(path: Path, text: str) -> None:
    if path.is_dir():
        raise InputError(f"--output is {str(path)!r}, a folder; give the name of a file")
    if path.exists():
        raise InputError(f"--output is {str(path)!r}, which exists; give the name of a new file")
    try:
        atomic_write_text(path, text)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error
