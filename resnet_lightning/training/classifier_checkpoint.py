"""What a checkpoint stores of the arguments of ``ImageClassifier``, and what is checked before they are used."""

import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..checkpoint_file import check_file, read_checkpoint
from ..errors import InputError
from ..runs.stored_names import check_names

_BY_CONFIG = "lightning.pytorch.cli.instantiate_module"


def stored_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the constructor's arguments that a checkpoint stores: those that are plain values, and no files.

    A checkpoint holds all weights, and the file of pretrained weights or of a teacher may be gone when it is loaded.

    Raises:
        InputError: if the loss is neither a name nor can be called.
    """
    options = {name: value for name, value in arguments.items() if name not in ("self", "__class__")}
    options |= {"teacher": None, "teacher_args": None}
    if isinstance(options["backbone"], nn.Module):
        del options["backbone"]
    loss, backbone_args = options["loss"], options["backbone_args"]
    if loss is not None and not isinstance(loss, str):
        if not callable(loss):
            raise InputError(f"model.loss is {loss!r}; give the name of a loss, and its arguments as model.loss_args")
        del options["loss"]
    if backbone_args:
        options["backbone_args"] = {k: v for k, v in backbone_args.items() if k not in ("pretrained", "may_differ")}
    return options


def check_checkpoint(path: str | os.PathLike[str], weights_only: bool) -> None:
    """Checks a checkpoint before Lightning reads it."""
    if not weights_only:  # the user trusts the file
        check_file(path)
        return
    checkpoint = read_checkpoint(path)
    for part in "hparams", "module_arguments", "hyper_parameters":
        options = checkpoint.get(part)
        if isinstance(options, dict) and "_instantiator" in options:
            # Lightning lets the library that parses configs build the module, as a subclass may have stored it.
            not_read = {"optimizer", "scheduler"} | (
                {"_instantiator"} if options["_instantiator"] == _BY_CONFIG else set()
            )
            check_names("model", {name: value for name, value in options.items() if name not in not_read})
