"""Networks of any depth with and without shortcuts, as variants of the studies that look into trained networks."""

import json

from .study import Variant


def plain(depth: int, **options: str) -> Variant:
    """Returns the plain network of 6n + 2 layers; see ``residual`` for the options."""
    return _variant(f"plain-{depth}", depth, {"shortcut": "none", **options})


def residual(depth: int, **options: str) -> Variant:
    """Returns the residual network of 6n + 2 layers for 32x32 images (He et al. 2015, section 4.2).

    Args:
        depth: the number of layers.
        options: of ``cifar_resnet``, such as ``order`` or ``norm_layer="none"``; they are part of the label.
    """
    return _variant(f"ResNet-{depth}", depth, options)


_IN_WORDS = {"full_pre_activation": "pre-activation", "none": "no norm"}


def _variant(name: str, depth: int, options: dict[str, str]) -> Variant:
    words = [_IN_WORDS[value] for option, value in options.items() if option != "shortcut"]
    label = ", ".join([name, *words])
    overrides = {
        "model.backbone": "resnet_lightning.models.cifar.cifar_resnet",
        "model.backbone_args": json.dumps({"depth": depth, **options}),
    }
    return Variant(label, overrides, series=label, x=depth)
