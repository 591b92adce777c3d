import shutil
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import seed_everything
from PIL import Image
from torchvision import datasets

import resnet_lightning
from data_sets import write_cifar, write_mnist
from image_files import random_pixels
from repository import ROOT
from resnet_lightning import (
    Augmentation,
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    ImageDataModule,
    InputError,
    KMNISTDataModule,
    MNISTDataModule,
)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def indices(data, name):
    return data.split(name).indices.tolist()


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def batches(data, loader):
    return [data.on_after_batch_transfer(batch) for batch in loader]


# Digits: what every data module does.


def embedded_digits():
    file = files(resnet_lightning) / "data" / "datasets" / "embedded" / "digits.npz"
    with file.open("rb") as opened, np.load(opened) as arrays:
        return arrays["images"], arrays["labels"].tolist()


def test_digits_are_those_of_the_source():
    images, labels = embedded_digits()
    assert images.shape == (1797, 8, 8)
    # As scikit-learn's documentation shows them: the first labels, and the first rows of the first image, 0 to 16.
    assert labels[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    rows = np.array([[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]])
    assert (images[0, :2] == np.round(rows * 255 / 16)).all()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_test_set_is_every_fifth_of_each_class():
    images, labels = embedded_digits()
    seen, test, training = [0] * 10, [], []
    for number, label in enumerate(labels):
        seen[label] += 1
        (test if seen[label] % 5 == 0 else training).append(number)
    assert len(test) == 355

    data = DigitsDataModule()
    for name, numbers in (("test", test), ("train", training)):
        split = data.split(name)
        assert split.images.shape == (len(numbers), 8, 8, 1)
        assert split.images.dtype == torch.uint8
        assert (split.images[..., 0].numpy() == images[numbers]).all()
        assert split.targets.tolist() == [labels[number] for number in numbers]
    assert indices(data, "test") == list(range(355))


@pytest.mark.parametrize("val_split", [0.1, 0.25, 0.5])
def test_validation_takes_the_same_share_of_each_class(val_split):
    data = DigitsDataModule(val_split=val_split)
    train, val = data.split("train"), data.split("val")
    assert sorted(indices(data, "train") + indices(data, "val")) == list(range(1442))
    assert train.images is val.images
    for label in range(10):
        held_out = int((val.targets[val.indices] == label).sum())
        assert held_out == round(val_split * int((train.targets == label).sum()))


def test_split_seed_alone_decides_which_images_are_held_out():
    def held_out(split_seed):
        return indices(DigitsDataModule(split_seed=split_seed), "val")

    first = held_out(0)
    assert held_out(0) == first
    assert set(held_out(1)) != set(first)
    seed_everything(77, verbose=False)
    assert held_out(0) == first


def training_order(data):
    return [index for batch in data.train_dataloader() for index in batch.indices.tolist()]


def test_seed_everything_alone_decides_the_training_order():
    first = training_order(DigitsDataModule())
    torch.manual_seed(5)
    assert training_order(DigitsDataModule()) == first
    orders = {}
    for seed in (0, 1, 2):
        seed_everything(seed, verbose=False)
        orders[seed] = training_order(DigitsDataModule())
        assert training_order(DigitsDataModule()) == orders[seed]
    assert orders[0] == first
    assert orders[1] != orders[0]
    assert orders[2] != orders[1]


def test_no_validation_split_trains_on_everything():
    data = DigitsDataModule(val_split=0)
    data.setup("fit")
    assert sorted(indices(data, "train")) == list(range(1442))
    assert data.val_dataloader() == []


@pytest.mark.parametrize("classes", [["7", "1", "3"], [7, 1, 3], ["7", 1, "3"]])
def test_a_subset_of_classes_is_numbered_in_the_order_given(classes):
    data, whole = DigitsDataModule(classes=classes), DigitsDataModule()
    assert data.class_names == ("7", "1", "3")
    assert data.num_classes == 3
    for name in ("train", "test"):
        found, source = data.split(name), whole.split(name)
        kept = [number for number, label in enumerate(source.targets.tolist()) if label in (7, 1, 3)]
        assert torch.equal(found.images, source.images[kept])
        assert found.targets.tolist() == [{7: 0, 1: 1, 3: 2}[label] for label in source.targets[kept].tolist()]
    assert sorted(indices(data, "train") + indices(data, "val")) == list(range(len(data.split("train").images)))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["1", "11"], r"unknown class '11' in data.classes; did you mean '1'\?"),
        (["1", "cat"], r"unknown class 'cat' in data.classes; known: 0, 1, 2, 3"),
        ([3], r"data.classes is \['3'\]; name at least two classes, each once"),
        ([], r"data.classes is \[\]; name at least two classes"),
        ([3, 4, "3"], r"data.classes is \['3', '4', '3'\]; name at least two classes, each once"),
    ],
)
def test_wrong_classes_are_named(classes, message):
    with pytest.raises(InputError, match=message):
        DigitsDataModule(classes=classes)


