"""The trunk that every residual net shares: stem, stages, pool, head."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import InputError, did_you_mean
from .blocks import BasicBlock, Bottleneck
from .layers import NORM_LAYERS, NormLayer
from .shortcuts import ShortcutLayer, projection
from .stems import STEMS, Stem


class ResNet(nn.Module):
    """A residual network (He et al. 2015): (B, in_chans, H, W) -> logits (B, num_classes), for any H and W.

    Children and state-dict keys are torchvision's: ``conv1 bn1 relu maxpool layer1 .. avgpool fc``, with one ``layer``
    a stage. Stage k > 1 halves the map in its first block.

    Args:
        block: the residual block, ``BasicBlock`` or ``Bottleneck``.
        depths: the number of blocks in each stage.
        planes: the planes of each stage; a block's output has ``block.expansion`` times as many channels.
        num_classes: the size of the logits; 0 removes the head, and the net returns pooled features
            (B, num_features).
        in_chans: channels of the images, 3 for colour and 1 for grey.
        stem: ``"imagenet"`` (7x7 and max pool, a quarter of the size), ``"cifar"`` (3x3, full size), or a function
            like those in ``models.stems``.
        shortcut: makes the shortcut of each block; see ``models.shortcuts``.
        norm_layer: ``"batch"``, ``"group"``, or a callable from a number of channels to a module.

    Raises:
        InputError: for a stem, norm or size that does not exist.
    """

    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.ReLU
    maxpool: nn.Module

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        planes: Sequence[int] = (64, 128, 256, 512),
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        stem: str | Stem = "imagenet",
        shortcut: ShortcutLayer = projection,
        norm_layer: str | NormLayer = "batch",
    ) -> None:
        super().__init__()
        if in_chans < 1:
            raise InputError(f"in_chans is {in_chans}; a net needs at least 1 input channel")
        make_stem = STEMS.get(stem) if isinstance(stem, str) else stem
        if make_stem is None:
            raise InputError(f"unknown stem {stem!r}; {did_you_mean(str(stem), STEMS)}")
        make_norm = NORM_LAYERS.get(norm_layer) if isinstance(norm_layer, str) else norm_layer
        if make_norm is None:
            raise InputError(f"unknown norm_layer {norm_layer!r}; {did_you_mean(str(norm_layer), NORM_LAYERS)}")

        for name, module in make_stem(in_chans, planes[0], make_norm).items():
            self.add_module(name, module)

        self.stage_names = [f"layer{k}" for k in range(1, len(depths) + 1)]
        channels = planes[0]
        for k, name in enumerate(self.stage_names):
            blocks = []
            for i in range(depths[k]):
                stride = 2 if k > 0 and i == 0 else 1
                blocks.append(block(channels, planes[k], stride, shortcut, make_norm))
                channels = planes[k] * block.expansion
            self.add_module(name, nn.Sequential(*blocks))

        self.num_features = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, before pooling: (B, in_chans, H, W) -> (B, num_features, H', W')."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stage_names:
            x = getattr(self, name)(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map (B, num_features, H', W') to logits, or with ``pre_logits`` to features (B, num_features)."""
        x = self.avgpool(x).flatten(1)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The head: a linear layer, or the identity where ``num_classes`` is 0."""
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the head by a fresh one of ``num_classes``; 0 removes it.

        Raises:
            InputError: for a negative number.
        """
        if num_classes < 0:
            raise InputError(f"num_classes is {num_classes}; give the number of classes, or 0 for pooled features")
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
