"""Residual networks as plain torch modules."""

from .blocks import BasicBlock, Bottleneck
from .cifar import (
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    preact_resnet110,
    preact_resnet164,
    preact_resnet1001,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
    resnet1202,
    wide_resnet16_8,
    wide_resnet28_10,
    wide_resnet40_4,
)
from .imagenet import (
    plain18,
    plain34,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .registry import MODELS, create_model, list_models, register_model
from .resnet import ResNet
from .speed_runs import resnet9, resnet_fast
from .weights import load_pretrained

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "create_model",
    "list_models",
    "load_pretrained",
    "register_model",
    *MODELS,
]