def test_measured_statistics_are_those_of_the_training_images():
    for options in ({}, {"val_split": 0.4}, {"classes": [1, 2]}):
        data = DigitsDataModule(**options)
        split = data.split("train")
        pixels = split.images.numpy()[split.indices.numpy()].astype(np.float64) / 255
        mean, std = data.statistics()
        assert mean.tolist() == pytest.approx([pixels.mean()], rel=1e-6)
        assert std.tolist() == pytest.approx([pixels.std()], rel=1e-6)


def test_training_batches_have_mean_0_and_standard_deviation_1():
    data = DigitsDataModule(val_split=0, batch_size=103)  # 14 full batches
    found = batches(data, data.train_dataloader())
    images = torch.cat([images for images, _ in found])
    assert images.shape == (1442, 1, 8, 8)
    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_given_statistics_are_used():
    data = DigitsDataModule(mean=[0.25], std=[0.125])
    assert [values.tolist() for values in data.statistics()] == [[0.25], [0.125]]
    raw = next(iter(data.test_dataloader()))
    images, targets = data.on_after_batch_transfer(raw)
    torch.testing.assert_close(images, (raw.images / 255 - 0.25) / 0.125)
    assert torch.equal(targets, raw.targets)

    half = DigitsDataModule(mean=[0.25])
    assert half.statistics()[0].tolist() == [0.25]
    assert torch.equal(half.statistics()[1], DigitsDataModule().statistics()[1])


# A crop is made while the images are gathered, unless something else comes before it.
crops = pytest.mark.parametrize("augment", [Augmentation(crop=3), Augmentation(rotate=5, crop=3)], ids=["crop", "both"])


@crops
def test_training_batches_alone_are_augmented(augment):
    data = DigitsDataModule(augment=augment, mean=[0.0], std=[1.0], batch_size=64)
    pixels = data.split("train").images.permute(0, 3, 1, 2).float()
    for loader, changed in ((data.train_dataloader(), True), (data.val_dataloader(), False)):
        raw = next(iter(loader))
        images, _ = data.on_after_batch_transfer(raw)
        assert torch.allclose(images * 255, pixels[raw.indices], atol=1e-3) != changed


@crops
def test_augmentation_is_drawn_anew_for_each_epoch_and_seed(monkeypatch, augment):
    def augmented(epoch):
        """What becomes of each image."""
        data, found = DigitsDataModule(augment=augment), {}
        for raw in replace(data.train_dataloader(), epoch=lambda: epoch):
            found |= dict(zip(raw.indices.tolist(), data.on_after_batch_transfer(raw)[0], strict=True))
        return found

    def share_of_the_same(other):
        both = set(first) & set(other)
        assert len(both) > 1000
        return sum(torch.equal(first[number], other[number]) for number in both) / len(both)

    first = augmented(0)
    assert share_of_the_same(augmented(0)) == 1
    assert share_of_the_same(augmented(1)) < 0.1  # one crop in 49 is the same
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert share_of_the_same(augmented(0)) < 0.1


