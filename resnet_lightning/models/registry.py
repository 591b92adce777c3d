"""The models that can be created by name."""

import fnmatch
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from torch import nn

from ..build import build, option_names
from ..errors import InputError, check_int, did_you_mean
from .feature_info import Indices
from .pretrained_cfg import IMAGENET, PixelStatistics, pretrained_cfg
from .resnet import ResNet
from .shipped_weights import find_shipped
from .weights import Pretrained, as_patterns, load_pretrained

ModelFactory = Callable[..., nn.Module]
Factory = TypeVar("Factory", bound=ModelFactory)


@dataclass(frozen=True)
class NamedModel:
    """A registered model: the function that builds it, its publication, and the images that were used there."""

    factory: ModelFactory
    source: str
    image_size: int
    statistics: PixelStatistics = IMAGENET


MODELS: dict[str, NamedModel] = {}

# Options of `create_model` that use methods of `ResNet`, which another network may lack.
_METHODS = {"features_only": "keep_features", "frozen_stages": "freeze_stages"}


def register_model(
    source: str, *, image_size: int | None = None, statistics: PixelStatistics = IMAGENET
) -> Callable[[Factory], Factory]:
    """Registers the decorated function, which builds a network, under its name.

    The name then works in ``create_model``, in the option ``model.backbone`` and in ``lightning models``, and
    ``list_models`` lists it::

        @register_model("Doe 2026, Table 1", image_size=32)
        def narrow_resnet20(**options) -> ResNet:
            return ResNet(BasicBlock, (3, 3, 3), (8, 16, 32), stem="cifar", **options)

        create_model("narrow_resnet20", num_classes=10, features_only=True)

    Another process knows the name once it has imported the function's module. In a config, the dotted path
    ``my_module.narrow_resnet20`` imports it, and so does every checkpoint of that run.

    The function takes ``num_classes`` and ``in_chans``, by name or among its ``**options``. It may return any torch
    module; the options ``features_only`` and ``frozen_stages`` need the methods ``keep_features`` and
    ``freeze_stages`` of ``ResNet``. Calling the decorated function is the same as calling ``create_model`` with its
    name; a decorated class stays as it is. Registering the same function again, as in a notebook, replaces it.

    Args:
        source: where the model is published, for example a paper and the table in it.
        image_size: the height and width of the images in that publication.
        statistics: mean and standard deviation of the pixels of these images; by default ImageNet's.

    Raises:
        InputError: if an argument is missing or invalid, or if another model has the name.
    """
    # Without parentheses, the decorated function arrives as the source.
    if not isinstance(source, str) or not source.strip() or image_size is None:
        example = '@register_model("Doe 2026, Table 1", image_size=32)'
        raise InputError(f"register_model needs the model's source and image size: {example}")
    check_int("image_size", image_size, at_least=1)
    if len(statistics) != 2 or any(len(values) != 3 for values in statistics):
        raise InputError(f"statistics is {statistics!r}; give mean and standard deviation, each of three colors")

    def register(factory: Factory) -> Factory:
        name = _new_name(factory)
        MODELS[name] = NamedModel(factory, source, image_size, PixelStatistics(*statistics))

        @functools.wraps(factory)
        def model(**options: Any) -> nn.Module:
            return create_model(name, **options)

        model.__doc__ = (
            f"{factory.__doc__ or name}\n\n    (B, in_chans, H, W) -> logits (B, num_classes). Takes the options of "
            "``create_model`` and ``ResNet``.\n    "
        )
        return factory if inspect.isclass(factory) else model  # type: ignore[return-value]

    return register


def _new_name(factory: ModelFactory) -> str:
    """Returns the name under which a function is registered.

    Raises:
        InputError: if it has none, or if the name belongs to another function.
    """
    name = getattr(factory, "__name__", "")
    if not callable(factory) or not name.isidentifier():
        raise InputError(f"register_model decorates a function or a class that has a name, not {factory!r}")
    if name in MODELS and not _is_same(MODELS[name].factory, factory):
        owner = MODELS[name].factory.__module__
        raise InputError(f"the model name {name!r} is taken by {owner} ({MODELS[name].source}); choose another name")
    return name


def _is_same(registered: ModelFactory, factory: ModelFactory) -> bool:
    """Whether both are one definition that was executed twice: reloaded, in a notebook, or as a script and a module."""
    if registered.__qualname__ != factory.__qualname__:
        return False
    if registered.__module__ == factory.__module__:
        return True
    files = [getattr(inspect.getmodule(function), "__file__", None) for function in (registered, factory)]
    return files[0] is not None and files[0] == files[1]


