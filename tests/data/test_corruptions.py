"""Corruptions of test images, against Pillow, torchvision and the moments of the distributions."""

import io
import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from resnet_lightning.data import DigitsDataModule, ImageFolderDataModule
from resnet_lightning.data.corruptions import CORRUPTIONS, STRENGTHS, Corruption, names_for
from resnet_lightning.data.corruptions.color import saturation
from resnet_lightning.data.corruptions.digital import jpeg, pixelate
from resnet_lightning.data.corruptions.noise import uniform
from resnet_lightning.errors import InputError


@pytest.fixture
def photos(real_data):
    """Photos (20, 3, 32, 32) uint8, two of each class."""
    files = [
        file for folder in sorted((real_data / "cifar10-jpeg/test").iterdir()) for file in sorted(folder.iterdir())[:2]
    ]
    return torch.stack([v2.functional.pil_to_tensor(Image.open(file).convert("RGB")) for file in files])


@pytest.fixture
def digits():
    """Digits (40, 1, 8, 8) uint8 or of another size of the embedded set."""
    data = DigitsDataModule()
    split = data.split("test")
    return split.images[split.indices[:40]].permute(0, 3, 1, 2)


def corrupted(images, name, strength, seed=0):
    return Corruption(name, strength)(images, torch.arange(len(images)), seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_any_batch(digits, name):
    images = digits if name != "saturation" else digits.repeat(1, 3, 1, 1)
    indices = torch.arange(len(images)) * 7
    corruption = Corruption(name, 3)
    whole = corruption(images, indices, 1)
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    parts = [corruption(images[a:b], indices[a:b], 1) for a, b in ((0, 1), (1, 4), (4, 21), (21, 40))]
    assert torch.equal(whole, torch.cat(parts))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole[order], corruption(images[order], indices[order], 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(224, 200), (5, 9), (1, 1), (33, 64)])
def test_images_of_any_size(photos, name, size):
    images = F.resize(photos[:3], [240, 240])[..., : size[0], : size[1]]
    for strength in STRENGTHS:
        whole = corrupted(images, name, strength)
        assert whole.shape == images.shape
        assert torch.equal(whole[1:2], Corruption(name, strength)(images[1:2], torch.tensor([1]), 0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_larger_strength_changes_more(photos, name):
    if name in ("saturation", "elastic_transform"):
        pytest.skip("the published strengths are of different kinds")
    changes = [(corrupted(photos, name, s).float() - photos.float()).abs().mean().item() for s in STRENGTHS]
    assert all(a < b + 1 for a, b in itertools.pairwise(changes))
    assert changes[4] > 1.5 * changes[0] > 0


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog"])
def test_random_corruptions_differ_by_seed_and_image(digits, name):
    first = corrupted(digits[:1].repeat(4, 1, 1, 1), name, 5)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupted(digits[:1].repeat(4, 1, 1, 1), name, 5, seed=1))


def test_uniform_numbers_are_uniform_and_independent():
    numbers = uniform(torch.arange(200), (500,)).numpy()
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] / 5000 - 1).max() < 0.07
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.015
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.015


def grey(value, images=64, side=32):
    return torch.full((images, 1, side, side), value, dtype=torch.uint8)


def test_the_moments_of_the_noises():
    value, pixels = 128, grey(128)
    noisy = corrupted(pixels, "gaussian_noise", 5).double()
    assert abs(noisy.mean() - value) < 0.3
    assert abs(noisy.std() - 25.5) < 0.3  # 0.10 of white
    assert abs(((noisy - value) ** 3).mean() / noisy.std() ** 3) < 0.05
    noisy = corrupted(pixels, "speckle_noise", 5).double()
    assert abs(noisy.std() - 0.2 * value) < 0.3
    noisy = corrupted(pixels, "shot_noise", 5).double()  # Poisson: 50 photons for white
    assert abs(noisy.mean() - value) < 0.4
    assert abs(noisy.var() / 5.1**2 - 50 * value / 255) < 0.6
    noisy = corrupted(pixels, "impulse_noise", 5)
    assert abs((noisy == 0).double().mean() - 0.035) < 0.003
    assert abs((noisy == 255).double().mean() - 0.035) < 0.003


def test_shot_noise_has_the_distribution_of_poisson():
    counts = (corrupted(grey(51, 256), "shot_noise", 5).double() / 5.1).round().long().flatten()
    shares = counts.bincount(minlength=30)[:30] / len(counts)
    k = torch.arange(30).double()
    expected = (k * np.log(10) - 10 - torch.lgamma(k + 1)).exp()  # a mean of 10 photons
    assert (shares - expected).abs().max() < 0.002
    assert corrupted(grey(0), "shot_noise", 5).max() == 0


