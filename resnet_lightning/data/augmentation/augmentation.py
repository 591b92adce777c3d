"""The augmentation of training batches, with random parameters for each image."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError, did_you_mean
from .boxes import Boxes, draw_boxes
from .color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from .draws import Bools, Draws, Integers
from .geometry import affine, crop, mark_boxes, resized_crop, to
from .mixup import beta, cutmix, mixup, one_hot
from .policies import Policy, make_policy
from .transform import Transform, load_transform

# One stream of random numbers for each purpose. A seed's results depend on these numbers: append new ones at the end.
_CROP, _FLIP, _AFFINE, _RESIZED_CROP, _COLOR, _CUTOUT, _ERASE, _ERASE_BOX, _MIX, _POLICY = range(10)

_ERASED_AREA, _ERASED_ASPECT = (0.02, 0.33), (0.3, 3.3)  # torchvision's defaults, nearly those of the paper
_CROPPED_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Augmentation:
    """The augmentation options, in the order in which they are applied. The defaults change nothing.

    Args:
        resized_crop: crop a random box of at least this share of the image's area, with sides of 3:4 to 4:3, and scale
            it to the image's size (Szegedy et al. 2015; ImageNet's usual share is 0.08); 0 for none. If images are
            streamed from files, the box is cropped from the original image, before it is scaled down.
        rotate: rotate by a random angle of at most this many degrees, in either direction; pixels from outside are
            black.
        translate: move by up to this share of the height and of the width.
        scale: scale by a random factor from ``1 - scale`` to ``1 + scale``.
        crop: pad by this many pixels on every side and crop the original size at a random place.
        pad: what ``crop`` pads with: ``zero``, black pixels; ``reflect``, the image mirrored at its border.
        flip: flip left and right with probability 1/2; ``alternate`` flips half of the images in the first epoch, the
            other half in the second, and so on.
        brightness: multiply the pixels by a random factor from ``1 - brightness`` to ``1 + brightness``.
        contrast: multiply the distance from the image's mean grey by such a factor.
        saturation: multiply the distance of each pixel from its grey by such a factor.
        hue: rotate the hue by a random angle, at most this share of the colour circle; up to 0.5.
        policy: ``RandAugment``, ``TrivialAugmentWide`` or ``AugMix``, drawn for each image; see ``policies``.
        policy_args: its arguments, such as ``{num_ops: 2, magnitude: 9}`` of RandAugment.
        transform: the name of a class of ``torchvision.transforms.v2``, or the dotted path of any class or function (in
            Python also the callable itself). It gets images as float32 in [0, 1] after the options above. A callable
            with two arguments gets the images and labels of a batch, and may mix them. See ``transform.Transform``.
        transform_args: its arguments. Also objects, each as a mapping with ``class_path`` and ``init_args``.
        transform_on: what a transform with one argument gets: one ``image`` (C, H, W) at a time, which is the default,
            or a ``batch`` (B, C, H, W).
        cutout: fill a square with sides of this many pixels, at a random place, with the mean colour (DeVries & Taylor
            2017).
        erase: the probability of filling a random box with the mean colour (Zhong et al. 2020, *Random Erasing*).
        mixup: blend each image with another, with a weight from Beta(mixup, mixup); 0 for none (Zhang et al. 2018).
        cutmix: paste a box of another image into each, with an area from Beta(cutmix, cutmix) (Yun et al. 2019). If
            mixup is set as well, one of the two is chosen at random for each image.

    Raises:
        InputError: for a number out of range.
    """

    resized_crop: float = 0.0
    rotate: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    crop: int = 0
    pad: Literal["zero", "reflect"] = "zero"
    flip: bool | Literal["alternate"] = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    policy: str | None = None
    policy_args: dict[str, Any] | None = field(default=None, hash=False)
    transform: str | Any = field(default=None, hash=False)  # a callable too, and it may not be hashable
    transform_args: dict[str, Any] | None = field(default=None, hash=False)
    transform_on: Literal["image", "batch"] | None = None
    cutout: int = 0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        factor, alpha = "a number of at least 0", "a number larger than 0, or 0 for none"
        for name, allowed, what in (
            ("resized_crop", 0 <= self.resized_crop <= 1, "a share of the area from 0 (none) to 1"),
            ("rotate", 0 <= self.rotate <= 180, "degrees from 0 to 180"),
            ("translate", 0 <= self.translate <= 1, "a share of the side from 0 to 1"),
            ("scale", 0 <= self.scale < 1, "a number from 0 up to, but not including, 1"),
            ("crop", 0 <= self.crop < 1 << 31, "the padding in pixels, 0 for none"),
            ("pad", self.pad in ("zero", "reflect"), "'zero' or 'reflect'"),
            ("flip", self.flip in (True, False, "alternate"), "true, false or 'alternate'"),
            ("brightness", 0 <= self.brightness < math.inf, factor),
            ("contrast", 0 <= self.contrast < math.inf, factor),
            ("saturation", 0 <= self.saturation < math.inf, factor),
            ("hue", 0 <= self.hue <= 0.5, "a share of the circle from 0 to 0.5"),
            ("transform_on", self.transform_on in (None, "image", "batch"), "'image' or 'batch'"),
            ("cutout", 0 <= self.cutout < 1 << 31, "the side of the square in pixels, 0 for none"),
            ("erase", 0 <= self.erase <= 1, "a probability from 0 to 1"),
            ("mixup", 0 <= self.mixup < math.inf, alpha),
            ("cutmix", 0 <= self.cutmix < math.inf, alpha),
            *((name, getattr(self, name) <= 10, "at most 10") for name in ("brightness", "contrast", "saturation")),
            *((name, getattr(self, name) <= 1000, "at most 1000") for name in ("mixup", "cutmix")),
        ):
            if not allowed:
                raise InputError(f"augment.{name} is {getattr(self, name)!r}; give {what}")
        if self.policy_args and self.policy is None:
            raise InputError("augment.policy_args needs augment.policy, the policy that takes them")
        _ = self._policy

    @cached_property
    def _policy(self) -> Policy | None:
        return make_policy(self.policy, self.policy_args) if self.policy else None

    @cache  # noqa: B019  # few instances, which the cache keeps alive
    def without(self, options: tuple[str, ...]) -> "Augmentation":
        """Returns the same augmentation with these options at their defaults, where they do nothing."""
        defaults: dict[str, Any] = {option.name: option.default for option in fields(self) if option.name in options}
        return replace(self, **defaults)

    @classmethod
    def of(cls, augment: Any) -> "Augmentation":
        """Returns the ``Augmentation`` for a value of ``augment`` in Python.

        Args:
            augment: one, which is returned; a mapping of its options, as in a config; or what ``transform`` may
                be.

        Raises:
            InputError: if the mapping has an option that does not exist.
        """
        if isinstance(augment, Augmentation):
            return augment
        if isinstance(augment, Mapping) and "class_path" not in augment:
            names = [field.name for field in fields(cls)]
            for name in augment:
                if name not in names:
                    raise InputError(f"augment has no option {name!r}; {did_you_mean(str(name), names)}")
            return cls(**augment)
        return cls(transform=augment)

    def make_transform(self, num_classes: int) -> Transform | None:
        """Builds the transform of one's own; None if there is none.

        Raises:
            InputError: if it cannot be built, or if it mixes targets and another option does too.
        """
        transform = load_transform(self.transform, self.transform_args, self.transform_on, num_classes)
        if transform is not None and transform.takes_targets and self.mixes:
            raise InputError(
                f"augment.transform {transform.name} takes targets, as augment.mixup and augment.cutmix do; "
                "leave these 0"
            )
        return transform

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others, so that targets become probabilities of classes."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def depends_on_size(self) -> bool:
        """Whether ``check_images`` needs the size of the images."""
        return bool(self.crop or self.cutout)

    def check_images(self, channels: int, side: int | None) -> None:
        """Checks that images can be augmented in this way.

        Args:
            channels: of the images.
            side: the shorter side in pixels; None if it is not known yet.

        Raises:
            InputError: if they cannot.
        """
        if channels == 1 and (self.saturation or self.hue):
            raise InputError(
                "augment.saturation and augment.hue change colours, and these images are grey; leave them 0"
            )
        if side is not None and self.pad == "reflect" and self.crop >= side:
            raise InputError(
                f"augment.crop is {self.crop}; with reflect padding, give less than the image's side of {side} pixels"
            )
        if side is not None and self.cutout > side:
            raise InputError(f"augment.cutout is {self.cutout}; give at most the image's side of {side} pixels")
        if side is not None and self.crop > side:  # a typing error could request more memory than there is
            raise InputError(f"augment.crop is {self.crop}; give at most the image's side of {side} pixels")

    def __call__(
        self,
        images: Tensor,
        targets: Tensor,
        draws: Draws,
        normalize: Callable[[Tensor], Tensor],
        *,
        others: Tensor | None = None,
        num_classes: int = 0,
        transform: Transform | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augments and normalizes a batch. Without mixing, an image's result depends only on its pixels and its draws.

        Args:
            images: (R, C, H, W) pixels in [0, 255], uint8 or float.
            targets: (R,) int64.
            draws: the random numbers of the R images.
            normalize: converts pixels in [0, 255] to float32 with mean 0.
            others: (B,) which of the R images each of the first B is mixed with. The last R - B images are only mixed
                into others. None mixes nothing.
            num_classes: of the targets; needed for mixing only.
            transform: the transform that ``make_transform`` returned.

        Returns:
            Images (B, C, H, W) float32 and targets, (B,) int64 or, where images are mixed, (B, K) float32.
        """
        images = self.crop_and_resize(images, draws)
        images = self.adjust_colors(self.move(images, draws), draws)
        if self._policy:
            images = self._policy(images.float().round().contiguous(), draws, _POLICY)
            images = images.contiguous(memory_format=torch.channels_last)
        if transform is not None:
            images, targets = transform(images, targets, draws)
        images = self.hide(normalize(images), draws)
        if others is not None and self.mixes:
            return self.mix(images, one_hot(targets, num_classes), others, draws)
        return images, targets

    def boxes(self, draws: Draws, heights: Integers, widths: Integers) -> Boxes:
        """The boxes of the random resized crop, in images of these sizes."""
        area = (self.resized_crop, 1.0)
        return draw_boxes(draws, _RESIZED_CROP, heights, widths, area, _CROPPED_ASPECT, or_else_middle=True)

    def crop_and_resize(self, images: Tensor, draws: Draws) -> Tensor:
        """Applies the random resized crop to images in memory: (R, C, H, W), float32 if there is one."""
        if not self.resized_crop:
            return images
        return resized_crop(images, *self.boxes(draws, *_sizes(images)))

    def move(self, images: Tensor, draws: Draws) -> Tensor:
        """Rotates, moves, scales, crops and flips (R, C, H, W); returns float32 if pixels are interpolated."""
        if self.rotate or self.translate or self.scale:
            turn, down, right, grow = 2 * draws.uniform(_AFFINE, 4) - 1
            images = affine(
                images, turn * self.rotate, down * self.translate, right * self.translate, 1 + grow * self.scale
            )
        if not (self.crop or self.flip):
            return images
        return crop(images, self.crop, *self.shifts(draws), self.pad)

    @property
    def moves_whole_pixels(self) -> bool:
        """Whether the augmentation begins with a crop or a flip, which move whole pixels."""
        return bool(self.crop or self.flip) and not (self.resized_crop or self.rotate or self.translate or self.scale)

    def shifts(self, draws: Draws) -> tuple[Integers, Integers, Bools | None]:
        """First row and column of each image's crop, and whether it is mirrored."""
        top, left = (draws.uniform(_CROP, 2) * np.float32(2 * self.crop + 1)).astype(np.int64)
        return top, left, self._mirrored(draws)

    def _mirrored(self, draws: Draws) -> Bools | None:
        if self.flip == "alternate":  # as in airbench (Jordan 2024), section 3.6
            return (draws.uniform_of_run(_FLIP) < 0.5) ^ bool(draws.epoch % 2)
        return draws.uniform(_FLIP)[0] < 0.5 if self.flip else None

    def adjust_colors(self, images: Tensor, draws: Draws) -> Tensor:
        """Changes the colours of (R, C, H, W) in [0, 255]; the result is float32 if any option changes them."""
        changes = (
            (adjust_brightness, self.brightness, 1),
            (adjust_contrast, self.contrast, 1),
            (adjust_saturation, self.saturation, 1),
            (adjust_hue, self.hue, 0),
        )
        if not any(strength for _, strength, _ in changes):
            return images
        images = images.float().contiguous()  # channels outermost: colours are computed from whole channels
        for (adjust, strength, about), number in zip(changes, draws.uniform(_COLOR, 4), strict=True):
            if strength:
                low = max(about - strength, 0) if about else -strength
                factor = low + number * np.float32(about + strength - low)
                images = adjust(images, to(images.device, factor).view(-1, 1, 1, 1))
        return images.contiguous(memory_format=torch.channels_last)

    def hide(self, images: Tensor, draws: Draws) -> Tensor:
        """Fills boxes of normalized images (R, C, H, W) with 0, the mean colour."""
        if self.cutout:
            heights, widths = _sizes(images)
            row, column = draws.uniform(_CUTOUT, 2)
            top = (row * heights).astype(np.int64) - self.cutout // 2
            left = (column * widths).astype(np.int64) - self.cutout // 2
            side = np.full_like(top, self.cutout)
            images = torch.where(mark_boxes(images, top, left, side, side), 0.0, images)
        if self.erase:
            top, left, height, width = draw_boxes(
                draws, _ERASE_BOX, *_sizes(images), _ERASED_AREA, _ERASED_ASPECT, or_else_middle=False
            )
            height = np.where(draws.uniform(_ERASE)[0] < self.erase, height, 0)
            images = torch.where(mark_boxes(images, top, left, height, width), 0.0, images)
        return images

    def mix(self, images: Tensor, targets: Tensor, others: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Mixes each of the first B of the R images (R, C, H, W) with another; targets (R, K) are as in ``mixup``."""
        others = others.to(images.device, non_blocking=True)
        share, choice, row, column = draws.uniform(_MIX, 4)[:, : len(others)]
        if self.mixup:
            blended = mixup(images, targets, others, beta(share, self.mixup))
            if not self.cutmix:
                return blended
        side = np.sqrt(1 - beta(share, self.cutmix))
        height, width = ((side * length).astype(np.int64) for length in images.shape[-2:])
        top = (row * images.shape[-2]).astype(np.int64) - height // 2
        left = (column * images.shape[-1]).astype(np.int64) - width // 2
        pasted = cutmix(images, targets, others, top, left, height, width)
        if not self.mixup:
            return pasted
        chosen = to(images.device, choice < 0.5)
        return (
            torch.where(chosen.view(-1, 1, 1, 1), pasted[0], blended[0]),
            torch.where(chosen.view(-1, 1), pasted[1], blended[1]),
        )


def _sizes(images: Tensor) -> tuple[Integers, Integers]:
    """Height and width of each image."""
    n, _, height, width = images.shape
    return np.full(n, height), np.full(n, width)
