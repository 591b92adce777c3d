"""The residual network of all models: stem, stages, pool and head. It can also be used as a backbone."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, check_int, did_you_mean
from .blocks import ORDERS, ResidualBlock
from .feature_info import FeatureInfo, FeatureMap, Indices, take_indices
from .head import input_size, output_size
from .layers import ACT_LAYERS, NORM_LAYERS, ActLayer, NormLayer, out_of_place, resolve
from .scripting import as_graph
from .shortcuts import SHORTCUTS, ShortcutLayer
from .stages import Stage, check_output_stride, check_stages, make_stages, set_initial_variances, total_stride
from .stems import STEMS, Stem

POOLS: dict[str, Callable[[int], nn.Module]] = {
    "avg": nn.AdaptiveAvgPool2d,
    "max": nn.AdaptiveMaxPool2d,
    "": nn.Identity,
}


class ResNet(nn.Module):
    """A residual network (He et al. 2015): (B, in_chans, H, W) -> logits (B, num_classes).

    H and W must be larger than half of the network's total stride.

    Children and state-dict keys are named as in torchvision: ``conv1 bn1 relu maxpool layer1 .. avgpool fc``, with one
    ``layer`` per stage. A pre-activation network (He et al. 2016) has a ``last_activation`` after its last stage.

    The options ``stem``, ``shortcut``, ``norm_layer`` and ``act_layer`` take a name, a name with arguments as
    ``{name: {argument: value}}``, or a function.

    Args:
        block: makes a residual block: ``BasicBlock``, ``Bottleneck``, a partial of one, or a function that takes the
            same arguments and returns a module with ``out_planes``.
        depths: number of blocks in each stage.
        planes: planes of each stage; the output of a bottleneck has four times as many channels.
        strides: stride of the first block in each stage; by default 1 in the first stage and 2 in the others.
        num_classes: number of logits; 0 removes the head, and the network returns pooled features
            (B, num_features).
        in_chans: number of image channels, 3 for color and 1 for grayscale.
        stem: ``"imagenet"`` (7x7 convolution and max pool, a quarter of the size), ``"deep"`` (the same with three 3x3
            convolutions), ``"cifar"`` (3x3 convolution, full size), or a function like those in ``models.stems``.
        stem_planes: channels of the stem; by default the planes of the first stage.
        shortcut: the shortcut of each block: ``"projection"``, ``"zero_pad"``, ``"none"`` for a plain network, or
            another one of ``models.shortcuts``.
        norm_layer: ``"batch"``, ``"group"``, ``"none"``, or a function that takes the number of channels and
            returns a module.
        act_layer: ``"relu"``, ``"leaky_relu"``, ``"elu"``, ``"celu"``, ``"silu"``, ``"gelu"``, or a function that
            returns a module.
        order: the order of convolution, norm and activation in a block: ``"original"``, ``"full_pre_activation"`` or
            another one of ``ORDERS``.
        output_stride: the factor by which the last map is smaller than the image. If it is less than the network's
            total stride, dilation replaces the strides of the last stages (Chen et al. 2017, *Rethinking Atrous
            Convolution*, section 3.1).
        drop_rate: the fraction of pooled features that training drops before the head.
        drop_path_rate: the probability of stochastic depth for the last block; for the blocks before it, it increases
            linearly with depth (Huang et al. 2016, section 3, equation 4).
        zero_init_residual: initialize the residual branches so that they return zero (Goyal et al. 2017, section 5.1).
        global_pool: ``"avg"``, ``"max"``, or ``""`` for none, which requires ``num_classes=0``.
        head: makes the last layer from ``num_features`` and ``num_classes``.

    Attributes:
        reduction: the factor by which the last map is smaller than the image.
        feature_info: describes the feature maps: first the map of the stem, then one per stage.
        drop_rate: see the argument; it can be changed later.
        pretrained_cfg: timm's description of the network, such as its image size; ``default_cfg`` is the same.

    Raises:
        InputError: if an option is invalid; and in a forward pass, if the images are too small.
    """

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module

    def __init__(
        self,
        block: Callable[..., Any],
        depths: Sequence[int],
        planes: Sequence[int] = (64, 128, 256, 512),
        *,
        strides: Sequence[int] | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        stem: str | Mapping[str, Any] | Stem = "imagenet",
        stem_planes: int | None = None,
        shortcut: str | Mapping[str, Any] | ShortcutLayer = "projection",
        norm_layer: str | Mapping[str, Any] | NormLayer = "batch",
        act_layer: str | Mapping[str, Any] | ActLayer = "relu",
        order: str = "original",
        output_stride: int | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        zero_init_residual: bool = False,
        global_pool: str = "avg",
        head: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        strides = [1] + [2] * (len(depths) - 1) if strides is None else strides
        check_stages(depths, planes, strides)
        check_int("in_chans", in_chans, at_least=1)
        if stem_planes is not None:
            check_int("stem_planes", stem_planes, at_least=1)
        for name, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
            if not 0 <= rate < 1:
                raise InputError(f"{name} is {rate}; give a number from 0 to below 1")
        if order not in ORDERS:
            raise InputError(f"unknown order {order!r}; {did_you_mean(str(order), ORDERS)}")
        make_norm = resolve("norm_layer", norm_layer, NORM_LAYERS)
        make_act = resolve("act_layer", act_layer, ACT_LAYERS)
        make_stem = resolve("stem", stem, STEMS)
        make_block = partial(
            block,
            shortcut=resolve("shortcut", shortcut, SHORTCUTS),
            norm_layer=make_norm,
            act_layer=make_act,
            order=ORDERS[order],
        )

        channels = planes[0] if stem_planes is None else stem_planes
        stem_modules = make_stem(in_chans, channels, make_norm, make_act)
        for name, module in stem_modules.items():
            self.add_module(name, module)
        reduction = total_stride(stem_modules["conv1"])
        features = [FeatureMap(channels, reduction, "relu")]

        reduction *= total_stride(stem_modules["maxpool"])
        check_output_stride(output_stride, reduction, strides)
        rates = [drop_path_rate * i / sum(depths) for i in range(1, sum(depths) + 1)]
        stages = make_stages(make_block, depths, planes, strides, channels, reduction, output_stride, rates)
        self.stage_names = [f"layer{k}" for k in range(1, len(depths) + 1)]
        for name, (blocks, channels, reduction) in zip(self.stage_names, stages, strict=True):
            self.add_module(name, Stage(*blocks))
            features.append(FeatureMap(channels, reduction, name))
        set_initial_variances([getattr(self, name) for name in self.stage_names])
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.zero_init_residual()

        if ORDERS[order].before_conv:
            make = {"norm": lambda: make_norm(channels), "act": lambda: out_of_place(make_act())}
            self.last_activation = nn.Sequential(*(make[word]() for word in ORDERS[order].before_conv))
            features[-1] = FeatureMap(channels, reduction, "last_activation")
        self.inplanes = channels  # torchvision's name
        self.reduction = reduction
        self.feature_info = FeatureInfo(features)
        self._reductions = [feature.reduction for feature in features]
        self._in_chans = in_chans
        self.out_indices: tuple[int, ...] | None = None
        self.frozen_stages: int | None = None
        self._make_head = head
        self.avgpool: nn.Module
        self.fc: nn.Module
        self.global_pool = "avg"
        self.drop_rate = drop_rate
        self.pretrained_cfg: dict[str, Any] = {}
        self.default_cfg = self.pretrained_cfg  # timm's older name
        self.reset_classifier(num_classes, global_pool)

    # The forward pass.

    def forward(self, x: Tensor) -> Any:
        """Maps images (B, in_chans, H, W) to logits (B, num_classes); after ``keep_features``, to a list of maps."""
        if self.out_indices is None:
            return self.forward_head(self.forward_features(x))
        maps = self._compute_maps(x, self.out_indices)
        return [maps[i] for i in self.out_indices]

    def forward_features(self, x: Tensor) -> Tensor:
        """Computes the last feature map, before pooling: (B, in_chans, H, W) -> (B, num_features, H', W')."""
        last = len(self.stage_names)
        return self._compute_maps(x, (last,))[last]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps the last feature map (B, num_features, H', W') to logits, or with ``pre_logits`` to pooled features."""
        self._check_head()
        x = self.avgpool(x)
        if self.global_pool:
            x = x.flatten(1)
        if self.drop_rate:
            x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Computes feature maps without changing the network, with timm's arguments.

        Args:
            x: images (B, in_chans, H, W).
            indices: the maps to return: a list of their indices, or the last n for an integer. None returns all.
            norm: has no effect; the last map of a pre-activation network is always normalized, and no other.
            stop_early: compute nothing after the last of these maps.
            output_fmt: ``"NCHW"``, the only format.
            intermediates_only: return the list of maps alone.

        Returns:
            The map that was computed last, and the list of maps in the order of the network, as in timm.

        Raises:
            InputError: if a map does not exist, or for another format.
        """
        if output_fmt != "NCHW":
            raise InputError(f"output_fmt is {output_fmt!r}; the maps of this net are 'NCHW'")
        last = len(self.stage_names)
        wanted = sorted(set(take_indices(last + 1, indices, "indices")))
        depth = wanted[-1] if stop_early or intermediates_only else last
        maps = self._compute_maps(x, {*wanted, depth})
        intermediates = [maps[i] for i in wanted]
        return intermediates if intermediates_only else (maps[depth], intermediates)

    def _compute_maps(self, x: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        """Computes the feature maps with the wanted indices, and nothing after the last of them."""
        check_image_size(x, self._reductions[max(wanted)])
        maps = {}
        x = self.relu(self.bn1(self.conv1(x)))
        if 0 in wanted:
            maps[0] = x
        names = self.stage_names[: max(wanted)]
        if names:
            x = self.maxpool(x)
        for i, name in enumerate(names, start=1):
            x = getattr(self, name)(x)
            if i == len(self.stage_names) and hasattr(self, "last_activation"):
                x = self.last_activation(x)
            if i in wanted:
                maps[i] = x
        return maps

    def __prepare_scriptable__(self) -> nn.Module:
        """Returns what ``torch.jit.script`` compiles; see ``as_graph``."""
        return as_graph(self, check_image_size)

    # The head.

    @property
    def num_classes(self) -> int:
        """Number of logits, also of a head that was assigned to ``fc``; 0 without a head."""
        if self.out_indices is not None:
            return 0
        return output_size(getattr(self, "fc", nn.Identity()), default=self._num_classes)

    @property
    def num_features(self) -> int:
        """Number of channels of the last map and of pooled features."""
        channels: int = self.feature_info.info[len(self.stage_names)].channels
        return (
            channels
            if self.out_indices is not None
            else input_size(getattr(self, "fc", nn.Identity()), default=channels)
        )

    @property
    def head_hidden_size(self) -> int:
        """Number of values that the head gets; timm's name."""
        return self.num_features

    @property
    def in_chans(self) -> int:
        """Number of image channels, also of a convolution that was assigned to ``conv1``."""
        return input_size(self.conv1, default=self._in_chans)

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """Returns the head, or its name: a linear layer, or the identity if ``num_classes`` is 0."""
        self._check_head()
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the head by a newly initialized one; ``num_classes=0`` removes it.

        Args:
            num_classes: number of logits, or 0 for pooled features.
            global_pool: the new pool: ``"avg"``, ``"max"``, or ``""`` for none. None keeps the current one.

        Raises:
            InputError: if ``num_classes`` is negative, if the pool is unknown, if there is a head but no pool, or if
                the network returns feature maps.
        """
        self._check_head()
        check_int("num_classes", num_classes, at_least=0)
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in POOLS:
            raise InputError(f"unknown global_pool {pool!r}; known: 'avg', 'max', and '' for none")
        if num_classes and not pool:
            raise InputError(f"a head of {num_classes} classes needs a pool; give global_pool, or num_classes=0")
        features = self.num_features
        self._num_classes = num_classes
        self.global_pool = pool
        self.avgpool = POOLS[pool](1)
        head = self._make_head(features, num_classes) if num_classes else nn.Identity()
        self.fc = head.to(next(self.parameters())).train(self.training)

    def _check_head(self) -> None:
        if self.out_indices is not None:
            raise InputError("this net returns feature maps and has no head")

    # Use as a backbone.

    def keep_features(self, out_indices: Indices = None) -> Self:
        """Makes the network return a list of feature maps, and removes the layers after the last of them.

        ``feature_info`` then describes the returned maps.

        Args:
            out_indices: the maps to return, in this order: 0 for the stem (before its pool), k for stage k, -1 for the
                last. An integer n returns the last n, None all of them.

        Raises:
            InputError: if a map does not exist, or if the network returns feature maps already.
        """
        if self.out_indices is not None:
            raise InputError("this net returns feature maps already; create another one to choose other maps")
        self.feature_info = self.feature_info.from_other(out_indices)
        self.out_indices = self.feature_info.out_indices
        self._remove_stages_after(max(self.out_indices))
        del self.avgpool, self.fc
        return self

    def prune_intermediate_layers(
        self, indices: Indices = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes the layers that ``forward_intermediates`` does not need for these maps, with timm's arguments.

        Args:
            indices: the maps to keep; see ``forward_intermediates``.
            prune_norm: has no effect; a norm after the last stage belongs to the last map.
            prune_head: remove the pool and the head. They are always removed together with the last stage.

        Returns:
            The indices of these maps, in the order of the network.

        Raises:
            InputError: if a map does not exist, or if the network returns feature maps.
        """
        self._check_head()
        last = len(self.stage_names)
        kept = sorted(set(take_indices(last + 1, indices, "indices")))
        self._remove_stages_after(kept[-1])
        self.feature_info = FeatureInfo(self.feature_info.info[: kept[-1] + 1])
        if kept[-1] < last:
            self.fc = nn.Identity()  # its size was that of the last map
        if kept[-1] < last or prune_head:
            self.reset_classifier(0, "")
        return kept

    def _remove_stages_after(self, depth: int) -> None:
        unused = self.stage_names[depth:]
        if unused and hasattr(self, "last_activation"):
            unused.append("last_activation")
        for name in unused:
            delattr(self, name)
        self.stage_names = self.stage_names[:depth]
        if depth == 0:
            del self.maxpool
        self.reduction = self._reductions[depth]

    def freeze_stages(self, stages: int | None) -> None:
        """Freezes the parameters and the running statistics of the stem and the first ``stages`` stages.

        ``train()`` does not unfreeze them. If a library moves the children to another module, as torchvision's
        ``IntermediateLayerGetter`` does, only the parameters stay frozen; ``keep_features`` avoids that.

        Args:
            stages: number of stages; 0 for the stem alone, None to unfreeze what was frozen before.

        Raises:
            InputError: if the network does not have so many stages.
        """
        if stages is not None and stages not in range(len(self.stage_names) + 1):
            count = len(self.stage_names)
            raise InputError(f"frozen_stages is {stages!r}; this net has {count} stages, and 0 is its stem alone")
        for module in self._frozen():
            module.requires_grad_(True).train(self.training)
        self.frozen_stages = stages
        for module in self._frozen():
            module.requires_grad_(False).eval()

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_stages is None:
            return []
        names = ["conv1", "bn1", "relu", "maxpool", *self.stage_names[: self.frozen_stages]]
        if self.frozen_stages == len(self.stage_names):
            names.append("last_activation")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def train(self, mode: bool = True) -> Self:
        """Switches between training and evaluation mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    @property
    def grad_checkpointing(self) -> bool:
        """Whether feature maps are recomputed in the backward pass; see ``set_grad_checkpointing``."""
        return any(getattr(self, name).checkpointing for name in self.stage_names)

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        self.set_grad_checkpointing(enable)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recomputes feature maps in the backward pass to save memory; the gradients are the same."""
        for name in self.stage_names:
            getattr(self, name).checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Returns regular expressions that sort parameters into layers, for timm's layer-wise decay.

        Args:
            coarse: one group per stage instead of one per block. The stem is the first group, the head the last; a
                ``last_activation`` belongs to the last stage.
        """
        blocks = r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"
        previous = (99999,)  # timm's mark for the group before
        return {"stem": r"^(?:conv1|bn1|relu|maxpool)", "blocks": [(blocks, None), (r"^last_activation", previous)]}


@torch.fx.wrap  # a traced graph cannot contain a condition on sizes
def check_image_size(images: Tensor, reduction: int) -> None:
    """Rejects images (B, C, H, W) that are a single pixel in height or width before the last stride.

    Raises:
        InputError: if the images are too small; the message names the smallest size.
    """
    if torch.jit.is_tracing():  # torch.jit.trace warns of every condition
        return
    smallest = reduction // 2 + 1
    height, width = images.shape[-2:]
    if height < smallest or width < smallest:
        raise InputError(
            f"an image of {height}x{width} is too small for this net, whose last map is {reduction} times smaller: "
            f"give at least {smallest}x{smallest}, or a net with stem='cifar' or a smaller output_stride"
        )
