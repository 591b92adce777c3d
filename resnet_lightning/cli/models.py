"""``lightning models``: the named models with their sizes, costs and sources, and the weights of the package.

The rows of the shipped models are kept in ``models.json``, since importing torch and building a hundred layers takes
seconds. ``python -m resnet_lightning.cli.models`` writes that file; a test compares it with the networks.
"""

import fnmatch
import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from ..errors import InputError, did_you_mean
from .console import console
from .tool_parser import ToolParser

if TYPE_CHECKING:  # importing torch takes seconds, so it is left to the functions that build a model
    from ..models.shipped_weights import ShippedWeights

FILE = Path(__file__).with_name("models.json")


@dataclass(frozen=True)
class ModelRow:
    """A model in the table.

    Args:
        name: its name.
        parameters: how many it has.
        multiply_adds: those for one image.
        image_size: of the images in its publication.
        weights: the names of the trained weights that come with the package.
        source: its publication.
    """

    name: str
    parameters: int
    multiply_adds: int
    image_size: int
    weights: str
    source: str


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
    console().print(weights_catalogue(options.pattern) if options.weights else _known_models(options.pattern))


def _known_models(pattern: str) -> Table:
    stored = [row for row in stored_rows() if fnmatch.fnmatch(row.name, pattern)]
    return _table(stored) if stored else catalogue(pattern)


def stored_rows() -> list[ModelRow]:
    """The rows of the shipped models."""
    return [ModelRow(**row) for row in json.loads(FILE.read_text(encoding="utf-8"))]


def _table(rows: Iterable[ModelRow]) -> Table:
    columns = "model", "parameters", "multiply-adds", "image", "weights", "published in"
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for column in table.columns[1:4]:
        column.justify = "right"
    for row in rows:
        name, parameters, cost, size, weights, source = astuple(row)
        table.add_row(name, f"{parameters:,}", f"{cost / 1e6:,.0f} M", str(size), weights, source)
    return table


def catalogue(pattern: str = "*") -> Table:
    """A table with a row for each model whose name matches a shell pattern such as ``"*preact*"``.

    A pattern such as ``"my_module.*"`` imports that module and lists the models that it registers.

    Raises:
        InputError: if no name matches, or if the module cannot be imported.
    """
    from ..models import list_models  # imported here, since importing torch takes seconds

    module, _, name = pattern.rpartition(".")
    known = _models_of(module) if module else list_models()
    names = [found for found in list_models(name) if found in known]
    if not names:
        raise InputError(f"no model matches {pattern!r}; {did_you_mean(pattern, known)}")
    return _table(map(measured, names))


def measured(name: str) -> ModelRow:
    """The row of a model, which is built for it without values."""
    import torch

    from ..models import create_model
    from ..models.cost import multiply_adds
    from ..models.registry import MODELS
    from ..models.shipped_weights import shipped_weights

    size = MODELS[name].image_size
    with torch.device("meta"):  # shapes without values
        model = create_model(name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    weights = ", ".join(each.name for each in shipped_weights(name))
    return ModelRow(name, parameters, multiply_adds(model, size), size, weights, MODELS[name].source)


def weights_catalogue(pattern: str = "*") -> Group:
    """The cards of the weights that come with the package, of the models whose names match a shell pattern.

    Raises:
        InputError: if there are none.
    """
    from ..models.shipped_weights import shipped_weights

    found = [weights for weights in shipped_weights() if fnmatch.fnmatch(weights.model, pattern)]
    if not found:
        known = ", ".join(map(str, shipped_weights()))
        raise InputError(f"no weights of {pattern!r} come with the package; there are {known}")
    return Group(*map(_card, found))


def _card(weights: "ShippedWeights") -> Table:
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
    from ..build import import_module, importable_from
    from ..models.registry import MODELS

    with importable_from(["."]):
        import_module(f"the models of {module!r} cannot be imported", module)
    names = [name for name, model in MODELS.items() if model.factory.__module__ == module]
    if not names:
        raise InputError(f"the module {module!r} registers no model; decorate a function in it with register_model")
    return names


def _write() -> None:
    from ..atomic_write import atomic_write_text
    from ..models import list_models

    rows = [json.dumps(asdict(measured(name))) for name in list_models()]
    atomic_write_text(FILE, "[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    _write()