def test_state_dict_carries_the_statistics_over():
    trained = DigitsDataModule(classes=[3, 5], val_split=0.4)
    state = trained.state_dict()
    assert state["class_names"] == ["3", "5"]
    later = DigitsDataModule(classes=[3, 5])
    assert not torch.equal(later.statistics()[0], trained.statistics()[0])

    later = DigitsDataModule(classes=[3, 5])
    later.load_state_dict(state)
    assert [values.tolist() for values in later.statistics()] == [values.tolist() for values in trained.statistics()]

    given = DigitsDataModule(classes=[3, 5], mean=[0.5], std=[0.5])
    given.load_state_dict(state)
    assert [values.tolist() for values in given.statistics()] == [[0.5], [0.5]]


@pytest.mark.parametrize("make", [MNISTDataModule, DigitsDataModule], ids=["known", "measured"])
def test_statistics_of_a_state_dict_replace_those_that_were_not_given(make):
    trained = make(mean=[0.5], std=[0.25])
    later = make()
    later.statistics()
    later.load_state_dict(trained.state_dict())
    assert [values.tolist() for values in later.statistics()] == [[0.5], [0.25]]


def test_state_dict_of_other_classes_is_refused():
    with pytest.raises(InputError, match="the checkpoint was trained on the classes 3, 5, but this data set has 5, 3"):
        DigitsDataModule(classes=[5, 3]).load_state_dict(DigitsDataModule(classes=[3, 5]).state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size is 0; a batch has at least one image"),
        ({"batch_size": -5}, "data.batch_size is -5;"),
        ({"val_split": -0.1}, "data.val_split is -0.1; give a share from 0 up to, but not including, 1"),
        ({"val_split": 1.0}, "data.val_split is 1.0;"),
        ({"val_split": 1.5}, "data.val_split is 1.5;"),
        ({"num_folds": 1}, "data.num_folds is 1; give at least 2, or 0 for no cross-validation"),
        ({"num_folds": -2}, "data.num_folds is -2;"),
        ({"num_folds": 5, "fold": 5}, "data.fold is 5; there are the folds 0 to 4"),
        ({"num_folds": 5, "fold": -1}, "data.fold is -1; there are the folds 0 to 4"),
        ({"fold": 1}, "data.fold is 1; it needs data.num_folds"),
        ({"train_fraction": 0}, "data.train_fraction is 0; give a share larger than 0 and up to 1"),
        ({"train_fraction": 1.5}, "data.train_fraction is 1.5;"),
        (
            {"resident": False},
            "data.resident is false, but DigitsDataModule has no files to read one by one; give auto",
        ),
        ({"mean": [0.1, 0.2, 0.3]}, "data.mean has 3 values; these images have 1 channels"),
        ({"mean": []}, "data.mean has 0 values;"),
        ({"std": [0.1, 0.2]}, "data.std has 2 values; these images have 1 channels"),
        ({"std": [0]}, r"data.std is \[0\]; a standard deviation is larger than 0"),
        ({"std": [-0.5]}, r"data.std is \[-0.5\];"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DigitsDataModule(**options)


def test_one_value_stands_for_all_channels_and_two_do_not():
    data = CIFAR10DataModule(mean=[0.5], std=[0.25])
    pixels = torch.tensor([0.0, 127.5, 255.0]).view(1, 3, 1, 1)
    assert data.normalize(pixels).flatten().tolist() == pytest.approx([-2, 0, 2], abs=1e-6)
    with pytest.raises(InputError, match=r"data\.mean has 2 values; these images have 3 channels"):
        CIFAR10DataModule(mean=[0.5, 0.5])


def test_a_batch_larger_than_the_training_set_is_refused_in_training_alone():
    whole = DigitsDataModule(val_split=0, batch_size=1442)
    whole.setup("fit")
    assert [len(batch.targets) for batch in whole.train_dataloader()] == [1442]
    with pytest.raises(InputError, match=r"data\.batch_size is 1443, too large for 1442 training images"):
        DigitsDataModule(val_split=0, batch_size=1443).setup("fit")
    data = DigitsDataModule(batch_size=10_000)
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert len(batch.targets) == 355


def test_a_data_module_can_be_printed():
    assert str(DigitsDataModule())


def test_prediction_takes_the_test_images_and_numbers_them():
    data = DigitsDataModule(batch_size=100)
    data.setup("predict")
    found = batches(data, data.predict_dataloader())
    assert torch.cat([numbers for _, numbers in found]).tolist() == list(range(355))
    tested = batches(data, data.test_dataloader())
    assert torch.equal(torch.cat([x for x, _ in found]), torch.cat([x for x, _ in tested]))


# Cross-validation, and fewer images.


@pytest.mark.parametrize("num_folds", [2, 5, 7])
def test_folds_validate_on_each_training_image_once(num_folds):
    folds = [DigitsDataModule(num_folds=num_folds, fold=fold) for fold in range(num_folds)]
    for data in folds:
        assert data.validates
        assert sorted(indices(data, "train") + indices(data, "val")) == list(range(1442))
        assert indices(data, "test") == list(range(355))
    parts = [indices(data, "val") for data in folds]
    assert sorted(number for part in parts for number in part) == list(range(1442))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    labels = folds[0].split("train").targets
    for label in range(10):
        of_class = [int((labels[part] == label).sum()) for part in parts]
        assert max(of_class) - min(of_class) <= 1


def test_folds_take_the_place_of_the_validation_share():
    data = DigitsDataModule(num_folds=4, val_split=0)
    assert data.validates
    assert len(data.split("val")) == 361
    assert sum(len(batch.targets) for batch in data.val_dataloader()) == 361
    assert indices(DigitsDataModule(num_folds=4, val_split=0.1), "val") == indices(data, "val")


def test_split_seed_alone_decides_the_folds():
    first = indices(DigitsDataModule(num_folds=5, fold=1), "val")
    seed_everything(77, verbose=False)
    assert indices(DigitsDataModule(num_folds=5, fold=1), "val") == first
    assert indices(DigitsDataModule(num_folds=5, fold=1, split_seed=1), "val") != first


def test_whether_a_data_module_validates():
    assert DigitsDataModule().validates
    assert not DigitsDataModule(val_split=0).validates
    assert DigitsDataModule(val_split=0, num_folds=2).validates


def test_every_training_image_can_be_a_fold_of_its_own():
    data = DigitsDataModule(num_folds=1442, fold=1441)
    assert (len(data.split("train")), len(data.split("val"))) == (1441, 1)
    with pytest.raises(InputError, match=r"data\.num_folds is 1443, and there are 1442 training images"):
        DigitsDataModule(num_folds=1443).setup("fit")


def test_a_fraction_trains_on_a_share_of_each_class_and_leaves_the_rest_alone():
    whole = DigitsDataModule()
    labels = whole.split("train").targets
    larger = indices(whole, "train")
    of_class = labels[larger].bincount().tolist()
    for share in (0.5, 0.1, 0.03, 0.001):
        data = DigitsDataModule(train_fraction=share)
        smaller = indices(data, "train")
        assert set(smaller) < set(larger)
        assert labels[smaller].bincount().tolist() == [max(round(share * size), 1) for size in of_class]
        for name in ("val", "test"):
            assert indices(data, name) == indices(whole, name)
        larger = smaller


def test_a_fraction_is_one_of_what_a_fold_leaves():
    whole, data = (DigitsDataModule(num_folds=5, fold=2, train_fraction=share) for share in (1.0, 0.25))
    assert set(indices(data, "train")) < set(indices(whole, "train"))
    assert len(data.split("train")) == pytest.approx(0.25 * len(whole.split("train")), abs=5)
    assert indices(data, "val") == indices(whole, "val")


# What the augmentations need.


@pytest.mark.parametrize("augment", [Augmentation(hue=0.1), Augmentation(saturation=0.5)], ids=["hue", "saturation"])
@pytest.mark.parametrize("make", [DigitsDataModule, MNISTDataModule])
def test_grey_images_have_no_colours_to_change(make, augment):
    with pytest.raises(InputError, match=r"augment\.saturation and augment\.hue change colours, and these images are"):
        make(augment=augment)
    assert CIFAR10DataModule(augment=augment).augment == augment


def test_a_mirroring_crop_is_smaller_than_the_images():
    assert DigitsDataModule(augment=Augmentation(crop=7, pad="reflect")).augment.crop == 7
    with pytest.raises(InputError, match=r"augment\.crop is 8; an image of 8 pixels cannot be mirrored so far out"):
        DigitsDataModule(augment=Augmentation(crop=8, pad="reflect"))


@pytest.mark.parametrize("mix", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=" ".join)
def test_mixing_makes_training_targets_probabilities(mix):
    data = DigitsDataModule(augment=Augmentation(**mix), batch_size=31)
    for raw in data.train_dataloader():
        images, targets = data.on_after_batch_transfer(raw)
        assert images.shape == (31, 1, 8, 8)
        assert images.dtype == targets.dtype == torch.float32
        assert targets.shape == (31, 10)
        torch.testing.assert_close(targets.sum(1), torch.ones(31))
        own, other = raw.targets[:31], raw.targets[raw.others]
        allowed = torch.nn.functional.one_hot(own, 10) + torch.nn.functional.one_hot(other, 10)
        assert (targets[allowed == 0] == 0).all()
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for raw in loader:
            images, targets = data.on_after_batch_transfer(raw)
            assert raw.others is None
            assert len(images) == len(targets)
            assert targets.dtype == torch.int64


def test_an_image_is_mixed_alike_whatever_the_batch_size():
    def mixed(batch_size):
        data = DigitsDataModule(augment=Augmentation(mixup=0.4, cutmix=1.0, crop=1), batch_size=batch_size)
        found = {}
        for raw in data.train_dataloader():
            for number, *pair in zip(raw.indices.tolist(), *data.on_after_batch_transfer(raw), strict=False):
                found[number] = pair
        return found

    first, second = mixed(7), mixed(50)
    both = set(first) & set(second)
    assert len(both) > 1200
    for number in both:
        for one, other in zip(first[number], second[number], strict=True):
            torch.testing.assert_close(one, other)


# A data set of one's own.


class Squares(ImageDataModule):
    """The shortest data module: constant images of two classes."""

    class_names = ("dark", "bright")
    labels = (0, 1, 1, 0, 0)

    def read(self, part):
        values = np.array([10, 200, 210, 20, 30], np.uint8)
        return np.tile(values[:, None, None, None], (1, 4, 4, 3)), np.array(self.labels)


def test_a_subclass_needs_classes_and_arrays_alone():
    data = Squares(val_split=0, batch_size=5)
    data.prepare_data()
    data.setup("fit")
    ((images, targets),) = batches(data, data.train_dataloader())
    assert images.shape == (5, 3, 4, 4)
    assert sorted(targets.tolist()) == [0, 0, 0, 1, 1]
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert (images.mean((1, 2, 3)) > 0).long().tolist() == targets.tolist()


@pytest.mark.parametrize(
    ("labels", "named"),
    [((0, 1, 2, 0, 0), "from 0 to 2"), ((0, 1, -1, 0, 0), "from -1 to 1"), ((1, 2, 3, 4, 5), "1 to 5")],
)
def test_labels_outside_the_classes_are_refused(monkeypatch, labels, named):
    monkeypatch.setattr(Squares, "labels", labels)
    with pytest.raises(InputError, match=rf"the train images have labels .*{named}, but there are 2 classes"):
        Squares().setup("fit")


@pytest.mark.parametrize("labels", [(0, 1, 1, 0), (0, 1, 1, 0, 0, 1)])
def test_another_number_of_labels_than_of_images_is_refused(monkeypatch, labels):
    monkeypatch.setattr(Squares, "labels", labels)
    with pytest.raises(InputError, match="labels"):
        Squares(val_split=0, batch_size=1).setup("fit")


def test_a_channel_of_one_value_is_normalised_to_finite_numbers(monkeypatch):
    images = np.zeros((4, 4, 4, 3), np.uint8)
    images[..., 0] = np.array([1, 2, 3, 4])[:, None, None]
    monkeypatch.setattr(Squares, "read", lambda self, part: (images, np.array([0, 1, 0, 1])))
    data = Squares(val_split=0, batch_size=4)
    ((found, _),) = batches(data, data.train_dataloader())
    assert found.isfinite().all()


def test_a_class_without_images_is_named(monkeypatch):
    class Three(Squares):
        class_names = ("dark", "bright", "grey", "blue")

    with pytest.raises(InputError, match="there are no train images of the classes grey, blue"):
        Three(classes=["grey", "blue"]).setup("fit")


# MNIST and the data sets of its format, from files of that format.


MNIST_LIKE = {"MNIST": MNISTDataModule, "FashionMNIST": FashionMNISTDataModule, "KMNIST": KMNISTDataModule}
MNIST_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@pytest.mark.parametrize("name", MNIST_LIKE)
def test_mnist_files_are_read_without_network(tmp_path, no_network, name):
    _, arrays = write_mnist(tmp_path, name)
    data = MNIST_LIKE[name](root=tmp_path)
    data.prepare_data()
    for part, prefix in (("train", "train"), ("test", "t10k")):
        data.setup({"train": "fit"}.get(part, part))
        images, labels = arrays[prefix]
        assert (data.split(part).images[..., 0].numpy() == images).all()
        assert data.split(part).targets.tolist() == labels.tolist()
    assert (len(data.split("train")), len(data.split("val")), len(data.split("test"))) == (360, 40, 10)


@pytest.mark.parametrize("file", MNIST_FILES)
@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-7], lambda content: content[:9], lambda content: b"", lambda content: b"<html>" * 40],
    ids=["truncated", "header alone", "empty", "web page"],
)
def test_a_damaged_mnist_file_is_named(tmp_path, no_network, file, damage):
    raw, _ = write_mnist(tmp_path)
    (raw / file).write_bytes(damage((raw / file).read_bytes()))
    data = MNISTDataModule(root=tmp_path)
    data.prepare_data()
    part = file.partition("-")[0]
    with pytest.raises(InputError, match=f"damaged.*{raw}/{part}-.*delete") as caught:
        data.setup("fit" if part == "train" else "test")
    one_line(caught)


