"""Which classes a checkpoint may name: a name in a file from outside must not run code of the file's choice.

A checkpoint stores the names of its parts, such as ``optimizer: torch.optim.Lion``. Importing a name runs the code of a
module, and calling it runs that of a function, also where the file itself was read with ``weights_only=True``. While
names come from a checkpoint, ``import_by_path`` therefore accepts these only:

- classes of this package, ``torch.nn``, ``torch.optim``, torchvision, lightning, torchmetrics or timm that are
  subclasses of torch's ``Module``, ``Optimizer`` or ``LRScheduler``, the models that torchvision and timm list, and the
  functions of this package that return a network; of torchmetrics, not the metrics of texts, sounds and images, which
  load networks of their own;
- such classes, and functions of the user's own code, in modules that have been imported already;
- everything in a package that the user trusts.
"""

import contextlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, get_type_hints

from .errors import InputError

SAFE_PACKAGES = "resnet_lightning", "torch", "torchvision", "lightning", "torchmetrics", "timm"

# Of these packages, only these parts: other modules of torch run tools when they are imported, and the metrics of other
# fields load networks by name or from files.
_PARTS = {"torch": ("torch.nn", "torch.optim")}
_LEFT_OUT = tuple(f"torchmetrics.{field}." for field in ("audio", "detection", "image", "multimodal", "text", "video"))

# The folders of Python's own modules and of installed packages.
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Trust:
    """The rule for names that come from a checkpoint.

    Args:
        names: the packages, modules or full names that the user trusts, with everything in them.
        given: values that the user gave instead of the checkpoint's; full names among them are trusted too.
    """

    def __init__(self, names: Iterable[str] = (), given: Iterable[Any] = ()) -> None:
        self.names = frozenset(names)
        self.given = frozenset(value for value in given if isinstance(value, str) and "." in value)

    def covers(self, path: str) -> bool:
        """Whether the user gave a full name, or trusts it, or trusts a package or module that contains it."""
        return path in self.given or any(f"{path}.".startswith(f"{name}.") for name in self.names)

    def check_import(self, what: str, path: str) -> None:
        """Checks a full name before its module is imported.

        Raises:
            InputError: if the import could run code that the user has not agreed to.
        """
        package, module = path.partition(".")[0], path.rpartition(".")[0]
        is_safe = _is_safe(path) if package in SAFE_PACKAGES else module in sys.modules
        if not (is_safe or self.covers(path)):
            package = _trusted_with(path)
            raise InputError(
                f"the checkpoint names {what} {path!r}, whose import runs the code of {package!r}; if you trust that "
                f"code, give --trust {package} (in Python: trust=[{package!r}])"
            )

    def check_call(self, what: str, path: str, found: Any, bases: Iterable[type] = ()) -> None:
        """Checks an imported object before it is called.

        Args:
            what: the object's name in error messages.
            path: its full name.
            found: the object.
            bases: further base classes that are allowed.

        Raises:
            InputError: if it is none of those that the module's docstring lists.
        """
        if self.covers(path):
            return
        if inspect.isclass(found):
            is_left_out = f"{found.__module__}.".startswith(_LEFT_OUT)
            if issubclass(found, (*_bases(), *bases)) and not is_left_out:
                return
        elif _is_own_function(found) or _is_registered_model(path.partition(".")[0], found):
            return
        package = _trusted_with(path)
        raise InputError(
            f"the checkpoint names {what} {path!r}, which is no class of a network, an optimizer or a schedule, so "
            f"calling it could run any code; if you trust {package!r}, give --trust {package} "
            f"(in Python: trust=[{package!r}])"
        )


def _is_safe(path: str) -> bool:
    """Whether a path is in a part of a safe package that may be imported."""
    package = path.partition(".")[0]
    parts = _PARTS.get(package, (package,))
    return f"{path}.".startswith(tuple(f"{part}." for part in parts)) and _is_real(package)


def _is_real(package: str) -> bool:
    """Whether a package is the installed one, and no file of its name beside a checkpoint in the current folder."""
    if package in sys.modules:
        return True
    found = PathFinder.find_spec(package)
    if found is None:
        return True  # the import fails
    place = Path(found.origin or os.curdir).absolute().parent
    return (place.parent if found.submodule_search_locations else place).resolve() != Path.cwd().resolve()


def _trusted_with(path: str) -> str:
    """Returns what ``--trust`` has to name for a path: its package or, of a large one, its module."""
    package, module = path.partition(".")[0], path.rpartition(".")[0]
    return module if package in SAFE_PACKAGES else package


_current: ContextVar[Trust | None] = ContextVar("trust", default=None)


def current_trust() -> Trust | None:
    """Returns the rule that applies now; None if names come from the user."""
    return _current.get()


@contextlib.contextmanager
def names_from_checkpoint(trust: Trust | None) -> Iterator[None]:
    """Applies a rule to all names that are imported until the end of the ``with`` statement; None applies none."""
    token = _current.set(trust)
    try:
        yield
    finally:
        _current.reset(token)


def _bases() -> tuple[type, ...]:
    from torch import nn, optim

    return nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler


def _is_own_function(found: Any) -> bool:
    """Whether a function is in a Python file that is not part of an installed package."""
    if not inspect.isfunction(found):
        return False
    package = found.__module__.partition(".")[0]
    file = found.__code__.co_filename
    return not (package in SAFE_PACKAGES or file.startswith(("<frozen", *LIBRARIES)) or _is_installed(Path(file)))


def _is_installed(file: Path) -> bool:
    """Whether a file lies in a folder that pip or a system's package manager installs into, also one of the user's."""
    return any(
        folder.name in ("site-packages", "dist-packages") or next(folder.glob("*.dist-info"), None) is not None
        for folder in file.parents
    )


def _is_registered_model(package: str, found: Callable[..., Any]) -> bool:
    """Whether a function builds a network: one that torchvision or timm lists, or one of this package."""
    name = getattr(found, "__name__", "")
    if package == "torchvision":
        from torchvision.models import get_model_builder, list_models

        return name in list_models() and get_model_builder(name) is found
    if package == "timm":
        from timm import is_model, model_entrypoint

        return is_model(name) and model_entrypoint(name) is found
    if package == "resnet_lightning" and inspect.isfunction(found):
        try:
            returned = get_type_hints(found).get("return")
        except (NameError, TypeError):  # of names that are imported for type checkers only
            return False
        return inspect.isclass(returned) and issubclass(returned, _bases()[0])
    return False
