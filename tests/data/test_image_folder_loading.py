import multiprocessing
import os
import time

import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image, ImageFile

from data_modules import as_bytes, batches, pixels_of
from image_files import random_pixels, write_folders, write_sizes
from resnet_lightning import Augmentation, ImageFolderDataModule, InputError
from resnet_lightning.data import BatchLoader, StreamLoader
from resnet_lightning.data.loading.files import ImageFiles

# The cache of decoded images.


@pytest.fixture
def no_decoding(monkeypatch):
    """Returns a function after which image headers can be read, but pixels cannot."""

    def refuse(self):
        raise OSError("no decoding")

    return lambda: monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)


def split_pixels(data):
    return {name: pixels_of(data, name) for name in ("train", "val", "test")}


@pytest.mark.parametrize("options", [{}, {"image_size": 5, "shorter_side": 7}], ids=["original size", "scaled"])
def test_a_second_run_decodes_nothing(tmp_path, no_decoding, options):
    write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "batch_size": 4, **options}
    first = ImageFolderDataModule(**options)
    first.setup("fit")
    no_decoding()
    second = ImageFolderDataModule(**options)
    second.setup("fit")
    assert split_pixels(second) == split_pixels(first)
    assert torch.equal(second.split("train").targets, first.split("train").targets)
    with pytest.raises(InputError, match="cannot read the image"):  # else this would show nothing
        ImageFolderDataModule(**{**options, "image_size": 4}).setup("fit")


def test_other_splits_of_the_same_images_decode_nothing(tmp_path, no_decoding):
    write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "batch_size": 4}
    ImageFolderDataModule(**options).setup("fit")
    no_decoding()
    for others in ({"split_seed": 1}, {"num_folds": 5, "fold": 3}, {"train_fraction": 0.5}, {"resident": "cpu"}):
        data = ImageFolderDataModule(**options, **others)
        data.setup("fit")
        assert len(data.split("train").images) == 20


def test_without_a_cache_every_run_decodes(tmp_path, no_decoding):
    write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "cache_gb": 0, "batch_size": 4}
    ImageFolderDataModule(**options).setup("fit")
    assert not (tmp_path / "cache").exists()
    no_decoding()
    with pytest.raises(InputError, match="cannot read the image"):
        ImageFolderDataModule(**options).setup("fit")


def test_a_changed_file_is_decoded_again(tmp_path):
    written = write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "val_split": 0}
    assert pixels_of(ImageFolderDataModule(**options), "train") == as_bytes(written["train"])
    time.sleep(0.02)  # file systems have a clock of a few milliseconds
    changed = random_pixels(99)
    Image.fromarray(changed).save(tmp_path / "data" / "train" / "cat" / "003.png")
    written["train"][3] = changed
    assert pixels_of(ImageFolderDataModule(**options), "train") == as_bytes(written["train"])


def test_a_damaged_cache_is_reported_and_repaired(tmp_path, package_warnings, no_decoding):
    written = write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "val_split": 0, "batch_size": 4}
    ImageFolderDataModule(**options).setup("fit")
    for file in (tmp_path / "cache").iterdir():
        content = bytearray(file.read_bytes())
        content[-5] ^= 16
        file.write_bytes(content)
    data = ImageFolderDataModule(**options)
    assert pixels_of(data, "train") == as_bytes(written["train"])
    assert pixels_of(data, "test") == as_bytes(written["test"])
    assert [line.endswith("are damaged; decoding them again") for line in package_warnings()] == [True, True]
    no_decoding()
    assert pixels_of(ImageFolderDataModule(**options), "train") == as_bytes(written["train"])