def list_models(pattern: str = "*") -> list[str]:
    """Lists the registered names that match a shell pattern, sorted by family and depth.

    Returns:
        ``["resnet18", "resnet101", "resnet110", ..]`` for the pattern ``"resnet1*"``.
    """

    def family_and_depth(name: str) -> list[tuple[str, int]]:
        return [(word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d*)", name)]

    return sorted(fnmatch.filter(MODELS, pattern), key=family_and_depth)


def create_model(
    model_name: str,
    *,
    pretrained: Pretrained | Literal[False] | None = None,
    may_differ: str | Sequence[str] = (),
    features_only: bool = False,
    out_indices: Indices = None,
    frozen_stages: int | None = None,
    **options: Any,
) -> ResNet:
    """Creates a model by its name: ``create_model("resnet20", num_classes=10, in_chans=1)``.

    Args:
        model_name: one of ``list_models()``.
        pretrained: the initial weights: the path of a checkpoint (of this package, torchvision, timm or safetensors),
            a weights enum of torchvision or its name such as ``"ResNet50_Weights.DEFAULT"``, the name of weights that
            come with the package, such as ``"digits"``, or a state dict; see ``load_pretrained``. Weights of the
            package also set ``num_classes`` and ``in_chans`` where they are not given. None and False give random
            weights.
        may_differ: shell patterns of the keys in which these weights may differ from the network, such as
            ``"layer4.*"``.
        features_only: return a list of feature maps instead of logits; see ``ResNet.keep_features``.
        out_indices: the feature maps to return: 0 for the stem, k for stage k, -1 for the last. An integer n returns
            the last n. By default, all maps are returned.
        frozen_stages: freeze the stem and this many stages; see ``ResNet.freeze_stages``.
        options: arguments of ``ResNet`` and of the model's own function.

    Returns:
        A ``ResNet``, or the module that a function of one's own returns; see ``register_model``.

    Raises:
        InputError: if the name or an option is unknown, naming the nearest known ones; if the value of an option is
            invalid; or if the weights do not fit.
    """
    if not isinstance(model_name, str) or model_name not in MODELS:
        raise InputError(f"unknown model {model_name!r}; {did_you_mean(str(model_name), MODELS)}")
    named = MODELS[model_name]
    if (shipped := find_shipped(pretrained, model_name)) is not None:
        pretrained, options = shipped, shipped.options | options
        shipped.check_channels(options["in_chans"])
    _check_options(model_name, options)
    if out_indices is not None and not features_only:
        raise InputError("out_indices selects feature maps; it needs features_only=True")

    net = build(f"model {model_name!r}", named.factory, **options)
    if not isinstance(net, nn.Module):
        raise InputError(f"the function of model {model_name!r} returned a {type(net).__name__}, not a torch module")
    given = {"features_only": features_only, "frozen_stages": frozen_stages is not None}
    for option, method in _METHODS.items():
        if given[option] and not hasattr(net, method):
            raise InputError(
                f"model {model_name!r} does not support {option}: its {type(net).__name__} has no method {method}"
            )
    children = {child for child, _ in net.named_children()}
    if features_only:
        cast(ResNet, net).keep_features(out_indices)
    if pretrained is not None and pretrained is not False:
        removed = children - {child for child, _ in net.named_children()}
        load_pretrained(net, pretrained, [*as_patterns(may_differ), *(f"{child}.*" for child in removed)])
    if frozen_stages is not None:
        cast(ResNet, net).freeze_stages(frozen_stages)
    if isinstance(net, ResNet):
        net.pretrained_cfg = net.default_cfg = pretrained_cfg(
            net, architecture=model_name, image_size=named.image_size, statistics=named.statistics
        )
        if shipped is not None:
            net.pretrained_cfg = net.default_cfg = shipped.describe(net.pretrained_cfg)
    return cast(ResNet, net)  # or what a function of one's own returns


def _check_options(name: str, options: dict[str, Any]) -> None:
    """Checks that the model's function takes these options.

    Raises:
        InputError: if it does not, naming the nearest known ones.
    """
    factory = MODELS[name].factory
    signature = inspect.signature(factory)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if takes_any and not inspect.isclass(signature.return_annotation):
        return  # nothing says which options it passes on; the function itself rejects the unknown ones
    known = (option_names(factory) | option_names(create_model)) - {"model_name", "block", "depths", "planes"}
    for option in options:
        if option not in known:
            raise InputError(f"model {name!r} takes no option {option!r}; {did_you_mean(option, known)}")
