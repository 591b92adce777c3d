import shutil
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from data_modules import batches, one_line
from data_sets import write_cifar, write_mnist
from repository import ROOT
from resnet_lightning import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    FashionMNISTDataModule,
    InputError,
    KMNISTDataModule,
    MNISTDataModule,
)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


# MNIST and the data sets in its format.


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


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (MNIST_FILES[0], lambda content: content[:-7]),
        (MNIST_FILES[1], lambda content: content[:9]),
        (MNIST_FILES[2], lambda content: b"<html>" * 40),
        (MNIST_FILES[3], lambda content: b""),
        (MNIST_FILES[3], lambda content: content[:-7]),
    ],
    ids=["truncated images", "only a header", "web page", "empty", "truncated labels"],
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
def test_a_failed_mnist_download_names_the_missing_files_and_a_remedy(tmp_path, no_network, name):
    with pytest.raises(InputError) as caught:
        MNIST_LIKE[name](root=tmp_path).prepare_data()
    message = one_line(caught)
    assert message.startswith(f"no {name} in '{tmp_path / name / 'raw'}' (looked for {', '.join(MNIST_FILES)})")
    assert "no network" in message
    assert "--data.root" in message
    assert "`lightning fit --config digits` needs no download" in message
    assert (ROOT / "configs" / "digits.yaml").is_file()


def test_only_missing_files_are_named(tmp_path, no_network):
    raw, _ = write_mnist(tmp_path)
    (raw / MNIST_FILES[3]).unlink()
    with pytest.raises(InputError, match=rf"\(looked for {MNIST_FILES[3]}\)"):
        MNISTDataModule(root=tmp_path).prepare_data()


@pytest.mark.parametrize("make", [MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule, CIFAR100DataModule])
def test_missing_data_is_an_input_error_without_prepare_data(tmp_path, no_network, make):
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


def test_the_known_statistics_of_mnist_are_those_of_the_real_images(real_data):
    data = MNISTDataModule(root=real_data)
    split = data.split("train")
    pixels = split.images.numpy()[split.indices.numpy()]
    expected = pixels.mean() / 255
    variance = np.square(pixels, dtype=np.uint16).mean() / 255**2 - expected**2
    mean, std = data.statistics()
    assert mean.item() == pytest.approx(expected, abs=1e-3)
    assert std.item() == pytest.approx(variance**0.5, abs=1e-3)


# CIFAR.


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
def test_a_damaged_cifar_meta_file_is_harmless_or_named(tmp_path, monkeypatch, no_network, damage):
    folder, arrays = write_cifar10(tmp_path, monkeypatch)
    damage(folder / "batches.meta")
    data = CIFAR10DataModule(root=tmp_path)
    try:
        data.prepare_data()
        data.setup("test")
    except InputError as error:
        assert "batches.meta" in str(error)  # noqa: PT017 (both outcomes are right)
    else:
        assert data.split("test").targets.tolist() == arrays["test_batch"][1]


def test_a_failed_cifar_download_names_the_missing_files_and_a_remedy(tmp_path, no_network):
    with pytest.raises(InputError) as caught:
        CIFAR10DataModule(root=tmp_path).prepare_data()
    message = one_line(caught)
    folder = tmp_path / "cifar-10-batches-py"
    assert message.startswith(f"no CIFAR10 in '{folder}' (looked for data_batch_1, data_batch_2, ")
    assert "no network" in message
    assert "--data.root" in message
    assert "`lightning fit --config digits` needs no download" in message


# Class names.


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