def test_an_unusable_cache_folder_is_reported_once(tmp_path, package_warnings):
    written = write_folders(tmp_path / "data", ["train", "test"])
    (tmp_path / "file").touch()
    data = ImageFolderDataModule(tmp_path / "data", cache_folder=tmp_path / "file" / "cache", val_split=0, batch_size=4)
    data.setup("fit")
    assert pixels_of(data, "train") == as_bytes(written["train"])
    assert pixels_of(data, "test") == as_bytes(written["test"])
    (line,) = package_warnings()
    assert line.startswith(f"decoded images are not cached in {tmp_path}/file/cache: ")


# Streaming from files.

MOVED = Augmentation(crop=2, pad="reflect", flip="alternate", cutout=2, cutmix=1.0)
EVERYTHING = Augmentation(
    crop=2, flip=True, rotate=10, brightness=0.3, hue=0.1, cutout=2, erase=0.4, mixup=0.4, cutmix=1.0
)


def write_differing(root):
    for part in ("train", "test"):
        for animal in ("cat", "dog"):
            write_sizes(root / part / animal, 9)


def all_batches(data):
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [pair for loader in loaders for pair in batches(data, loader)]


@pytest.mark.parametrize("augment", [MOVED, EVERYTHING], ids=["moved", "everything"])
def test_batches_are_bitwise_equal_in_memory_and_from_files(tmp_path, augment):
    write_differing(tmp_path)
    options = {"batch_size": 3, "image_size": 6, "shorter_side": 8, "augment": augment, "val_split": 0.3}
    expected = all_batches(ImageFolderDataModule(tmp_path, resident="auto", **options))
    assert len(expected) == 4 + 2 + 6
    for others in (
        {"resident": "cpu", "cache_gb": 0},
        {"resident": False, "num_workers": 0},
        {"resident": False, "num_workers": 2},
    ):
        data = ImageFolderDataModule(tmp_path, **options, **others)
        found = all_batches(data)
        assert isinstance(data.raw_loader("train"), StreamLoader if others["resident"] is False else BatchLoader)
        for (images, targets), (right_images, right_targets) in zip(found, expected, strict=True):
            assert torch.equal(images, right_images)
            assert torch.equal(targets, right_targets)


def test_images_of_one_size_stream_without_image_size(tmp_path):
    write_folders(tmp_path, ["train", "val", "test"])
    options = {"batch_size": 4, "augment": EVERYTHING}
    expected = all_batches(ImageFolderDataModule(tmp_path, **options))
    found = all_batches(ImageFolderDataModule(tmp_path, resident=False, num_workers=0, **options))
    assert len(found) == 15
    for (images, targets), (right_images, right_targets) in zip(found, expected, strict=True):
        assert torch.equal(images, right_images)
        assert torch.equal(targets, right_targets)


def test_streamed_images_are_neither_decoded_nor_cached_in_setup(tmp_path, no_decoding):
    write_differing(tmp_path / "data")
    no_decoding()
    data = ImageFolderDataModule(
        tmp_path / "data", image_size=6, resident=False, batch_size=4, cache_folder=tmp_path / "cache"
    )
    data.setup("fit")
    assert isinstance(data.split("train").images, ImageFiles)
    assert (len(data.split("train")), len(data.split("val")), len(data.split("test"))) == (16, 2, 18)
    assert not (tmp_path / "cache").exists()


def test_images_too_large_for_memory_are_streamed(tmp_path, caplog):
    caplog.set_level("INFO")
    write_folders(tmp_path, ["train", "test"], n=500)
    data = ImageFolderDataModule(tmp_path, image_size=16_000, batch_size=4)
    data.setup("fit")
    assert isinstance(data.raw_loader("train"), StreamLoader)
    assert "768.0 GB of images are streamed from files: too large for the machine's memory" in caplog.messages


