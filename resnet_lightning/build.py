"""Imports classes by name and builds objects from the options in a config."""

import contextlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .errors import InputError, did_you_mean
from .trust import LIBRARIES, current_trust

T = TypeVar("T")


def import_by_path(what: str, path: str, bases: Iterable[type] = ()) -> Callable[..., Any]:
    """Imports a class or function by its full name, such as ``"package.module.name"``.

    Args:
        what: the object's name in error messages, such as ``"optimizer"``.
        path: the full name.
        bases: the classes whose subclasses a checkpoint may name here, beside those of ``trust.py``.

    Raises:
        InputError: if it does not exist or cannot be called, or if an import fails. The message gives the reason, with
            the file and line at which the import failed. Also if the name comes from a checkpoint and is not trusted.
    """
    module_name, _, name = path.rpartition(".")
    cannot = f"{what} {path!r} cannot be imported"
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise InputError(f"{cannot}: give its full name, such as my_module.{name or 'Name'}")
    trust = current_trust()
    if trust:
        trust.check_import(what, path)
    module = import_module(cannot, module_name)
    if not hasattr(module, name):
        classes = [known for known, value in vars(module).items() if not known.startswith("_") and callable(value)]
        hint = did_you_mean(name, classes) if classes else ""
        if len(hint) > 200:  # no name is similar, and the module has too many to list
            hint = ""
        raise InputError(f"{cannot}: {module_name!r} has no {name!r}" + (f"; {hint}" if hint else ""))
    found = getattr(module, name)
    if not callable(found):
        raise InputError(f"{what} {path!r} is not a class or a function")
    if trust:
        trust.check_call(what, path, found, bases)
    return found


def import_module(cannot: str, name: str) -> ModuleType:
    """Imports a module.

    Args:
        cannot: the beginning of the error message, such as ``"optimizer 'my_module.Lion' cannot be imported"``.
        name: the full name of the module.

    Raises:
        InputError: if the import fails, with the reason and the file and line at which it failed.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the module's own code may raise anything
        raise InputError(f"{cannot}: {_reason(error, name)}") from error


@contextlib.contextmanager
def importable_from(folders: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Makes the Python files in folders importable by their names, until the end of the ``with`` statement.

    The folders come first in ``sys.path``, as the folder of a script does.
    """
    added = [folder for folder in dict.fromkeys(map(os.path.abspath, folders)) if folder not in sys.path]
    sys.path[:0] = added
    importlib.invalidate_caches()  # a file may be newer than the last look into its folder
    try:
        yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def imported_from(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Returns the absolute paths of those folders from which Python files have been imported."""
    files = [file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    code = {os.path.dirname(file) for file in files if not file.startswith((*LIBRARIES, os.path.dirname(__file__)))}
    return [folder for folder in dict.fromkeys(map(os.path.abspath, folders)) if folder in code]


def _reason(error: BaseException, module: str) -> str:
    """Returns why the import of a module failed, with file and line where code of the module raised the error."""
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        is_top = "." not in error.name
        hint = f"; the file {error.name}.py belongs in the current folder or beside the config" if is_top else ""
        return f"there is no module {error.name!r}{hint}"
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({_short(error.filename or '')}, line {error.lineno})"
    message = str(error).strip() or "no message"
    reason = message if isinstance(error, ImportError) else f"{type(error).__name__}: {message}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    frames = [frame for frame in frames if frame.filename != __file__]
    # The deepest line of the user's own code says more than the line in a library that raised the error.
    own = [frame for frame in frames if not any(frame.filename.startswith(library) for library in LIBRARIES)]
    if place := (own or frames)[-1:]:
        reason += f" ({_short(place[0].filename)}, line {place[0].lineno})"
    return reason


def _short(file: str) -> str:
    """Returns a path relative to the current folder if it is inside it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def build(what: str, factory: Callable[..., T], /, *args: Any, **options: Any) -> T:
    """Calls ``factory(*args, **options)`` with options from a config or a command line, and returns the result.

    Args:
        what: the object's name in error messages, such as ``"model 'resnet20'"``.
        factory: the function or class to call.
        args: positional arguments, set by the program.
        options: keyword arguments, set by the user.

    Raises:
        InputError: if the factory rejects the options. The message names an unknown option, or repeats what the factory
            raised.
    """
    _check_truth_values(what, factory, options)
    try:
        return factory(*args, **options)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unexpected and unexpected[1] in options:
            hint = did_you_mean(unexpected[1], option_names(factory))
            raise InputError(f"{what} takes no option {unexpected[1]!r}; {hint}") from error
        unknown = re.search(r"[Uu]nexpected keyword arguments?: `(\w+)`", str(error))  # of torchmetrics
        if unknown and unknown[1] in options:
            raise InputError(
                f"{what} takes no option {unknown[1]!r}; {did_you_mean(unknown[1], option_names(factory))}"
            ) from error
        twice = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
        if twice and twice[1] in options:
            raise InputError(f"{what} sets {twice[1]} itself; the option cannot be given") from error
        raise InputError(f"{what} cannot be built from {options}: {error}".replace("\n", " ")) from error


def option_names(factory: Callable[..., Any]) -> set[str]:
    """Returns the names of a factory's arguments.

    If it has ``**kwargs``, the arguments of the class in its return annotation are included.
    """
    return set(_parameters(factory))


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(factory)
    found = {p.name: p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    has_kwargs = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if has_kwargs and inspect.isclass(signature.return_annotation):
        found = _parameters(signature.return_annotation) | found
    return found


def _check_truth_values(what: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Rejects a string or number where true or false belongs: Python takes ``'no'`` for true."""
    try:
        parameters = _parameters(factory)
    except (TypeError, ValueError):  # a function in C, without a signature
        return
    for name, value in options.items():
        parameter = parameters.get(name)
        if parameter is None or isinstance(value, bool):
            continue
        is_bool = parameter.annotation in (bool, "bool")
        if is_bool or (parameter.annotation is parameter.empty and isinstance(parameter.default, bool)):
            raise InputError(f"{name} of {what} is {value!r}; give true or false")
