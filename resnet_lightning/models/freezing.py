"""Freezes the first stages of any network."""

import itertools
import os
from typing import Any

from torch import nn

from ..errors import InputError


def freeze_first_stages(model: nn.Module, stages: int) -> list[nn.Module]:
    """Freezes the parameters and the running statistics of the stem and the first ``stages`` stages, and prints them.

    A network with a method ``freeze_stages`` of its own, such as ``ResNet``, freezes itself. Of any other network, the
    stages are the children that consist of further modules: ``layer1`` to ``layer4`` of a ResNet of torchvision. The
    stem is what comes before them, or the first of them if nothing does. What comes between two stages belongs to the
    earlier one. A last child that has linear layers and no convolution is the head, which is never frozen. If this
    leaves a single stage or none, such as ``features``, its children are the stages instead.

    Args:
        model: the network, whose children must be in the order in which they are called.
        stages: the number of stages; 0 for the stem alone.

    Returns:
        The frozen modules, which have to be put into eval mode again after each ``train()``; none for a network that
        freezes itself.

    Raises:
        InputError: if the network does not have so many stages.
    """
    own: Any = getattr(model, "freeze_stages", None)
    if callable(own):
        own(stages)
        return []
    parts = find_stages(model)
    if isinstance(stages, bool) or stages not in range(len(parts)):
        names = [next(iter(part)) for part in parts[1:]]
        listed = f" ({', '.join(names)})" if names else ""
        raise InputError(
            f"frozen_stages is {stages!r}; {type(model).__name__} has {len(names)} stages{listed}, and 0 is its stem "
            "alone"
        )
    frozen = {name: module for part in parts[: stages + 1] for name, module in part.items()}
    for parameter in model.parameters(recurse=False):  # such as the position embedding of a transformer
        parameter.requires_grad_(False)
    for module in frozen.values():
        module.requires_grad_(False).eval()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"frozen: {', '.join(frozen)}")
    return list(frozen.values())


def find_stages(model: nn.Module) -> list[dict[str, nn.Module]]:
    """Returns the stem and the stages of a network, each as its modules by name; see ``freeze_first_stages``."""
    parts = _parts("", model)
    while len(stages := _divide(parts)) <= 2:
        opened = next((name for name in reversed(parts) if _is_container(parts[name])), None)
        if opened is None or not (len(parts) == 1 or isinstance(parts[opened], nn.Sequential | nn.ModuleList)):
            return stages
        inner = _parts(f"{opened}.", parts[opened])
        if not inner:
            return stages
        before, after = list(parts)[: list(parts).index(opened)], list(parts)[list(parts).index(opened) + 1 :]
        parts = {**{name: parts[name] for name in before}, **inner, **{name: parts[name] for name in after}}
    return stages


def head_of(model: nn.Module) -> str | None:
    """Returns the name of the last linear layer; None if there is none."""
    return next((name for name, module in reversed([*model.named_modules()]) if isinstance(module, nn.Linear)), None)


def _parts(prefix: str, module: nn.Module) -> dict[str, nn.Module]:
    """Returns the children that have parameters, without the head: the last one, if it is linear layers only."""
    children = [
        (f"{prefix}{name}", child) for name, child in module.named_children() if any(True for _ in child.parameters())
    ]
    if (
        children
        and head_of(children[-1][1]) is not None
        and not any(_is_convolution(m) for m in children[-1][1].modules())
    ):
        children.pop()
    return dict(children)


def _divide(parts: dict[str, nn.Module]) -> list[dict[str, nn.Module]]:
    """Divides modules in order into the stem and the stages, each of which starts with a container if there are any."""
    names = list(parts)
    has_containers = any(map(_is_container, parts.values()))
    starts = [n for n, name in enumerate(names) if n and (_is_container(parts[name]) or not has_containers)]
    bounds = [0, *starts, len(names)]
    return [{name: parts[name] for name in names[a:b]} for a, b in itertools.pairwise(bounds) if a < b]


def _is_container(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