def test_mnist_labels_of_another_part_are_refused(tmp_path, no_network):
    raw, _ = write_mnist(tmp_path)
    shutil.copy(raw / "t10k-labels-idx1-ubyte", raw / "train-labels-idx1-ubyte")
    data = MNISTDataModule(root=tmp_path, batch_size=1)
    data.prepare_data()
    with pytest.raises(InputError, match="labels"):
        data.setup("fit")


@pytest.mark.parametrize("name", MNIST_LIKE)
def test_a_failed_mnist_download_says_what_was_missing_and_what_to_do(tmp_path, no_network, name):
    with pytest.raises(InputError) as caught:
        MNIST_LIKE[name](root=tmp_path).prepare_data()
    message = one_line(caught)
    assert message.startswith(f"no {name} in '{tmp_path / name / 'raw'}' (looked for {', '.join(MNIST_FILES)})")
    assert "no network" in message
    assert "--data.root" in message
    assert "`lightning fit --config configs/digits.yaml` needs no download" in message
    assert (ROOT / "configs" / "digits.yaml").is_file()


def test_only_the_files_that_are_missing_are_named(tmp_path, no_network):
    raw, _ = write_mnist(tmp_path)
    (raw / MNIST_FILES[3]).unlink()
    with pytest.raises(InputError, match=rf"\(looked for {MNIST_FILES[3]}\)"):
        MNISTDataModule(root=tmp_path).prepare_data()


