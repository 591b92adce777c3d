"""RandAugment, TrivialAugmentWide and AugMix on batches, beside torchvision's on single images."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from resnet_lightning.data import Augmentation
from resnet_lightning.data.augmentation import policies
from resnet_lightning.data.augmentation.draws import Draws
from resnet_lightning.data.augmentation.operations import GEOMETRIC, PIXELWISE, apply_operations
from resnet_lightning.data.augmentation.policies import POLICIES, make_policy
from resnet_lightning.errors import InputError

LARGEST = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 14, "TranslateY": 14, "Rotate": 135}
LARGEST |= dict.fromkeys(["Brightness", "Color", "Contrast", "Sharpness"], 0.99)
REFERENCE = {
    "ShearX": lambda image, m: F.affine(image, 0.0, [0, 0], 1.0, [math.degrees(math.atan(m)), 0.0], center=[0, 0]),
    "ShearY": lambda image, m: F.affine(image, 0.0, [0, 0], 1.0, [0.0, math.degrees(math.atan(m))], center=[0, 0]),
    "TranslateX": lambda image, m: F.affine(image, 0.0, [int(m), 0], 1.0, [0.0, 0.0]),
    "TranslateY": lambda image, m: F.affine(image, 0.0, [0, int(m)], 1.0, [0.0, 0.0]),
    "Rotate": F.rotate,
    "Brightness": lambda image, m: F.adjust_brightness(image, 1 + m),
    "Color": lambda image, m: F.adjust_saturation(image, 1 + m),
    "Contrast": lambda image, m: F.adjust_contrast(image, 1 + m),
    "Sharpness": lambda image, m: F.adjust_sharpness(image, 1 + m),
    "Posterize": lambda image, m: F.posterize(image, int(m)),
    "Solarize": lambda image, m: F.solarize(image, 255 * m),
    "AutoContrast": lambda image, m: F.autocontrast(image),
    "Equalize": lambda image, m: F.equalize(image),
}


def some_images(shape):
    """Noise, few values, smooth images, and images of one value: (B, C, H, W) uint8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    images[::4] = images[::4] // 64 * 40 + 17
    smooth = torch.rand((*shape[:2], 3, 3), generator=generator) * 255
    images[1::4] = torch.nn.functional.interpolate(smooth, shape[2:], mode="bilinear").round().to(torch.uint8)[1::4]
    images[:2] = torch.tensor([0, 99], dtype=torch.uint8).view(2, 1, 1, 1)
    return images


@pytest.mark.parametrize("shape", [(48, 3, 32, 32), (24, 1, 28, 20), (24, 3, 9, 31), (6, 3, 2, 2)])
@pytest.mark.parametrize("name", [*GEOMETRIC, *PIXELWISE])
def test_each_operation_is_that_of_torchvision(name, shape):
    images = some_images(shape)
    uniform = np.random.default_rng(0).random(len(images), np.float32)
    magnitudes = (2 * uniform - 1) * LARGEST[name] if name in LARGEST else uniform
    if name == "Posterize":
        magnitudes = np.rint(2 + 6 * uniform)
    magnitudes = magnitudes.astype(np.float32)
    found = apply_operations(images.float(), [name], np.zeros(len(images), np.int64), magnitudes)
    expected = torch.stack([REFERENCE[name](i, float(m)) for i, m in zip(images, magnitudes, strict=True)]).float()
    apart = (found - expected).abs()
    assert apart.max() <= 1
    # Blends round at another place: a value that is nearly a whole number becomes one or the next lower one.
    assert (apart > 0).float().mean() <= (0.02 if name in ("Color", "Sharpness") else 0)


@pytest.mark.parametrize(
    ("name", "names", "range_of", "theirs", "bins"),
    [
        ("RandAugment", policies._ALL, policies._moderate, v2.RandAugment(), 31),
        ("TrivialAugmentWide", policies._ALL, policies._wide, v2.TrivialAugmentWide(), 31),
        ("AugMix", policies._ALL[1:], policies._moderate_mix, v2.AugMix(), 10),
    ],
)
def test_operations_and_magnitudes_are_those_of_torchvision(name, names, range_of, theirs, bins):
    space = theirs._AUGMENTATION_SPACE
    assert set(names) == set(space)
    for operation, (magnitudes, is_signed) in space.items():
        expected = magnitudes(bins, 40, 60)
        if expected is None:
            continue
        low, high = range_of(operation, 40, 60)
        found = low + (high - low) * np.arange(bins) / (bins - 1)
        if operation == "Posterize":
            found = np.rint(found)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
        assert (operation in policies._SIGNED) == is_signed


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_images_change_as_much_as_by_torchvision(name):
    """Mean, deviation and quartiles of the change of an image over 1,500 images, each with its own operations."""
    images = some_images((6, 3, 12, 12))[5:].repeat(1500, 1, 1, 1)
    ours = make_policy(name, {})(images.float(), Draws(torch.arange(len(images)), 0, 0), 9)
    torch.manual_seed(0)
    policy = getattr(v2, name)()
    theirs = torch.stack([policy(image) for image in images])
    found, expected = ((changed - images.float()).abs().mean((1, 2, 3)) for changed in (ours, theirs.float()))
    standard_error = expected.std() / len(images) ** 0.5
    assert abs(found.mean() - expected.mean()) < 5 * standard_error + 0.5  # torchvision rounds what it mixes down
    assert abs(found.std() / expected.std() - 1) < 0.1
    shares = torch.tensor([0.25, 0.5, 0.75])
    torch.testing.assert_close(found.quantile(shares), expected.quantile(shares), rtol=0.15, atol=1.5)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_images_result_depends_on_seed_epoch_and_index_alone(policy):
    images = some_images((32, 3, 16, 16))
    augment = Augmentation(crop=2, flip=True, policy=policy)

    def augmented(rows, seed=0, epoch=0):
        rows = torch.tensor(rows)
        targets = torch.zeros(len(rows), dtype=torch.long)
        return augment(images[rows], targets, Draws(rows, seed, epoch), lambda pixels: pixels.float())[0]

    whole = augmented(range(32))
    assert torch.equal(augmented([5, 2, 30]), whole[[5, 2, 30]])
    assert not torch.equal(augmented(range(32), epoch=1), whole)
    assert not torch.equal(augmented(range(32), seed=1), whole)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert whole.min() >= 0
    assert whole.max() <= 255
    assert len({tuple(image.flatten().tolist()) for image in whole[1::4]}) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "RandAugmet"}, "unknown augment.policy 'RandAugmet'; did you mean 'RandAugment'"),
        ({"policy": "RandAugment", "policy_args": {"magnitude": 31}}, "magnitude is 31; give a whole number from 0 to"),
        ({"policy": "RandAugment", "policy_args": {"num_ops": True}}, "num_ops is True; give a whole number"),
        ({"policy": "RandAugment", "policy_args": {"strength": 3}}, "strength"),
        ({"policy": "AugMix", "policy_args": {"severity": 0}}, "severity is 0; give a whole number from 1 to 10"),
        ({"policy_args": {"magnitude": 3}}, "augment.policy_args needs augment.policy"),
    ],
)
def test_wrong_options_are_rejected(options, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**options)