def test_a_random_resized_crop_is_applied_once_and_by_the_reader(tmp_path):
    write_differing(tmp_path)
    options = {"image_size": 6, "batch_size": 4, "augment": Augmentation(resized_crop=0.2), "resident": False}
    data = ImageFolderDataModule(tmp_path, num_workers=2, **options)
    raw_batches = list(data.raw_loader("train"))
    for batch in raw_batches:
        assert torch.equal(data.finish(batch)[0], data.normalize(batch.images))
    here = ImageFolderDataModule(tmp_path, num_workers=0, **options).raw_loader("train")
    for batch, right in zip(raw_batches, here, strict=True):
        assert torch.equal(batch.images, right.images)


@pytest.mark.parametrize("resident", ["auto", False])
def test_prediction_numbers_the_images(tmp_path, resident):
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, image_size=6, resident=resident, num_workers=0, batch_size=6)
    data.setup("predict")
    found = batches(data, data.predict_dataloader())
    assert [numbers.tolist() for _, numbers in found] == [list(range(n, min(n + 6, 20))) for n in (0, 6, 12, 18)]
    tested = batches(data, data.test_dataloader())
    assert torch.equal(torch.cat([images for images, _ in found]), torch.cat([images for images, _ in tested]))


def test_the_default_is_one_worker_per_core(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    for given, expected in ((None, min(len(os.sched_getaffinity(0)), 16)), (3, 3), (0, 0)):
        data = ImageFolderDataModule(tmp_path, resident=False, num_workers=given, batch_size=4)
        assert data.raw_loader("train").num_workers == expected


def test_an_unreadable_image_stops_a_streaming_run(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    file = tmp_path / "test" / "dog" / "004.png"
    file.write_text("not an image")
    data = ImageFolderDataModule(tmp_path, resident=False, num_workers=2, batch_size=4)
    data.setup("test")
    seen, message = 0, None
    try:  # ``pytest.raises`` would keep the frames, and with them the workers, alive
        for _ in data.raw_loader("test"):
            seen += 1
    except InputError as error:
        message = str(error)
    assert seen == 3
    assert message == f"cannot read the image '{file}': it is damaged or not an image; replace or remove it"


# Skipped images.


def damage_some(root):
    """Truncates three of the images of ``write_folders`` and returns their names."""
    names = [str(root / name) for name in ("test/cat/002.png", "train/cat/004.png", "train/dog/007.png")]
    for name in names:
        with open(name, "r+b") as file:
            file.truncate(70)
    return names


def summary(names):
    return [f"{len(names)} images could not be read and were skipped, for example {', '.join(names)}"]


def test_skipped_images_are_left_out_with_their_labels_and_reported_once(tmp_path, package_warnings):
    written = write_folders(tmp_path, ["train", "test"])
    names = damage_some(tmp_path)
    options = {"on_error": "skip", "val_split": 0, "batch_size": 4}
    for image_size in (None, 6, 6):  # the second time, the cache must not hide that images are missing
        data = ImageFolderDataModule(tmp_path, image_size=image_size, **options)
        data.setup("fit")
        assert pixels_of(data, "train") == as_bytes(
            written["train"][:4] + written["train"][5:17] + written["train"][18:]
        )
        assert labels_of(data, "train") == [0] * 9 + [1] * 9
        assert pixels_of(data, "test") == as_bytes(written["test"][:2] + written["test"][3:])
        assert labels_of(data, "test") == [0] * 9 + [1] * 10
    assert package_warnings() == []
    data.teardown("fit")
    assert package_warnings() == summary(names)


def test_skipped_images_are_not_predicted(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    damage_some(tmp_path)
    data = ImageFolderDataModule(tmp_path, on_error="skip", val_split=0, batch_size=4)
    data.setup("predict")
    numbers = [number for batch in data.raw_loader("predict") for number in batch.targets.tolist()]
    assert numbers == [0, 1, *range(3, 20)]


def labels_of(data, name):
    split = data.split(name)
    return split.targets[split.indices].tolist()


@pytest.mark.parametrize("resident", ["cpu", False])
def test_a_damaged_file_moves_no_other_image_to_another_split(tmp_path, resident):
    write_folders(tmp_path, ["train", "test"], n=30)
    options = {"on_error": "skip", "val_split": 0.3, "batch_size": 4, "resident": resident}
    before, after = ImageFolderDataModule(tmp_path, **options), ImageFolderDataModule(tmp_path, **options)
    before.setup("fit")
    (tmp_path / "train" / "cat" / "007.png").write_text("not an image")
    after.setup("fit")
    for name in "train", "val":
        was, now = (set(data.split(name).indices.tolist()) for data in (before, after))
        assert was - now <= {7}
        assert not now - was


def test_random_resized_crops_are_streamed_even_if_the_images_fit_in_memory(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    for crop, images in (0.0, torch.Tensor), (0.5, ImageFiles):
        data = ImageFolderDataModule(tmp_path, augment=Augmentation(resized_crop=crop))
        assert isinstance(data.split("train").images, images)


def test_a_new_loader_ends_the_workers_of_the_old_one(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    others = set(multiprocessing.active_children())
    data = ImageFolderDataModule(tmp_path, resident=False, num_workers=1, batch_size=4)
    loaders = []  # kept, so that it is not garbage collection that ends the workers
    for _ in range(3):
        loaders.append(data.raw_loader("train"))
        list(loaders[-1])
    assert len(set(multiprocessing.active_children()) - others) == 1
    data.teardown("fit")
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_skipped_while_streaming_are_reported_once(tmp_path, package_warnings, num_workers):
    write_folders(tmp_path, ["train", "test"])
    names = damage_some(tmp_path)
    data = ImageFolderDataModule(
        tmp_path, on_error="skip", resident=False, num_workers=num_workers, val_split=0, batch_size=20
    )
    data.setup("fit")
    training, testing = (data.device_loader(name, torch.device("cpu")) for name in ("train", "test"))
    for _ in range(2):
        ((images, targets),) = batches(data, training)
        assert images.shape == (18, 3, 6, 6)
        assert sorted(targets.tolist()) == [0] * 9 + [1] * 9
        ((images, targets),) = batches(data, testing)
        assert images.shape == (19, 3, 6, 6)
        assert targets.tolist() == [0] * 9 + [1] * 10
    assert package_warnings() == []
    data.teardown("fit")
    assert package_warnings() == summary(names)


def test_nothing_is_reported_where_nothing_was_skipped(tmp_path, package_warnings):
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, on_error="skip", batch_size=4)
    data.setup("fit")
    data.teardown("fit")
    assert package_warnings() == []


@pytest.mark.parametrize("resident", ["auto", False])
def test_with_image_size_the_first_image_can_be_skipped_too(tmp_path, resident):
    write_folders(tmp_path, ["train", "test"])
    for part in ("train", "test"):
        (tmp_path / part / "cat" / "000.png").write_text("not an image")
    data = ImageFolderDataModule(
        tmp_path, on_error="skip", image_size=6, resident=resident, num_workers=0, val_split=0, batch_size=10
    )
    data.setup("fit")
    found = batches(data, data.test_dataloader())
    assert torch.cat([targets for _, targets in found]).tolist() == [0] * 9 + [1] * 10


class Mean(LightningModule):
    """Classifies by the mean of the image."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 2)

    def training_step(self, batch, batch_idx):
        images, targets = batch
        return torch.nn.functional.cross_entropy(self.linear(images.mean((1, 2, 3))[:, None]), targets)

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_no_worker_remains_after_a_run(tmp_path):
    # The trainer and its loaders form a reference cycle, which would be collected much later, and slowly.
    write_folders(tmp_path, ["train", "test"])
    others = set(multiprocessing.active_children())
    data = ImageFolderDataModule(tmp_path, image_size=6, resident=False, num_workers=1, batch_size=4)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Mean(), datamodule=data)
    assert trainer.global_step == 2 * (18 // 4)
    assert set(multiprocessing.active_children()) <= others
