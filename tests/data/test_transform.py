import random

import numpy as np
import own_transforms
import pytest
import torch
from torchvision.transforms import v2

from data_modules import one_line
from resnet_lightning import Augmentation, CIFAR10DataModule, DigitsDataModule, InputError
from resnet_lightning.data.augmentation.draws import Draws, key

SMALL = {"batch_size": 50, "train_fraction": 0.15}
PIXELS = {"mean": [0.0], "std": [1.0]}  # a batch is then in [0, 1]


def digits(transform, **options):
    args = {name: options.pop(name) for name in ("transform_args", "transform_on") if name in options}
    augment = Augmentation(transform=transform, **args, **options.pop("augment", {}))
    return DigitsDataModule(augment=augment, **{**SMALL, **PIXELS, **options})


def epoch_of(data, epoch=0, batch_size=None):
    """The augmented images and targets of an epoch, by the index of the image."""
    raw = data.raw_loader("train")
    found = {}
    for step in raw.order.steps(epoch):
        for rows in torch.arange(len(step.indices)).split(batch_size or 100):
            images, targets = data.finish(raw.batch(step.indices[rows], None, epoch))
            found |= dict(zip(step.indices[rows].tolist(), zip(images, targets, strict=True), strict=True))
    return found


def share_of_equal(first, second):
    both = first.keys() & second.keys()
    assert len(both) > 100
    return sum(torch.equal(first[index][0], second[index][0]) for index in both) / len(both)


PER_IMAGE = {
    "a function": own_transforms.noise,
    "its path": "own_transforms.noise",
    "a class": "own_transforms.HoldsGenerators",
    "torchvision's": v2.RandomAffine(180, translate=(0.3, 0.3)),
    "its name": {"class_path": "RandomAffine", "init_args": {"degrees": 180, "translate": [0.3, 0.3]}},
}


@pytest.mark.parametrize("transform", PER_IMAGE.values(), ids=PER_IMAGE)
def test_an_image_is_transformed_by_seed_epoch_and_index_alone(transform, monkeypatch):
    data, plain = digits(transform), DigitsDataModule(**SMALL, **PIXELS)
    first = epoch_of(data)
    assert share_of_equal(first, epoch_of(plain)) < 0.05
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert share_of_equal(first, epoch_of(digits(transform), batch_size=33)) == 1
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert share_of_equal(first, epoch_of(data, 1)) < 0.05
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert share_of_equal(first, epoch_of(data)) < 0.05


def test_the_images_are_float_between_0_and_1_and_come_after_our_own_crops():
    seen = []

    def look(image):
        seen.append(image)
        return image

    data = digits(look, augment={"crop": 1, "flip": True})
    images, _ = next(iter(data.train_dataloader()))
    assert torch.allclose(torch.stack(seen), images, atol=1e-6)
    expected = DigitsDataModule(augment=Augmentation(crop=1, flip=True), **SMALL, **PIXELS)
    torch.testing.assert_close(images, next(iter(expected.train_dataloader()))[0])
    assert seen[0].dtype == torch.float32
    assert (min(image.min() for image in seen), max(image.max() for image in seen)) == (0, 1)


