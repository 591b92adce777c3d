import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from lightning import seed_everything
from PIL import Image

import resnet_lightning
from data_modules import batches, indices_of, one_line
from image_files import random_pixels
from resnet_lightning import (
    Augmentation,
    CIFAR10DataModule,
    DigitsDataModule,
    ImageDataModule,
    InputError,
    MNISTDataModule,
)
from resnet_lightning.data.splits import classes_in_words

# The digits, and what all data modules share.


def embedded_digits():
    file = files(resnet_lightning) / "data" / "datasets" / "embedded" / "digits.npz"
    with file.open("rb") as opened, np.load(opened) as arrays:
        return arrays["images"], arrays["labels"].tolist()


def test_digits_equal_those_of_scikit_learn():
    images, labels = embedded_digits()
    assert images.shape == (1797, 8, 8)
    # As scikit-learn's documentation shows them: the first labels, and the first rows of the first image, 0 to 16.
    assert labels[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    rows = np.array([[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]])
    assert (images[0, :2] == np.round(rows * 255 / 16)).all()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_test_set_of_the_digits_is_every_fifth_of_each_class():
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
    assert indices_of(data, "test") == list(range(355))


def test_validation_takes_the_same_share_of_each_class():
    val_split = 0.25
    data = DigitsDataModule(val_split=val_split)
    train, val = data.split("train"), data.split("val")
    assert sorted(indices_of(data, "train") + indices_of(data, "val")) == list(range(1442))
    assert train.images is val.images
    for label in range(10):
        held_out = int((val.targets[val.indices] == label).sum())
        assert held_out == round(val_split * int((train.targets == label).sum()))


def test_only_split_seed_decides_which_images_are_held_out():
    def held_out(split_seed):
        return indices_of(DigitsDataModule(split_seed=split_seed), "val")

    first = held_out(0)
    assert held_out(0) == first
    assert set(held_out(1)) != set(first)
    seed_everything(77, verbose=False)
    assert held_out(0) == first


def training_order(data):
    return [index for batch in data.raw_loader("train") for index in batch.indices.tolist()]


def test_only_seed_everything_decides_the_training_order():
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


def test_without_a_validation_split_all_images_are_trained_on():
    data = DigitsDataModule(val_split=0)
    data.setup("fit")
    assert sorted(indices_of(data, "train")) == list(range(1442))
    assert data.val_dataloader() == []


def test_a_subset_of_classes_is_numbered_in_the_given_order():
    data, whole = DigitsDataModule(classes=["7", 1, "3"]), DigitsDataModule()
    assert data.class_names == ("7", "1", "3")
    assert data.num_classes == 3
    for name in ("train", "test"):
        found, source = data.split(name), whole.split(name)
        kept = [number for number, label in enumerate(source.targets.tolist()) if label in (7, 1, 3)]
        assert torch.equal(found.images, source.images[kept])
        assert found.targets.tolist() == [{7: 0, 1: 1, 3: 2}[label] for label in source.targets[kept].tolist()]
    assert sorted(indices_of(data, "train") + indices_of(data, "val")) == list(range(len(data.split("train").images)))


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
def test_invalid_classes_are_named(classes, message):
    with pytest.raises(InputError, match=message):
        DigitsDataModule(classes=classes)


def test_statistics_are_measured_on_the_training_images():
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
    raw = next(iter(data.raw_loader("test")))
    images, targets = data.finish(raw)
    torch.testing.assert_close(images, (raw.images / 255 - 0.25) / 0.125)
    assert torch.equal(targets, raw.targets)

    half = DigitsDataModule(mean=[0.25])
    assert half.statistics()[0].tolist() == [0.25]
    assert torch.equal(half.statistics()[1], DigitsDataModule().statistics()[1])


# A crop is cut while the batch is gathered, unless another step comes before it.
crops = pytest.mark.parametrize("augment", [Augmentation(crop=3), Augmentation(rotate=5, crop=3)], ids=["crop", "both"])


@crops
def test_only_training_batches_are_augmented(augment):
    data = DigitsDataModule(augment=augment, mean=[0.0], std=[1.0], batch_size=64)
    pixels = data.split("train").images.permute(0, 3, 1, 2).float()
    for loader, changed in ((data.raw_loader("train"), True), (data.raw_loader("val"), False)):
        raw = next(iter(loader))
        images, _ = data.finish(raw)
        assert torch.allclose(images * 255, pixels[raw.indices], atol=1e-3) != changed


@crops
def test_augmentation_is_drawn_again_for_each_epoch_and_seed(monkeypatch, augment):
    def augmented(epoch):
        """The augmented images, by index."""
        data, found = DigitsDataModule(augment=augment), {}
        for raw in replace(data.raw_loader("train"), epoch=lambda: epoch):
            found |= dict(zip(raw.indices.tolist(), data.finish(raw)[0], strict=True))
        return found

    def share_of_equal_images(other):
        both = set(first) & set(other)
        assert len(both) > 1000
        return sum(torch.equal(first[number], other[number]) for number in both) / len(both)

    first = augmented(0)
    assert share_of_equal_images(augmented(0)) == 1
    assert share_of_equal_images(augmented(1)) < 0.1  # one crop in 49 is the same
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert share_of_equal_images(augmented(0)) < 0.1


def test_state_dict_carries_the_statistics():
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
def test_statistics_of_a_state_dict_replace_known_and_measured_ones(make):
    trained = make(mean=[0.5], std=[0.25])
    later, pixels = make(), torch.tensor([0.0, 127.5, 255.0]).view(1, 1, 1, 3)
    assert later.normalize(pixels).flatten().tolist() != pytest.approx([-2, 0, 2], abs=1e-6)
    later.load_state_dict(trained.state_dict())
    assert [values.tolist() for values in later.statistics()] == [[0.5], [0.25]]
    assert later.normalize(pixels).flatten().tolist() == pytest.approx([-2, 0, 2], abs=1e-6)


def test_state_dict_of_other_classes_is_refused():
    with pytest.raises(InputError, match="the checkpoint was trained on the classes 3, 5, but this data set has 5, 3"):
        DigitsDataModule(classes=[5, 3]).load_state_dict(DigitsDataModule(classes=[3, 5]).state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size is 0; a batch has at least one image"),
        ({"val_split": -0.1}, "data.val_split is -0.1; give a share from 0 up to, but not including, 1"),
        ({"val_split": 1.0}, "data.val_split is 1.0;"),
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
        ({"mean": [float("nan")]}, r"data.mean is \[nan\]; give finite numbers"),
        ({"resident": "gpu"}, "data.resident is 'gpu'; give auto, cpu, device or false"),
        ({"std": [0.1, 0.2]}, "data.std has 2 values; these images have 1 channels"),
        ({"std": [0]}, r"data.std is \[0\]; a standard deviation is larger than 0"),
        ({"std": [-0.5]}, r"data.std is \[-0.5\];"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DigitsDataModule(**options)


def test_one_value_stands_for_all_channels():
    data = CIFAR10DataModule(mean=[0.5], std=[0.25])
    pixels = torch.tensor([0.0, 127.5, 255.0]).view(1, 3, 1, 1)
    assert data.normalize(pixels).flatten().tolist() == pytest.approx([-2, 0, 2], abs=1e-6)
    with pytest.raises(InputError, match=r"data\.mean has 2 values; these images have 3 channels"):
        CIFAR10DataModule(mean=[0.5, 0.5])


def test_a_batch_larger_than_the_training_set_is_refused_only_in_training():
    whole = DigitsDataModule(val_split=0, batch_size=1442)
    whole.setup("fit")
    assert [len(batch.targets) for batch in whole.raw_loader("train")] == [1442]
    with pytest.raises(InputError, match=r"data\.batch_size is 1443, too large for 1442 training images"):
        DigitsDataModule(val_split=0, batch_size=1443).setup("fit")
    data = DigitsDataModule(batch_size=10_000)
    data.setup("test")
    (batch,) = data.raw_loader("test")
    assert len(batch.targets) == 355


def test_a_data_module_can_be_printed():
    assert str(DigitsDataModule())


def test_prediction_uses_the_test_images_and_numbers_them():
    data = DigitsDataModule(batch_size=100)
    data.setup("predict")
    found = batches(data, data.predict_dataloader())
    assert torch.cat([numbers for _, numbers in found]).tolist() == list(range(355))
    tested = batches(data, data.test_dataloader())
    assert torch.equal(torch.cat([x for x, _ in found]), torch.cat([x for x, _ in tested]))


# Cross-validation, and fewer images.


@pytest.mark.parametrize("num_folds", [2, 7])
def test_folds_validate_on_each_training_image_once(num_folds):
    folds = [DigitsDataModule(num_folds=num_folds, fold=fold) for fold in range(num_folds)]
    for data in folds:
        assert data.validates
        assert sorted(indices_of(data, "train") + indices_of(data, "val")) == list(range(1442))
        assert indices_of(data, "test") == list(range(355))
    parts = [indices_of(data, "val") for data in folds]
    assert sorted(number for part in parts for number in part) == list(range(1442))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    labels = folds[0].split("train").targets
    for label in range(10):
        of_class = [int((labels[part] == label).sum()) for part in parts]
        assert max(of_class) - min(of_class) <= 1


def test_folds_replace_the_validation_share():
    data = DigitsDataModule(num_folds=4, val_split=0)
    assert data.validates
    assert len(data.split("val")) == 361
    assert sum(len(targets) for _, targets in data.val_dataloader()) == 361
    assert indices_of(DigitsDataModule(num_folds=4, val_split=0.1), "val") == indices_of(data, "val")


def test_only_split_seed_decides_the_folds():
    first = indices_of(DigitsDataModule(num_folds=5, fold=1), "val")
    seed_everything(77, verbose=False)
    assert indices_of(DigitsDataModule(num_folds=5, fold=1), "val") == first
    assert indices_of(DigitsDataModule(num_folds=5, fold=1, split_seed=1), "val") != first


def test_validates():
    assert DigitsDataModule().validates
    assert not DigitsDataModule(val_split=0).validates
    assert DigitsDataModule(val_split=0, num_folds=2).validates


def test_every_training_image_can_be_its_own_fold():
    data = DigitsDataModule(num_folds=1442, fold=1441)
    assert (len(data.split("train")), len(data.split("val"))) == (1441, 1)
    with pytest.raises(InputError, match=r"data\.num_folds is 1443, but there are only 1442 training images"):
        DigitsDataModule(num_folds=1443).setup("fit")


def test_a_fraction_trains_on_a_share_of_each_class_and_keeps_the_other_splits():
    whole = DigitsDataModule()
    labels = whole.split("train").targets
    larger = indices_of(whole, "train")
    of_class = labels[larger].bincount().tolist()
    for share in (0.5, 0.1, 0.03, 0.001):
        data = DigitsDataModule(train_fraction=share)
        smaller = indices_of(data, "train")
        assert set(smaller) < set(larger)
        assert labels[smaller].bincount().tolist() == [max(round(share * size), 1) for size in of_class]
        for name in ("val", "test"):
            assert indices_of(data, name) == indices_of(whole, name)
        larger = smaller


def test_a_fraction_is_a_share_of_the_images_outside_the_fold():
    whole, data = (DigitsDataModule(num_folds=5, fold=2, train_fraction=share) for share in (1.0, 0.25))
    assert set(indices_of(data, "train")) < set(indices_of(whole, "train"))
    assert len(data.split("train")) == pytest.approx(0.25 * len(whole.split("train")), abs=5)
    assert indices_of(data, "val") == indices_of(whole, "val")


# Requirements of the augmentations.


@pytest.mark.parametrize(
    ("make", "augment"),
    [(DigitsDataModule, Augmentation(hue=0.1)), (MNISTDataModule, Augmentation(saturation=0.5))],
    ids=["hue", "saturation"],
)
def test_color_changes_of_grayscale_images_are_refused(make, augment):
    with pytest.raises(InputError, match=r"augment\.saturation and augment\.hue change colours, and these images are"):
        make(augment=augment)
    assert CIFAR10DataModule(augment=augment).augment == augment


def test_a_reflecting_crop_is_smaller_than_the_images():
    assert DigitsDataModule(augment=Augmentation(crop=7, pad="reflect")).augment.crop == 7
    with pytest.raises(
        InputError, match=r"augment\.crop is 8; with reflect padding, give less than the image's side of 8"
    ):
        DigitsDataModule(augment=Augmentation(crop=8, pad="reflect"))


def test_mixing_makes_training_targets_probabilities():
    data = DigitsDataModule(augment=Augmentation(mixup=0.4, cutmix=1.0), batch_size=31)
    for raw in data.raw_loader("train"):
        images, targets = data.finish(raw)
        assert images.shape == (31, 1, 8, 8)
        assert images.dtype == targets.dtype == torch.float32
        assert targets.shape == (31, 10)
        torch.testing.assert_close(targets.sum(1), torch.ones(31))
        own, other = raw.targets[:31], raw.targets[raw.others]
        allowed = torch.nn.functional.one_hot(own, 10) + torch.nn.functional.one_hot(other, 10)
        assert (targets[allowed == 0] == 0).all()
    for loader in (data.raw_loader("val"), data.raw_loader("test")):
        for raw in loader:
            images, targets = data.finish(raw)
            assert raw.others is None
            assert len(images) == len(targets)
            assert targets.dtype == torch.int64


def test_the_batch_size_does_not_change_how_an_image_is_mixed():
    def mixed(batch_size):
        data = DigitsDataModule(augment=Augmentation(mixup=0.4, cutmix=1.0, crop=1), batch_size=batch_size)
        found = {}
        for raw in data.raw_loader("train"):
            for number, *pair in zip(raw.indices.tolist(), *data.finish(raw), strict=False):
                found[number] = pair
        return found

    first, second = mixed(7), mixed(50)
    both = set(first) & set(second)
    assert len(both) > 1200
    for number in both:
        for one, other in zip(first[number], second[number], strict=True):
            torch.testing.assert_close(one, other)


# A user's own data set.


class Squares(ImageDataModule):
    """The shortest data module: constant images of two classes."""

    class_names = ("dark", "bright")
    labels = (0, 1, 1, 0, 0)

    def read(self, part):
        values = np.array([10, 200, 210, 20, 30], np.uint8)
        return np.tile(values[:, None, None, None], (1, 4, 4, 3)), np.array(self.labels)


def test_a_subclass_needs_only_classes_and_arrays():
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
    [((0, 1, 2, 0, 0), "from 0 to 2"), ((0, 1, -1, 0, 0), "from -1 to 1")],
)
def test_labels_outside_the_classes_are_refused(monkeypatch, labels, named):
    monkeypatch.setattr(Squares, "labels", labels)
    with pytest.raises(InputError, match=rf"the train images have labels .*{named}, but there are 2 classes"):
        Squares().setup("fit")


PIXELS, LABELS = np.zeros((4, 4, 4, 3), np.uint8), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (PIXELS, r"returned \(4, 4, 4, 3\) uint8; expected"),
        ((PIXELS, LABELS, LABELS), r"returned as a tuple of 3 \(ndarray\); "),
        ((PIXELS / 255, LABELS), r"images \(4, 4, 4, 3\) float64 and .* multiply by 255 and round; .* to uint8$"),
        ((PIXELS.astype(int), LABELS), r"images \(4, 4, 4, 3\) int64 and labels \(4,\) int64; "),
        ((PIXELS.transpose(0, 3, 1, 2), LABELS), r"images \(4, 3, 4, 4\) uint8 .*; move the channels last"),
        ((PIXELS[..., 0], LABELS), r"images \(4, 4, 4\) uint8 .*; in_chans is 3: set it to"),
        ((PIXELS[..., :1], LABELS), r"images \(4, 4, 4, 1\) uint8 .*; in_chans is 3: set it to"),
        ((list("abcd"), LABELS), r"images as a list of 4 \(str\) and labels \(4,\) int64; "),
        ((PIXELS, LABELS / 2), r"labels \(4,\) float64; .*; number the classes in the order of class_names"),
        ((PIXELS, ["a", "b", "a", "b"]), r"labels as a list of 4 \(str\); .*; number the classes"),
        ((PIXELS, np.eye(4, dtype=int)), r"labels \(4, 4\) int64; .*; of one-hot labels, give the argmax\(1\)$"),
        ((None, LABELS), r"images of type NoneType and labels \(4,\) int64; "),
    ],
)
def test_what_a_data_set_returns_is_checked(monkeypatch, result, found):
    expected = r"expected images \(N, H, W, 3\) uint8 and labels \(N,\) of whole numbers from 0 to 1"
    monkeypatch.setattr(Squares, "read", lambda self, part: result)
    with pytest.raises(InputError, match=rf"^Squares\.read\('train'\) returned .*{expected}") as caught:
        Squares().setup("fit")
    assert re.search(found, one_line(caught))