@pytest.mark.parametrize("quality", [80, 40, 10])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_against_pillow(photos, quality, mode):
    images = (photos if mode == "RGB" else F.rgb_to_grayscale(photos))[..., :27, :30]  # no multiple of 8
    expected = []
    for image in images:
        file = io.BytesIO()
        F.to_pil_image(image).save(file, "JPEG", quality=quality)
        expected.append(F.pil_to_tensor(Image.open(file)))
    ours = jpeg(images.float(), None, quality).round().clamp(0, 255)
    error = (ours - torch.stack(expected).float()).abs()
    assert error.mean() < (1.0 if mode == "RGB" else 0.2)  # libjpeg computes with integers
    change = (torch.stack(expected).float() - images.float()).abs().mean()
    assert error.mean() < change / 4


@pytest.mark.parametrize("factor", [0.95, 0.65, 0.25])
def test_pixelate_against_pillow(photos, factor):
    small = int(32 * factor), int(32 * factor)
    expected = [
        F.pil_to_tensor(
            F.to_pil_image(image).resize(small, Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
        )
        for image in photos
    ]
    error = (pixelate(photos.float(), None, factor) - torch.stack(expected).float()).abs()
    assert error.max() <= 1
    assert error.mean() < 0.02


def test_gaussian_blur_against_torchvision(photos):
    ours = corrupted(photos, "gaussian_blur", 5)
    expected = F.gaussian_blur(photos, [9, 9], [1.0, 1.0])
    inner = (ours.int() - expected.int()).abs()[..., 4:-4, 4:-4]  # borders are repeated, not mirrored
    assert inner.max() <= 1


def test_contrast_against_torchvision(photos):
    grey_photos = F.rgb_to_grayscale(photos)
    ours = corrupted(grey_photos, "contrast", 2).int()
    expected = F.adjust_contrast(grey_photos, 0.5).int()
    assert (ours - expected).abs().max() <= 1


def test_brightness_and_saturation_against_hsv(photos):
    """Pillow's HSV has 8 bits, hence the tolerance."""
    hsv = np.stack([np.array(F.to_pil_image(image).convert("HSV")) for image in photos]).astype(np.float64)
    brighter = np.stack(
        [np.array(F.to_pil_image(image).convert("HSV")) for image in corrupted(photos, "brightness", 3)]
    )
    assert np.abs(brighter[..., 2] - np.minimum(hsv[..., 2] + 38.25, 255)).max() <= 1
    colored = hsv[..., 1] > 40
    duller = saturation(photos.float(), None, 0.5, 0.0).round().byte()
    after = np.stack([np.array(F.to_pil_image(image).convert("HSV")) for image in duller])
    assert np.abs(after[..., 2] - hsv[..., 2]).max() <= 1
    assert np.abs(after[..., 1] - hsv[..., 1] / 2)[colored & (hsv[..., 2] > 60)].max() <= 5


def test_blurs_keep_a_flat_image_and_the_mean(photos):
    for name in ("gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "elastic_transform", "pixelate"):
        for strength in STRENGTHS:
            flat = corrupted(grey(77, 2), name, strength)
            assert (flat.int() - 77).abs().max() == 0, (name, strength)
            assert abs(corrupted(photos, name, strength).float().mean() - photos.float().mean()) < 3


def test_fog_is_lighter_and_flatter(photos):
    foggy = corrupted(photos, "fog", 5).float()
    assert foggy.std((1, 2, 3)).mean() < photos.float().std((1, 2, 3)).mean()


def test_names():
    assert names_for("all", 3) == list(CORRUPTIONS)
    assert "saturation" not in names_for("all", 1)
    assert names_for("fog, contrast,fog", 1) == ["fog", "contrast"]
    with pytest.raises(InputError, match="no corruption 'gausian_noise'; did you mean 'gaussian_noise'"):
        names_for("gausian_noise", 3)
    with pytest.raises(InputError, match="saturation needs images with 3 channels"):
        names_for("saturation", 1)
    with pytest.raises(InputError, match="empty"):
        names_for(",", 3)


def test_resident_and_streamed_images_are_corrupted_alike(real_data, tmp_path):
    for folder in (real_data / "cifar10-jpeg").glob("*/*"):
        copy = tmp_path / folder.parent.name / folder.name
        copy.mkdir(parents=True)
        for file in sorted(folder.iterdir())[:20]:
            shutil.copy(file, copy)
    batches = []
    for resident in (False, "cpu"):
        options = {"image_size": 32, "batch_size": 16, "num_workers": 0, "mean": [0.5], "std": [0.25]}
        data = ImageFolderDataModule(tmp_path, resident=resident, **options)
        loader = data.device_loader("test", torch.device("cpu"), Corruption("shot_noise", 4))
        clean = next(iter(data.device_loader("test", torch.device("cpu"))))[0]
        batches.append(next(iter(loader))[0])
        assert not torch.equal(clean, batches[-1])
    assert torch.equal(*batches)