@pytest.mark.parametrize("make", [MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule, CIFAR100DataModule])
def test_missing_data_is_an_input_error_where_nothing_was_prepared(tmp_path, no_network, make):
    with pytest.raises(InputError, match=str(tmp_path)):
        make(root=tmp_path).split("train")


def test_real_mnist_has_the_published_classes(real_data):
    data = MNISTDataModule(root=real_data)
    data.prepare_data()
    whole, test = data.split("train"), data.split("test")
    per_class = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert whole.images.shape == (60_000, 28, 28, 1)
    assert whole.targets.bincount().tolist() == per_class
    assert whole.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.targets.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert test.targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert len(data.split("val")) == sum(round(0.1 * n) for n in per_class)


def test_real_mnist_measures_what_is_known_of_it(real_data):
    data = MNISTDataModule(root=real_data)
    split = data.split("train")
    pixels = split.images.numpy()[split.indices.numpy()].astype(np.float32) / 255
    mean, std = data.statistics()
    assert mean.item() == pytest.approx(pixels.mean(dtype=np.float64), abs=1e-3)
    assert std.item() == pytest.approx(pixels.std(dtype=np.float64), abs=1e-3)


# CIFAR, from an archive of its format.


def write_cifar10(root, monkeypatch):
    return write_cifar(root, monkeypatch, datasets.CIFAR10, "labels", 10)


