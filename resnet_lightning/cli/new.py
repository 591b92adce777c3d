"""``lightning new``: writes a small project that depends on this package and has parts of its own."""

import importlib.util
import keyword
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from rich.markup import escape

from ..errors import InputError
from .console import console
from .tool_parser import ToolParser

TEMPLATE = Path(__file__).parent / "project_template"
"""The project whose files are copied; it is called ``my_project``."""

_TEMPLATE_NAME = "my_project"


def command(arguments: list[str]) -> None:
    description = "Writes a small project: a config, and a model, block, loss, metric, callback and data set to change."
    parser = ToolParser(prog="resnet-lightning new", description=description)
    parser.add_argument("folder", type=Path, help="the new folder; its name is also that of the project's package")
    folder = parser.parse_args(arguments).folder
    write_project(folder)
    out = console()
    out.print(f"[dim]project[/] {escape(str(folder))}", highlight=False, soft_wrap=True)
    python = "" if _is_on_path() else f" PYTHON={escape(shlex.quote(sys.executable))}"
    quoted = escape(shlex.quote(str(folder)))
    out.print(f"[dim]next   [/] cd {quoted} && make run{python}", highlight=False, soft_wrap=True)


def write_project(folder: Path) -> None:
    """Writes the project into a new folder, whose name becomes the project's. The folder is complete or absent.

    Raises:
        InputError: if the folder exists, cannot be written, or its name cannot be that of a package.
    """
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{str(folder)!r} exists; give the name of a new folder")
    name = folder.name
    _check_name(name)
    files = {path: text.replace(_TEMPLATE_NAME, name) for path, text in template_files().items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder.parent) as temporary:
            project = Path(temporary) / name
            for path, text in files.items():
                file = project / path.replace(_TEMPLATE_NAME, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            project.rename(folder)
    except OSError as error:
        raise InputError(f"cannot write {str(folder)!r}: {error.strerror}") from error


def template_files() -> dict[str, str]:
    """Returns the text of each file of the template by its path in the project."""
    paths = [path for path in sorted(TEMPLATE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        suggestion = _suggestion(name)
        raise InputError(f"{name!r} cannot name a package; give lowercase letters, digits and _, such as {suggestion}")
    if name in _taken_names():
        raise InputError(f"the project has other files of the name {name!r}; give another name")
    if importlib.util.find_spec(name) is not None:
        raise InputError(f"there is a module {name!r} already, which the project would hide; give another name")


def _suggestion(name: str) -> str:
    words = re.sub(r"\W+", "_", name, flags=re.ASCII).lower().strip("_")
    return words if re.fullmatch(r"[a-z][a-z0-9_]*", words) and not keyword.iskeyword(words) else _TEMPLATE_NAME


def _taken_names() -> set[str]:
    """The names of the template's folders and configs, and those of the folders of runs and data sets."""
    paths = [Path(path) for path in template_files()]
    names = {path.parts[0] for path in paths} | {path.stem for path in paths if path.suffix == ".yaml"}
    return (names | {"runs", "data"}) - {_TEMPLATE_NAME}


def _is_on_path() -> bool:
    """Whether ``python3``, which the Makefile takes, is the Python of this environment."""
    found = shutil.which("python3")
    return found is not None and Path(found).parent.resolve() == Path(sys.executable).parent.resolve()
