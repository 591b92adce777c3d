"""Residual networks as plain torch modules."""

from .blocks import BasicBlock, Bottleneck
from .cifar import resnet20, resnet32, resnet44, resnet56, resnet110, resnet1202
from .imagenet import resnet18, resnet34, resnet50, resnet101, resnet152
from .registry import create_model, list_models
from .resnet import ResNet

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "create_model",
    "list_models",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet1202",
]
