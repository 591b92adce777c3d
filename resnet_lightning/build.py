"""From names and options, as a config holds them, to the things themselves."""

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import InputError, did_you_mean

T = TypeVar("T")


def import_by_path(what: str, path: str) -> Callable[..., Any]:
    """Imports ``"package.module.name"``.

    Raises:
        InputError: where there is no such thing, or it cannot be called.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"{what} {path!r} cannot be imported: {error}") from error
    if not callable(found):
        raise InputError(f"{what} {path!r} is not a class or a function")
    return found


def build(what: str, factory: Callable[..., T], /, *args: Any, **options: Any) -> T:
    """Calls ``factory(*args, **options)`` with options that came from a config or a command line.

    Args:
        what: how the message names the thing being built, such as ``"model 'resnet20'"``.
        factory: the function or class to call.
        args: what the program itself passes.
        options: what the user wrote.

    Raises:
        InputError: where the factory refuses them, naming an option that it does not take, or its own complaint.
    """
    try:
        return factory(*args, **options)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unexpected and unexpected[1] in options:
            hint = did_you_mean(unexpected[1], option_names(factory))
            raise InputError(f"{what} takes no option {unexpected[1]!r}; {hint}") from error
        twice = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
        if twice and twice[1] in options:
            raise InputError(f"{what} sets {twice[1]} itself, and takes no other") from error
        raise InputError(f"{what} cannot be built from {options}: {error}".replace("\n", " ")) from error


def option_names(factory: Callable[..., Any]) -> set[str]:
    """The names of a factory's arguments; where it takes any, also those of the class that it says it returns."""
    signature = inspect.signature(factory)
    names = {p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if takes_any and inspect.isclass(signature.return_annotation):
        names |= option_names(signature.return_annotation)
    return names
