"""The models that can be created by name."""

import fnmatch
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..build import build, option_names
from ..errors import InputError, did_you_mean
from .resnet import ResNet
from .weights import Pretrained, as_patterns, load_pretrained

ModelFactory = Callable[..., ResNet]


@dataclass(frozen=True)
class NamedModel:
    """A registered model: the function that builds it, its publication, and the image size used there."""

    factory: ModelFactory
    source: str
    image_size: int


MODELS: dict[str, NamedModel] = {}


def register_model(source: str, *, image_size: int) -> Callable[[ModelFactory], ModelFactory]:
    """Registers the decorated function, which builds a network, under its name.

    Calling the decorated function is the same as calling ``create_model`` with that name.

    Args:
        source: the paper and the table in it.
        image_size: the height and width of the images in that publication.
    """

    def register(factory: ModelFactory) -> ModelFactory:
        name = factory.__name__
        MODELS[name] = NamedModel(factory, source, image_size)

        @functools.wraps(factory)
        def model(**options: Any) -> ResNet:
            return create_model(name, **options)

        model.__doc__ = (
            f"{factory.__doc__}\n\n    (B, in_chans, H, W) -> logits (B, num_classes). Takes the options of "
            "``create_model`` and ``ResNet``.\n    "
        )
        return model

    return register


def list_models(pattern: str = "*") -> list[str]:
    """Lists the registered names that match a shell pattern, sorted by family and depth.

    Returns:
        ``["resnet18", "resnet101", "resnet110", ..]`` for the pattern ``"resnet1*"``.
    """

    def family_and_depth(name: str) -> list[tuple[str, int]]:
        return [(word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d*)", name)]

    return sorted(fnmatch.filter(MODELS, pattern), key=family_and_depth)


def create_model(
    name: str,
    /,
    *,
    pretrained: Pretrained | Literal[False] | None = None,
    may_differ: str | Sequence[str] = (),
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    frozen_stages: int | None = None,
    **options: Any,
) -> ResNet:
    """Creates a model by its name: ``create_model("resnet20", num_classes=10, in_chans=1)``.

    Args:
        name: one of ``list_models()``.
        pretrained: the initial weights: the path of a checkpoint (of this package, torchvision, timm or safetensors),
            a weights enum of torchvision or its name such as ``"ResNet50_Weights.DEFAULT"``, or a state dict; see
            ``load_pretrained``. None and False give random weights.
        may_differ: shell patterns of the keys in which these weights may differ from the network, such as
            ``"layer4.*"``.
        features_only: return a list of feature maps instead of logits; see ``ResNet.keep_features``.
        out_indices: the feature maps to return: 0 for the stem, k for stage k, -1 for the last. By default, all maps
            are returned.
        frozen_stages: freeze the stem and this many stages; see ``ResNet.freeze_stages``.
        options: arguments of ``ResNet`` and of the model's own function.

    Raises:
        InputError: if the name or an option is unknown, naming the nearest known ones; if the value of an option is
            invalid; or if the weights do not fit.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise InputError(f"unknown model {name!r}; {did_you_mean(str(name), MODELS)}")
    factory = MODELS[name].factory
    known = (option_names(factory) | option_names(create_model)) - {"block", "depths", "planes"}
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known)
            raise InputError(f"model {name!r} takes no option {option!r}; {hint}")
    if out_indices is not None and not features_only:
        raise InputError("out_indices selects feature maps; it needs features_only=True")

    net = build(f"model {name!r}", factory, **options)
    children = {child for child, _ in net.named_children()}
    if features_only:
        net.keep_features(out_indices)
    if pretrained is not None and pretrained is not False:
        removed = children - {child for child, _ in net.named_children()}
        load_pretrained(net, pretrained, [*as_patterns(may_differ), *(f"{child}.*" for child in removed)])
    if frozen_stages is not None:
        net.freeze_stages(frozen_stages)
    return net
