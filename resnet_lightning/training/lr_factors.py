"""Factors of the learning rate by parameter name; 0 freezes."""

import fnmatch
import math
import re
from collections.abc import Mapping

from torch import nn

from ..errors import InputError, did_you_mean


def find_factors(model: nn.Module, patterns: Mapping[str, float]) -> dict[str, float]:
    """Returns the factor of each parameter that a pattern matches, by its name.

    If several patterns match a name, the most specific one counts: the one with the most characters that are not
    wildcards; of equally specific ones, the first.

    Args:
        model: the model whose parameters are matched.
        patterns: factors by shell pattern, such as ``{"*": 0.1, "fc.*": 1}``.

    Raises:
        InputError: if a factor is not a number of at least 0, or a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern, factor in patterns.items():
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
            raise InputError(f"model.lr_factors: {pattern!r} is {factor!r}; give a finite number of at least 0")
        if not fnmatch.filter(names, pattern):
            raise InputError(
                f"model.lr_factors: {pattern!r} matches no parameter of the backbone; {_nearest(pattern, names)}"
            )
    factors = {}
    for name in names:
        matching = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
        if matching:
            factors[name] = float(patterns[max(matching, key=_specificity)])
    return factors


def freeze(model: nn.Module, factors: Mapping[str, float]) -> list[nn.Module]:
    """Freezes the parameters whose factor is 0.

    Returns:
        The modules with running statistics whose parameters are all frozen. They have to stay in eval mode, or their
        statistics would still change.

    Raises:
        InputError: if no parameter is left to train.
    """
    frozen = []
    for prefix, module in model.named_modules():
        own = list(module.named_parameters(prefix, recurse=False))
        for name, parameter in own:
            if factors.get(name) == 0:
                parameter.requires_grad_(False)
        if own and all(factors.get(name) == 0 for name, _ in own) and any(True for _ in module.buffers(recurse=False)):
            frozen.append(module.eval())
    if factors and not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("model.lr_factors freezes every parameter of the backbone; leave some to train")
    return frozen


def _specificity(pattern: str) -> int:
    return len(re.sub(r"\[.*?\]|[*?]", "", pattern))


def _nearest(pattern: str, names: list[str]) -> str:
    """Returns a hint that names the parts of the model, or its parameters, that are most similar to a pattern."""
    parts = {f"{name.rpartition('.')[0]}.*" for name in names if "." in name} | {
        f"{name.partition('.')[0]}.*" for name in names if "." in name
    }
    top = {f"{name.partition('.')[0]}.*" if "." in name else name for name in names}
    similar = did_you_mean(pattern, {*parts, *names})
    return similar if similar.startswith("did you mean") else did_you_mean(pattern, top)
