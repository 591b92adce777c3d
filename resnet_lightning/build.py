"""Imports classes by name and builds objects from the options in a config."""

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import InputError, did_you_mean

T = TypeVar("T")


def import_by_path(what: str, path: str) -> Callable[..., Any]:
    """Imports a class or function by its full name, such as ``"package.module.name"``.

    Args:
        what: the object's name in error messages, such as ``"optimizer"``.
        path: the full name.

    Raises:
        InputError: if it does not exist or cannot be called.
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
            raise InputError(f"{what} sets {twice[1]} itself; the option cannot be given") from error
        raise InputError(f"{what} cannot be built from {options}: {error}".replace("\n", " ")) from error


def option_names(factory: Callable[..., Any]) -> set[str]:
    """Returns the names of a factory's arguments.

    If it has ``**kwargs``, the arguments of the class in its return annotation are included.
    """
    signature = inspect.signature(factory)
    names = {p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    has_kwargs = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if has_kwargs and inspect.isclass(signature.return_annotation):
        names |= option_names(signature.return_annotation)
    return names
