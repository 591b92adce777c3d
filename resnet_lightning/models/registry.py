"""The table of named models."""

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
    """A row of the table: the function that builds the net, where the net is published, and for which images."""

    factory: ModelFactory
    source: str
    image_size: int


MODELS: dict[str, NamedModel] = {}


def register_model(source: str, *, image_size: int) -> Callable[[ModelFactory], ModelFactory]:
    """Decorator: lists a function that returns a net under the function's own name.

    Calling it is then the same as ``create_model`` with that name.

    Args:
        source: the paper, and the table in it.
        image_size: the height and width of the images that the net is published for.
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
    """The names that ``create_model`` knows and that match a shell pattern such as ``"resnet1*"``, by family and depth.

    Returns:
        ``["resnet18", "resnet101", "resnet110", ..]`` for that pattern.
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
    """Builds a model by its name: ``create_model("resnet20", num_classes=10, in_chans=1)``.

    Args:
        name: one of ``list_models()``.
        pretrained: weights to begin with: the path of a checkpoint (ours, torchvision's, timm's or safetensors), a
            weights enum of torchvision or its name such as ``"ResNet50_Weights.DEFAULT"``, or a state dict; see
            ``load_pretrained``. None and False begin with random weights.
        may_differ: shell patterns of the keys in which these weights may differ from the net, such as ``"layer4.*"``.
        features_only: return a list of feature maps instead of logits; see ``ResNet.keep_features``.
        out_indices: which maps: 0 is the stem's, k that of stage k, -1 the last; by default all.
        frozen_stages: freeze the stem and this many stages, as long as the net stays in one piece; see
            ``ResNet.freeze_stages``.
        options: arguments of the net; see ``ResNet``.

    Raises:
        InputError: for an unknown name or option, naming the nearest known ones, for a value that does not exist, and
            for weights that do not fit.
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
        raise InputError("out_indices chooses feature maps, which a net returns with features_only=True")

    net = build(f"model {name!r}", factory, **options)
    whole = {child for child, _ in net.named_children()}
    if features_only:
        net.keep_features(out_indices)
    if pretrained is not None and pretrained is not False:
        left_out = whole - {child for child, _ in net.named_children()}
        load_pretrained(net, pretrained, [*as_patterns(may_differ), *(f"{child}.*" for child in left_out)])
    if frozen_stages is not None:
        net.freeze_stages(frozen_stages)
    return net