@pytest.mark.parametrize(
    ("make", "dataset", "labels_key"),
    [(CIFAR10DataModule, datasets.CIFAR10, "labels"), (CIFAR100DataModule, datasets.CIFAR100, "fine_labels")],
)
def test_cifar_files_are_read_without_network(tmp_path, monkeypatch, no_network, make, dataset, labels_key):
    _, arrays = write_cifar(tmp_path, monkeypatch, dataset, labels_key, len(make.class_names))
    data = make(root=tmp_path, val_split=0.5, batch_size=10)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    for part, names in (("train", dataset.train_list), ("test", dataset.test_list)):
        images = np.concatenate([arrays[name][0] for name, _ in names])
        assert (data.split(part).images.numpy() == images).all()
        assert data.split(part).targets.tolist() == [label for name, _ in names for label in arrays[name][1]]
    assert len(data.split("val")) == len(data.split("train")) == len(data.split("train").images) // 2
    images, _ = batches(data, data.train_dataloader())[0]
    assert images.shape == (10, 3, 32, 32)


def test_cifar_classes_can_be_chosen(tmp_path, monkeypatch, no_network):
    _, arrays = write_cifar10(tmp_path, monkeypatch)
    data = CIFAR10DataModule(root=tmp_path, classes=["bird", "airplane"])
    images, labels = arrays["test_batch"]
    kept = [number for number, label in enumerate(labels) if label in (0, 2)]
    assert (data.split("test").images.numpy() == images[kept]).all()
    assert data.split("test").targets.tolist() == [{2: 0, 0: 1}[labels[number]] for number in kept]
    with pytest.raises(InputError, match=r"unknown class 'airplan' in data.classes; did you mean 'airplane'\?"):
        CIFAR10DataModule(classes=["airplan", "bird"])


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch"])
def test_a_damaged_cifar_file_is_named(tmp_path, monkeypatch, no_network, file):
    folder, _ = write_cifar10(tmp_path, monkeypatch)
    (folder / file).write_bytes((folder / file).read_bytes()[:-100])
    with pytest.raises(
        InputError, match=f"'{folder}/{file}' is damaged .its md5 is not .*; delete the folder"
    ) as caught:
        CIFAR10DataModule(root=tmp_path).prepare_data()
    one_line(caught)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")], ids=["missing", "empty"])
