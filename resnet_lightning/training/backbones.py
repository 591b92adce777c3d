"""Builds the backbone that a config names: a model of this package, or any function that returns a module."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..build import build, import_by_path
from ..errors import InputError, did_you_mean
from ..models import create_model
from ..models.freezing import freeze_first_stages, head_of
from ..models.shipped_weights import find_shipped
from ..models.weights import load_pretrained
from ..trust import current_trust

# The options that every backbone gets, unless its function has an argument of that name.
_OURS = "pretrained", "may_differ", "frozen_stages"

# The options by which this package, torchvision and timm load weights.
_FURTHER_WEIGHTS = (
    *("pretrained", "may_differ", "weights", "weights_backbone", "pretrained_backbone"),
    *("pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
)


def make_backbone(
    backbone: str | nn.Module, num_classes: int, in_chans: int, options: Mapping[str, Any]
) -> tuple[nn.Module, list[nn.Module]]:
    """Builds the backbone that a config names; see ``ImageClassifier`` for the arguments.

    Returns:
        The backbone, and its frozen modules that have to be put into eval mode again after each ``train()``.

    Raises:
        InputError: if there is no such backbone, or it does not take these options.
    """
    if isinstance(backbone, nn.Module):
        return backbone, []
    _check(backbone, options)
    if current_trust():
        # All weights are in the checkpoint, and the files of others may be gone, or not be the user's choice.
        options = {name: value for name, value in options.items() if name not in _FURTHER_WEIGHTS}
    if "." not in backbone:
        return create_model(backbone, **{"num_classes": num_classes, "in_chans": in_chans, **options}), []
    factory = import_by_path("backbone", backbone)
    accepted = _arguments(factory)
    defaults: dict[str, Any] = {"num_classes": num_classes}
    # Many backbones of other libraries have no such argument and take RGB images.
    if in_chans != 3 or "in_chans" in accepted:
        defaults["in_chans"] = in_chans
    ours = {name: options[name] for name in _OURS if name in options and name not in accepted}
    own = {name: value for name, value in options.items() if name not in ours}
    takes_any = not accepted or any(argument.kind is argument.VAR_KEYWORD for argument in accepted.values())
    if unknown := [name for name in own if name not in accepted and not takes_any]:
        hint = did_you_mean(unknown[0], {*accepted, *_OURS} - {"num_classes", "in_chans"})
        raise InputError(f"backbone {backbone!r} takes no option {unknown[0]!r}; {hint}")
    try:
        model = build(f"backbone {backbone!r}", factory, **{**defaults, **own})
    except InputError as error:
        if "takes no option 'in_chans'" not in str(error):
            raise
        raise InputError(
            f"the images have {in_chans} channel{'s' * (in_chans != 1)}, but backbone {backbone!r} takes RGB images "
            "only (it has no argument in_chans); give a model of this package or of timm"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"backbone {backbone!r} returned a {type(model).__name__}, not a torch module")
    if pretrained := ours.get("pretrained"):
        weights = find_shipped(pretrained, backbone.rpartition(".")[2]) or pretrained
        load_pretrained(model, weights, ours.get("may_differ") or (), head_of(model) or "fc")
    stages = ours.get("frozen_stages")
    return model, [] if stages is None else freeze_first_stages(model, stages)


def _check(backbone: Any, options: Mapping[str, Any]) -> None:
    if not isinstance(backbone, str):
        raise InputError(f"model.backbone is {backbone!r}; give the name of a model, or the full name of a class")
    for name in ("num_classes", "in_chans"):
        if name in options:
            raise InputError(f"{name} follows the data and cannot be set in model.backbone_args; leave it out")
    if options.get("features_only"):
        raise InputError("a classifier needs logits; leave features_only out of backbone_args")


def _arguments(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (ValueError, TypeError):  # written in C
        return {}
