"""``lightning models``: the named models with their sizes, costs and sources, and the weights of the package."""

import fnmatch

import torch
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from ..build import import_module, importable_from
from ..errors import InputError, did_you_mean
from ..models import create_model, list_models
from ..models.cost import multiply_adds
from ..models.registry import MODELS
from ..models.shipped_weights import ShippedWeights, shipped_weights
from .console import console
from .tool_parser import ToolParser


def command(arguments: list[str]) -> None:
    description = "Lists the models, with their sizes, costs and sources, or the weights that come with the package."
    parser = ToolParser(prog="resnet-lightning models", description=description)
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        help="list only the names that match, such as '*preact*'; 'my_module.*' lists your own, "
        "which my_module.py registers",
    )
    parser.add_argument(
        "--weights",
        action="store_true",
        help="list the trained weights that come with the package, with their accuracy, data and command",
    )
    options = parser.parse_args(arguments)
    console().print(weights_catalogue(options.pattern) if options.weights else catalogue(options.pattern))


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
    columns = "model", "parameters", "multiply-adds", "image", "weights", "published in"
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for column in table.columns[1:4]:
        column.justify = "right"
    for name in names:
        size = MODELS[name].image_size
        with torch.device("meta"):  # shapes without values
            model = create_model(name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        cost = f"{multiply_adds(model, size) / 1e6:,.0f} M"
        weights = ", ".join(each.name for each in shipped_weights(name))
        table.add_row(name, f"{parameters:,}", cost, str(size), weights, MODELS[name].source)
    return table


def weights_catalogue(pattern: str = "*") -> Group:
    """The cards of the weights that come with the package, of the models whose names match a shell pattern.

    Raises:
        InputError: if there are none.
    """
    found = [weights for weights in shipped_weights() if fnmatch.fnmatch(weights.model, pattern)]
    if not found:
        known = ", ".join(map(str, shipped_weights()))
        raise InputError(f"no weights of {pattern!r} come with the package; there are {known}")
    return Group(*map(_card, found))


def _card(weights: ShippedWeights) -> Table:
    card = weights.card
    rows = {
        f"[bold]{weights}": f'create_model("{weights.model}", pretrained="{weights.name}")',
        "accuracy": f"{weights.accuracy:.2%} of {card['test']['images']:,} test images",
        "data": f"{card['data']}; {card['source']}; license: {card['license of the data']}",
        "trained by": f"{card['command']}",
        "": f"{card['epochs']} epochs, seed {card['seed']}, {card['machine']}",
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in rows.items():
        table.add_row(name, escape(text))
    table.add_row("")
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