def test_an_image_may_be_returned_as_uint8():
    data = digits(v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.RandomPosterize(4, p=1.0)]))
    images, _ = next(iter(data.train_dataloader()))
    plain, _ = next(iter(DigitsDataModule(**SMALL, **PIXELS).train_dataloader()))
    torch.testing.assert_close(images * 255, (plain * 255).round() // 16 * 16)


def test_only_training_images_are_transformed():
    data, plain = digits("own_transforms.noise"), DigitsDataModule(**SMALL, **PIXELS)
    for found, expected in zip(data.val_dataloader(), plain.val_dataloader(), strict=True):
        assert torch.equal(found[0], expected[0])


def test_a_function_takes_its_arguments():
    found, plain = (
        next(iter(data.train_dataloader()))[0]
        for data in (
            digits("own_transforms.noise", transform_args={"std": 0.0}),
            DigitsDataModule(**SMALL, **PIXELS),
        )
    )
    torch.testing.assert_close(found, plain)


def test_a_batch_is_seeded_by_its_first_image():
    data = digits("own_transforms.Batch", transform_on="batch")
    plain = next(iter(DigitsDataModule(**SMALL, **PIXELS).train_dataloader()))[0]
    raw = data.raw_loader("train")
    step = next(raw.order.steps(0))
    images, _ = data.finish(raw.batch(*step, 0))
    torch.manual_seed(key(0, 0, int(step.indices[0])))
    torch.testing.assert_close(images, plain + 0.1 * torch.rand(50, 1, 1, 1))
    assert torch.equal(data.finish(raw.batch(*step, 0))[0], images)


@pytest.mark.parametrize(
    ("transform", "args"),
    [
        ("MixUp", {"alpha": 0.5}),
        ("CutMix", None),
        ("own_transforms.Swap", None),
        ("Compose", {"transforms": [{"class_path": "MixUp", "init_args": {"num_classes": 10}}]}),
        ("RandomChoice", {"transforms": [{"class_path": "MixUp"}, {"class_path": "CutMix"}]}),
    ],
)
def test_images_and_targets_may_be_mixed(transform, args):
    loader = digits(transform, transform_args=args).train_dataloader()
    images, targets = next(iter(loader))
    assert images.shape == (50, 1, 8, 8)
    assert targets.shape == (50, 10)
    torch.testing.assert_close(targets.sum(1), torch.ones(50))
    assert ((targets > 0).sum(1) == 2).any()
    loader.set_epoch(0)
    assert torch.equal(next(iter(loader))[1], targets)


def test_a_data_module_takes_a_mapping_of_options_as_a_config_does():
    assert DigitsDataModule(augment={"crop": 1, "rotate": 10}).augment == Augmentation(crop=1, rotate=10)
    with pytest.raises(InputError, match="augment has no option 'rotat'; did you mean 'rotate'"):
        DigitsDataModule(augment={"rotat": 10})


def test_a_data_module_takes_a_callable_in_the_place_of_the_options():
    data = CIFAR10DataModule(augment=v2.RandAugment())
    assert data.augment == Augmentation(transform=data.augment.transform)
    assert isinstance(data.augment.transform, v2.RandAugment)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    found, _ = data.augment.make_transform(10)(images, torch.zeros(4).long(), Draws(torch.arange(4), 0, 0))
    assert found.shape == images.shape
    assert not torch.equal(found, images.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"transform": "RandAugmen"},
            r"augment.transform 'RandAugmen' is not in torchvision.transforms.v2; .*RandAugment",
        ),
        (
            {"transform": "no_such.Thing"},
            "'no_such.Thing' cannot be imported: there is no module",
        ),
        ({"transform": "RandAugment", "transform_args": {"nm": 2}}, "RandAugment' takes no option 'nm'; known: fill"),
        ({"transform": "MixUp", "mixup": 0.2}, "augment.transform MixUp takes targets, as augment.mixup and"),
        ({"transform_args": {"a": 1}}, "augment.transform_args needs augment.transform"),
        ({"transform": v2.RandAugment(), "transform_args": {"a": 1}}, "augment.transform is an object already"),
        (
            {"transform": {"class_path": "MixUp", "args": 1}},
            "has the keys class_path, args; give class_path",
        ),
        ({"transform": 3}, "augment.transform is 3; give a callable"),
    ],
)
def test_a_transform_that_cannot_be_built_is_refused(options, message):
    with pytest.raises(InputError, match=message) as caught:
        DigitsDataModule(augment=Augmentation(**options))
    one_line(caught)


def fails(image):
    raise ValueError("too\nsmall")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (fails, r"fails does not accept images \(1, 8, 8\) float32 in \[0, 1\]: too small"),
        (lambda image: None, r"turned \(1, 8, 8\) float32 into NoneType; it has to return as many images and"),
        (lambda image: image[0], r"turned \(1, 8, 8\) float32 into \(8, 8\) float32; it"),
        (lambda image: image.expand(3, 8, 8), r"into \(3, 8, 8\) float32; it"),
        (lambda image: (255 * image).long(), r"into \(1, 8, 8\) int64; it"),
        (lambda images, targets: images, "takes images and targets, so it has to return both"),
    ],
)
def test_a_transform_that_returns_no_image_is_refused_in_one_line(transform, message):
    with pytest.raises(InputError, match=message) as caught:
        next(iter(digits(transform).train_dataloader()))
    one_line(caught)