def test_images_of_another_size_than_stated_are_refused(monkeypatch):
    monkeypatch.setattr(Squares, "image_size", 8)
    with pytest.raises(InputError, match=r"images \(5, 4, 4, 3\) uint8 .*\(N, 8, 8, 3\) .*; image_size is 8$"):
        Squares().setup("fit")


@pytest.mark.parametrize(
    "labels", [[0, 1, 1, 0, 0], np.array([0, 1, 1, 0, 0], np.uint8), [False, True, True] + 2 * [False]]
)
def test_labels_of_any_whole_numbers_are_taken(monkeypatch, labels):
    monkeypatch.setattr(Squares, "labels", labels)
    assert Squares().split("train").targets.tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ab", "the class names of Squares are 'ab'; give a list of different strings, one for each label"),
        (("a", 1), "class 1 of Squares is 1; give a list"),
        (["a", "b", "a"], "Squares has two classes 'a'; give a list"),
        ((), "Squares has no class names; give a list"),
    ],
)
def test_class_names_are_checked(monkeypatch, names, message):
    monkeypatch.setattr(Squares, "class_names", names)
    with pytest.raises(InputError, match=message):
        Squares()


def test_a_data_module_in_words():
    assert DigitsDataModule().in_words() == (
        "10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9); train 1,299, val 143, test 355 images"
    )
    assert DigitsDataModule(classes=[3, 5], val_split=0).in_words() == "2 classes (3, 5); train 293, test 72 images"
    names = [f"n{number:08}" for number in range(1000)]
    assert classes_in_words(names) == "1000 classes (n00000000, n00000001, n00000002, ..., n00000999)"
    assert classes_in_words(["a" * 100, "b", "c"]) == f"3 classes ({'a' * 17}..., b, c)"


@pytest.mark.parametrize("labels", [(0, 1, 1, 0), (0, 1, 1, 0, 0, 1)])
def test_another_number_of_labels_than_of_images_is_refused(monkeypatch, labels):
    monkeypatch.setattr(Squares, "labels", labels)
    with pytest.raises(InputError, match="labels"):
        Squares(val_split=0, batch_size=1).setup("fit")


def test_a_channel_of_one_value_is_normalized_to_finite_numbers(monkeypatch):
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


# Prediction of a folder.


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


def test_predicted_images_have_the_size_and_channels_of_the_data_set(tmp_path):
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
