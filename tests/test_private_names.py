"""Private names of libraries: each that the package uses is listed here, and is still where it was.

A library may move a private name in any release. This is why pyproject.toml has upper bounds for the libraries below.
"""

import ast
import importlib
import inspect
import re
from types import ModuleType

import pytest

from repository import ROOT

PACKAGE = ROOT / "resnet_lightning"

# The owner, its private name, and the file that uses it.
USED = [
    ("jsonargparse._typehints.ActionTypeHint", "_typehint", "cli/parser.py"),
    ("lightning.pytorch.callbacks.ModelCheckpoint", "_save_checkpoint", "training/callbacks/best_checkpoint.py"),
    *(
        ("lightning.pytorch.callbacks.StochasticWeightAveraging", name, "training/callbacks/weight_averaging.py")
        for name in (
            "_average_model",
            "_device",
            "_init_n_averaged",
            "_initialized",
            "_scheduler_state",
            "_swa_lrs",
            "_swa_scheduler",
        )
    ),
    ("lightning.pytorch.loggers.WandbLogger", "_experiment", "runs/wandb_logger.py"),
    ("lightning.pytorch.loggers.WandbLogger", "_wandb_init", "runs/wandb_logger.py"),
    ("lightning.pytorch.loops.fit_loop._FitLoop", "_data_fetcher", "training/callbacks/loader_replay.py"),
    ("lightning.pytorch.loops.fit_loop._FitLoop", "_restarting", "training/callbacks/exact_resume.py"),
    ("lightning.pytorch.strategies.DDPStrategy", "_layer_sync", "training/config_checks.py"),
    (
        "lightning.pytorch.strategies.ModelParallelStrategy",
        "_save_distributed_checkpoint",
        "training/config_checks.py",
    ),
    (
        "torch.utils.data.dataloader._MultiProcessingDataLoaderIter",
        "_shutdown_workers",
        "data/loading/streaming.py",
    ),
    ("torch.utils", "_python_dispatch", "bench/waits.py"),
    ("torchmetrics.Metric", "_computed", "training/callbacks/exact_resume.py"),
    ("torchmetrics.Metric", "_update_count", "training/callbacks/exact_resume.py"),
]

# Private by their look only: Python documents them.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_replace"}
ATTRIBUTE_FUNCTIONS = {"getattr", "hasattr", "setattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in {"_", *DOCUMENTED}


def names_of(owner: type | ModuleType) -> set[str]:
    """The private names in a module, or of a class with its bases: those defined, and those set on ``self``."""
    if inspect.ismodule(owner):
        return {name for name in vars(owner) if is_private(name)}
    names = set()
    for base in owner.__mro__:
        names |= {name for name in vars(base) if is_private(name)}
        if base.__module__ != "builtins" and inspect.isclass(base):
            try:
                names |= set(re.findall(r"\bself\.(_[a-zA-Z]\w*)", inspect.getsource(base)))
            except (OSError, TypeError):  # written in C
                continue
    return names


@pytest.mark.parametrize(("owner", "name", "user"), USED, ids=[f"{owner}.{name}" for owner, name, _ in USED])
def test_a_listed_name_is_still_there(owner, name, user):
    module, _, cls = owner.rpartition(".")
    found = getattr(importlib.import_module(module), cls, None)
    assert found is not None, f"the library moved {owner}, used in {user}"
    assert name in names_of(found), f"the library moved {owner}.{name}, used in {user}"


def is_self(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def own_names(tree: ast.Module):
    """What a file itself defines, assigns, or sets on ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr


def inherited(file, tree: ast.Module):
    """Names that a class of this file uses on ``self``, or overrides, and that a base from a library has."""
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for definition in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        cls = getattr(importlib.import_module(module), definition.name)
        libraries = [base for base in cls.__mro__[1:] if not base.__module__.startswith("resnet_lightning")]
        theirs = set().union(*map(names_of, libraries))
        for node in ast.walk(definition):
            if isinstance(node, ast.FunctionDef) and node.name in theirs:
                yield node.lineno, node.name
            elif isinstance(node, ast.Attribute) and is_self(node.value) and node.attr in theirs:
                yield node.lineno, node.attr


def private_names(file):
    """The private names of libraries in a file, each with its line.

    An attribute of anything but ``self`` is taken for a library's, unless the same file defines that name. Of ``self``
    it is a library's where a base of the class comes from a library and has it.
    """
    tree = ast.parse(file.read_text())
    own = set(own_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            parts = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute) and not is_self(node.value) and node.attr not in own:
            parts = [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ATTRIBUTE_FUNCTIONS:
            parts = [part.value for part in node.args[1:2] if isinstance(part, ast.Constant)]
        else:
            continue
        yield from ((node.lineno, part) for part in parts if is_private(part))
    yield from inherited(file, tree)


@pytest.mark.slow
def test_every_private_name_of_a_library_is_listed():
    listed = {(user, name) for _, name, user in USED}
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, name in private_names(file):
            found[file.relative_to(PACKAGE).as_posix(), name] = line
    new = [f"{user}:{found[user, name]} uses {name}" for user, name in sorted(found.keys() - listed)]
    assert not new, "\n".join(["private names of libraries that USED does not list:", *new])
    gone = [f"{user} does not use {name} any more" for user, name in sorted(listed - found.keys())]
    assert not gone, "\n".join(["", *gone])