def test_a_damaged_cifar_meta_file_does_no_harm_or_is_named(tmp_path, monkeypatch, no_network, damage):
    folder, arrays = write_cifar10(tmp_path, monkeypatch)
    damage(folder / "batches.meta")
    data = CIFAR10DataModule(root=tmp_path)
    try:
        data.prepare_data()
        data.setup("test")
    except InputError as error:
        assert "batches.meta" in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert data.split("test").targets.tolist() == arrays["test_batch"][1]


def test_a_failed_cifar_download_says_what_was_missing_and_what_to_do(tmp_path, no_network):
    with pytest.raises(InputError) as caught:
        CIFAR10DataModule(root=tmp_path).prepare_data()
    message = one_line(caught)
    folder = tmp_path / "cifar-10-batches-py"
    assert message.startswith(f"no CIFAR10 in '{folder}' (looked for data_batch_1, data_batch_2, ")
    assert "no network" in message
    assert "--data.root" in message
    assert "`lightning fit --config configs/digits.yaml` needs no download" in message


# The names of classes.


def test_class_names_are_torchvisions():
    fashion = [name.lower().replace(" ", "-").removesuffix("/top") for name in datasets.FashionMNIST.classes]
    assert list(FashionMNISTDataModule.class_names) == fashion
    assert list(KMNISTDataModule.class_names) == datasets.KMNIST.classes
    assert list(MNISTDataModule.class_names) == [name[0] for name in datasets.MNIST.classes]


