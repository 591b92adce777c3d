"""``lightning models``: the named models, with their sizes, costs and sources."""

import torch
from rich.table import Table

from ..build import import_module, importable_from
from ..errors import InputError, did_you_mean
from ..models import create_model, list_models
from ..models.cost import multiply_adds
from ..models.registry import MODELS
from .console import console
from .tool_parser import ToolParser


def command(arguments: list[str]) -> None:
    description = "Lists the models, with their sizes, costs and sources."
    parser = ToolParser(prog="resnet-lightning models", description=description)
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        help="list only the names that match, such as '*preact*'; 'my_module.*' lists your own, "
        "which my_module.py registers",
    )
    console().print(catalogue(parser.parse_args(arguments).pattern))


def catalogue(pattern: str = "*") -> Table:
    """A table with a row for each model whose name matches a shell pattern such as ``"*preact*"``.

    A pattern such as ``"my_module.*"`` imports that module and lists the models that it registers.

    Raises:
        InputError: if no name matches, or if the module cannot be imported.
    """
    module, _, name = pattern.rpartition(".")
    known = _models_of(module) if module else list_models()
    names = [found for found in list_models(name) if found in known]
    if not names:
        raise InputError(f"no model matches {pattern!r}; {did_you_mean(pattern, known)}")
    table = Table("model", "parameters", "multiply-adds", "image", "published in", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for column in table.columns[1:4]:
        column.justify = "right"
    for name in names:
        size = MODELS[name].image_size
        with torch.device("meta"):  # shapes without values
            model = create_model(name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        cost = f"{multiply_adds(model, size) / 1e6:,.0f} M"
        table.add_row(name, f"{parameters:,}", cost, str(size), MODELS[name].source)
    return table


def _models_of(module: str) -> list[str]:
    """Imports a module, which may lie in the current folder, and returns the names of the models that it registers.

    Raises:
        InputError: if it cannot be imported, or if it registers no model.
    """
    with importable_from(["."]):
        import_module(f"the models of {module!r} cannot be imported", module)
    names = [name for name, model in MODELS.items() if model.factory.__module__ == module]
    if not names:
        raise InputError(f"the module {module!r} registers no model; decorate a function in it with register_model")
    return names
