"""``data.sampling: balanced``: as many images of each class in an epoch."""

from collections import Counter

import pytest
import torch
from PIL import Image

from resnet_lightning import Augmentation, DigitsDataModule, ImageFolderDataModule
from resnet_lightning.data import BatchLoader, Order
from resnet_lightning.errors import InputError

# 60 images of class 0, 30 of class 1, 3 of class 3, none of class 2; the data set has 100 images.
CLASSES = torch.tensor([0] * 64 + [1] * 32 + [3] * 4)
INDICES = torch.tensor([*range(60), *range(64, 94), *range(96, 99)])


def order(seed=0, **options):
    return Order(INDICES, 10, seed=seed, classes=CLASSES, **options)


def test_each_class_is_taken_equally_often():
    for epoch in range(5):
        taken = order().of(epoch)
        assert len(taken) == 93
        numbers = taken % 100
        assert set(numbers.tolist()) <= set(INDICES.tolist())
        assert Counter(CLASSES[numbers].tolist()) == {0: 31, 1: 31, 3: 31}


def test_what_does_not_divide_evenly_goes_to_classes_at_random():
    larger = set()
    for epoch in range(20):
        counts = Counter(CLASSES[Order(INDICES[:-1], 10, seed=0, classes=CLASSES).of(epoch) % 100].tolist())
        assert sorted(counts.values()) == [30, 31, 31]
        larger.add(min(counts, key=counts.get))
    assert larger == {0, 1, 3}


def test_images_of_a_class_are_repeated_equally_often_with_other_numbers():
    taken = order().of(3)
    assert len(set(taken.tolist())) == 93
    repeats = Counter((taken % 100).tolist())
    assert sorted(repeats[image] for image in (96, 97, 98)) == [10, 10, 11]
    assert sorted(repeats[image] for image in range(64, 94)) == [1] * 29 + [2]
    assert all(repeats[image] == 1 for image in range(60) if image in repeats)
    assert sorted(taken[taken % 100 == 96].tolist())[:3] == [96, 196, 296]


def test_every_image_of_a_large_class_is_trained_on_in_time():
    seen = {int(number) % 100 for epoch in range(12) for number in order().of(epoch)}
    assert seen == set(INDICES.tolist())


def test_it_is_a_function_of_seed_and_epoch_and_processes_share_it():
    assert torch.equal(order().of(2), order().of(2))
    assert not torch.equal(order().of(2), order().of(3))
    assert not torch.equal(order().of(2), order(seed=1).of(2))
    whole = [step.indices for step in Order(INDICES, 20, seed=0, classes=CLASSES).steps(2)]
    of_two = [list(order(rank=rank, world_size=2).steps(2)) for rank in range(2)]
    assert [torch.cat((a.indices, b.indices)).tolist() for a, b in zip(*of_two, strict=True)] == [
        indices.tolist() for indices in whole
    ]
    assert [step.indices.tolist() for step in order().steps(2, 4)] == [
        step.indices.tolist() for step in list(order().steps(2))[4:]
    ]


def test_batches_have_the_pixels_and_labels_of_repeated_images():
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 4, 4, 1).contiguous()
    loader = BatchLoader(images, CLASSES, order()).cropping(Augmentation(crop=1, flip=True, pad="reflect"), 0, 1)
    for batch in loader:
        numbers = batch.indices % 100
        assert torch.equal(batch.targets, CLASSES[numbers])
        assert torch.equal(batch.images[:, 0, 0, 0].long(), numbers)


def uneven(tmp_path, **options):
    """A folder of 18 images of cats and 6 of dogs for training, each of one grey value of its own."""
    for part, counts in (("train", {"cat": 18, "dog": 6}), ("test", {"cat": 2, "dog": 2})):
        for name, count in counts.items():
            folder = tmp_path / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                value = 10 * number + (5 if name == "dog" else 0)
                Image.new("RGB", (8, 8), (value, value, value)).save(folder / f"{number:02}.png")
    return ImageFolderDataModule(tmp_path, image_size=8, batch_size=6, val_split=0.0, sampling="balanced", **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_streamed_and_resident_images_are_the_same(tmp_path, workers):
    options = {"augment": Augmentation(crop=2, flip=True, brightness=0.4, mixup=0.5), "mean": [0] * 3, "std": [1] * 3}
    batches = {}
    for resident in "cpu", False:
        data = uneven(tmp_path, resident=resident, num_workers=workers, **options)
        data.setup("fit")
        batches[resident] = list(data.device_loader("train", torch.device("cpu")))
    assert len(batches["cpu"]) == 4
    for (images, targets), (same, same_targets) in zip(*batches.values(), strict=True):
        torch.testing.assert_close(images, same)
        assert torch.equal(targets, same_targets)
    assert torch.cat([targets for _, targets in batches["cpu"]]).sum(0).tolist() == pytest.approx([12, 12], abs=2)


def test_repeats_are_augmented_differently(tmp_path):
    data = uneven(tmp_path, augment=Augmentation(brightness=0.3), mean=[0] * 3, std=[1 / 255] * 3)
    data.setup("fit")
    values = [
        round(float(image.mean()), 3) for images, targets in data.train_dataloader() for image in images[targets == 1]
    ]
    assert len(values) == 12
    assert len(set(values)) == 12


def test_evaluation_and_the_numbers_of_images_stay_as_they_are(tmp_path):
    data = uneven(tmp_path)
    data.setup()
    assert sum(len(targets) for _, targets in data.test_dataloader()) == 4
    assert all(number < 24 for step in range(4) for number in data.training_indices(1, step))
    assert data.class_counts.tolist() == [18, 6]


def test_a_wrong_value_is_rejected():
    with pytest.raises(InputError, match=r"data.sampling is 'even'; give balanced, or null for every image once"):
        DigitsDataModule(sampling="even")