def test_cifar10_classes_are_in_alphabetical_order():
    names = "frog truck deer automobile bird horse ship cat dog airplane".split()
    assert list(CIFAR10DataModule.class_names) == sorted(names)


def test_cifar100_classes_are_those_of_its_twenty_superclasses():
    superclasses = """
        beaver dolphin otter seal whale / aquarium_fish flatfish ray shark trout / orchid poppy rose sunflower tulip
        / bottle bowl can cup plate / apple mushroom orange pear sweet_pepper / clock keyboard lamp telephone television
        / bed chair couch table wardrobe / bee beetle butterfly caterpillar cockroach / bear leopard lion tiger wolf
        / bridge castle house road skyscraper / cloud forest mountain plain sea
        / camel cattle chimpanzee elephant kangaroo / fox porcupine possum raccoon skunk
        / crab lobster snail spider worm / baby boy girl man woman / crocodile dinosaur lizard snake turtle
        / hamster mouse rabbit shrew squirrel
        / maple_tree oak_tree palm_tree pine_tree willow_tree / bicycle bus motorcycle pickup_truck train
        / lawn_mower rocket streetcar tank tractor
    """
    groups = [group.split() for group in superclasses.split("/")]
    assert [len(group) for group in groups] == [5] * 20
    assert list(CIFAR100DataModule.class_names) == sorted(name for group in groups for name in group)


# A folder to predict.


def test_a_folder_of_images_is_predicted_by_name(tmp_path):
    images = [random_pixels(number, 8, 8)[..., 0] for number in range(5)]
    (tmp_path / "deep").mkdir()
    names = ["a.png", "b.png", "c.png", "deep/a.png", "z.png"]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    data = DigitsDataModule(predict_folder=tmp_path, mean=[0.0], std=[1.0], batch_size=2)
    data.setup("predict")
    found = batches(data, data.predict_dataloader())
    assert [numbers.tolist() for _, numbers in found] == [[0, 1], [2, 3], [4]]
    assert data.predict_files == [tmp_path / name for name in names]
    pixels = (torch.cat([x for x, _ in found])[:, 0] * 255).round().numpy()
    assert (pixels == np.stack(images)).all()


def test_predicted_images_get_the_size_and_channels_of_the_data_set(tmp_path):
    Image.fromarray(np.full((30, 20, 3), 100, np.uint8)).save(tmp_path / "x.png")
    data = DigitsDataModule(predict_folder=str(tmp_path))
    image = data.split("predict").images.read(0)
    assert image.shape == (1, 8, 8)
    assert (image == 100).all()


def test_a_folder_without_images_to_predict_is_named(tmp_path):
    with pytest.raises(InputError, match=f"there is no image in '{tmp_path}'"):
        DigitsDataModule(predict_folder=tmp_path).setup("predict")
    with pytest.raises(InputError, match=f"there is no folder '{tmp_path}/absent'"):
        DigitsDataModule(predict_folder=tmp_path / "absent").setup("predict")
