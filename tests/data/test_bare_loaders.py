"""Our loaders in other people's loops: without a Trainer, with one that does not know the data module, in Fabric."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from lightning import Callback, Fabric, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from image_files import write_folders
from resnet_lightning import Augmentation, DigitsDataModule, ImageFolderDataModule, InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
    "ignore:You have overridden `on_after_batch_transfer` in `LightningModule`",
)

AUGMENT = Augmentation(crop=1, rotate=5, mixup=0.2)


def digits(**options):
    return DigitsDataModule(**{"augment": AUGMENT, "batch_size": 100, **options})


def epoch_of(data, epoch=0):
    """The batches of an epoch, by the raw batches of the data module."""
    raw = data.raw_loader("train")
    return [data.finish(raw.batch(*step, epoch)) for step in raw.order.steps(epoch)]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for (images, targets), (images_2, targets_2) in zip(found, expected, strict=True):
        assert torch.equal(images, images_2)
        assert torch.equal(targets, targets_2)


class Plain(LightningModule):
    """A module that knows nothing of this package, and the batches that it was given."""

    def __init__(self, loaders=None):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.seen, self.validated, self.loaders = [], [], loaders

    def training_step(self, batch, batch_idx):
        self.seen.append(batch)
        images, targets = batch["ours"] if isinstance(batch, dict) else batch
        return nn.functional.cross_entropy(self.net(images), targets)

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch)
        self.log("val", self.net(batch[0]).sum())

    def predict_step(self, batch, batch_idx):
        return batch[1]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class WithLoaders(Plain):
    def train_dataloader(self):
        return self.loaders.train_dataloader()

    def val_dataloader(self):
        return self.loaders.val_dataloader()


def trainer_of(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", devices=1, enable_model_summary=False, **{"max_epochs": 2, **quiet, **options})


def test_a_loop_gets_the_finished_batches_of_one_epoch_after_the_other():
    data = digits()
    data.setup()
    loader = data.train_dataloader()
    assert (len(loader), loader.batch_size, len(loader.dataset)) == (12, 100, len(data.split("train")))
    for epoch in range(3):
        assert_equal(list(loader), epoch_of(data, epoch))
    loader.set_epoch(1)
    assert_equal(list(loader), epoch_of(data, 1))
    assert not torch.equal(epoch_of(data, 0)[0][0], epoch_of(data, 1)[0][0])


def test_evaluation_yields_each_image_once_and_not_augmented():
    data = digits(batch_size=64)
    split = data.split("val")
    images, targets = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))
    assert torch.equal(images, data.normalize(split.images[split.indices].permute(0, 3, 1, 2)))
    assert torch.equal(targets, split.targets[split.indices])


def test_the_images_of_a_loader_are_a_data_set():
    data = digits()
    found = data.val_dataloader().dataset
    image, target = found[3]
    assert torch.equal(image, next(iter(data.val_dataloader()))[0][3])
    assert (target, found.targets[3]) == (int(data.split("val").targets[data.split("val").indices[3]]), target)
    assert len(list(found)) == len(found) == len(found.targets)
    batch = next(iter(DataLoader(Subset(found, range(20)), 8)))
    assert batch[0].shape == (8, 1, 8, 8)
    training = data.train_dataloader().dataset
    torch.manual_seed(0)
    first, second = next(iter(DataLoader(training, 8))), next(iter(DataLoader(training, 8)))
    assert not torch.equal(first[0], second[0])  # other augmentations each time, as torch's generator draws them
    torch.manual_seed(0)
    assert torch.equal(next(iter(DataLoader(training, 8)))[0], first[0])


def test_streamed_images_are_the_same(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    options = {"augment": Augmentation(resized_crop=0.3, flip=True, mixup=0.3), "batch_size": 3, "val_split": 0.2}
    data = ImageFolderDataModule(tmp_path, image_size=5, resident=False, num_workers=1, **options)
    loader = data.train_dataloader()
    assert_equal([*loader, *loader], [*epoch_of(data, 0), *epoch_of(data, 1)])


def test_an_image_that_cannot_be_read_is_named_in_one_line(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    (tmp_path / "test" / "dog" / "004.png").write_text("not an image")
    for num_workers in (0, 1):
        data = ImageFolderDataModule(tmp_path, resident=False, num_workers=num_workers, batch_size=4)
        with pytest.raises(InputError, match=r"^cannot read the image '[^\n]*004.png': [^\n]*$"):
            list(data.test_dataloader())


@pytest.mark.slow
@pytest.mark.parametrize("hooks", [False, True], ids=["given", "hooks"])
def test_a_trainer_that_does_not_know_the_data_module(hooks):
    data = digits()
    model = WithLoaders(data) if hooks else Plain()
    given = () if hooks else (data.train_dataloader(), data.val_dataloader())
    trainer_of(num_sanity_val_steps=0).fit(model, *given)
    assert_equal(model.seen, [*epoch_of(data, 0), *epoch_of(data, 1)])
    assert_equal(model.validated, 2 * list(data.val_dataloader()))


@pytest.mark.slow
def test_a_trainer_predicts_with_a_loader():
    data = digits()
    found = torch.cat(trainer_of().predict(Plain(), data.predict_dataloader()))
    assert found.tolist() == list(range(355))


def test_a_module_gets_its_hook_called_with_finished_batches():
    class Doubles(Plain):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return 2 * batch[0], batch[1]

    data, model = digits(), Doubles()
    trainer_of(max_epochs=1).fit(model, datamodule=data)
    assert_equal(model.seen, [(2 * images, targets) for images, targets in epoch_of(data)])


def test_a_data_module_may_add_to_the_hook():
    class Doubled(DigitsDataModule):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            images, targets = super().on_after_batch_transfer(batch, dataloader_idx)
            return 2 * images, targets

    data, model = Doubled(augment=AUGMENT, batch_size=100), Plain()
    trainer_of(max_epochs=1).fit(model, datamodule=data)
    assert_equal(model.seen, [(2 * images, targets) for images, targets in epoch_of(data)])


class Peeks(Callback):
    """Takes a batch of the training wherever it can."""

    def __init__(self):
        self.taken = []

    def peek(self, trainer, *_):
        self.taken.append(next(iter(trainer.train_dataloader)))

    on_train_start = on_train_epoch_start = on_train_batch_end = on_train_epoch_end = peek


@pytest.mark.parametrize("num_workers", [None, 0, 1])
def test_a_callback_may_take_batches_amid_the_training(tmp_path, num_workers):
    if num_workers is None:
        data = digits(batch_size=500)
    else:
        write_folders(tmp_path, ["train", "test"])
        data = ImageFolderDataModule(
            tmp_path, image_size=8, resident=False, num_workers=num_workers, batch_size=4, val_split=0.2
        )
    model, peeks = Plain(), Peeks()
    if num_workers is not None:
        model.net[1] = nn.Linear(192, 10)
    trainer_of(callbacks=[peeks]).fit(model, datamodule=data)
    expected = [epoch_of(data, epoch) for epoch in (0, 1)]
    assert_equal(model.seen, [*expected[0], *expected[1]])
    steps = len(expected[0])
    assert_equal(peeks.taken, [expected[0][0]] * (steps + 3) + [expected[1][0]] * (steps + 2))


def test_after_a_training_the_loaders_belong_to_the_user():
    data = digits()
    trainer_of(max_epochs=1).fit(Plain(), datamodule=data)
    loader = data.train_dataloader()
    assert_equal([*loader, *loader], [*epoch_of(data, 0), *epoch_of(data, 1)])


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in a data module"])
def test_combined_with_another_loader(wrapped):
    data = digits()

    class Both(LightningDataModule):
        def train_dataloader(self):
            numbers = TensorDataset(torch.arange(len(data.train_dataloader())))
            return CombinedLoader({"ours": data.train_dataloader(), "other": DataLoader(numbers)}, "min_size")

    model, both = Plain(), Both()
    trainer_of().fit(model, **({"datamodule": both} if wrapped else {"train_dataloaders": both.train_dataloader()}))
    assert_equal([batch["ours"] for batch in model.seen], [*epoch_of(data, 0), *epoch_of(data, 1)])
    assert [int(batch["other"][0]) for batch in model.seen] == 2 * list(range(12))


def test_a_subclass_may_combine_ours_with_another():
    class Both(DigitsDataModule):
        def train_dataloader(self):
            ours = super().train_dataloader()
            return CombinedLoader({"ours": ours, "other": DataLoader(torch.arange(len(ours)))}, "min_size")

    data, model = Both(augment=AUGMENT, batch_size=100), Plain()
    trainer_of().fit(model, datamodule=data)
    assert_equal([batch["ours"] for batch in model.seen], [*epoch_of(data, 0), *epoch_of(data, 1)])


@pytest.mark.parametrize("given", ["data module", "loader"])
@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_the_trainers_precision_is_that_of_the_images(precision, dtype, given):
    data, model = digits(), Plain()
    loaders = {"datamodule": data} if given == "data module" else {"train_dataloaders": data.train_dataloader()}
    trainer_of(max_steps=1, precision=precision).fit(model, **loaders)
    assert model.seen[0][0].dtype == dtype
    assert next(model.parameters()).dtype == dtype


def test_fabric():
    data, fabric = digits(), Fabric(accelerator="cpu", devices=1)
    training, testing = fabric.setup_dataloaders(data.train_dataloader(), data.test_dataloader())
    for epoch in (0, 1):
        assert_equal(list(training), epoch_of(data, epoch))
    assert_equal(list(testing), list(data.test_dataloader()))


def test_accelerate():
    accelerate = pytest.importorskip("accelerate", reason="pip install accelerate")
    data = digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    accelerator = accelerate.Accelerator(cpu=True)
    _, training, testing = accelerator.prepare(model, data.train_dataloader(), data.test_dataloader())
    for epoch in (0, 1):
        assert_equal(list(training), epoch_of(data, epoch))
    assert_equal(list(testing), list(data.test_dataloader()))


IN_TWO_PROCESSES = """
    import json, os, sys, warnings, torch
    from resnet_lightning import DigitsDataModule
    warnings.simplefilter("ignore")
    data = DigitsDataModule(batch_size=50, mean=[0.0], std=[1.0])
    number_of = {image.numpy().tobytes(): i for i, image in enumerate(data.split("train").images)}
    numbers = lambda images: [number_of[(image * 255).round().byte().numpy().tobytes()] for image in images]
    loaders = data.train_dataloader(), data.val_dataloader()
    def loop():
        torch.distributed.init_process_group("gloo")
        return loaders

    def fabric():
        from lightning import Fabric
        found = Fabric(accelerator="cpu", devices=2, strategy="ddp")
        found.launch()
        return found.setup_dataloaders(*loaders)

    def accelerate():
        from accelerate import Accelerator
        return Accelerator(cpu=True).prepare(*loaders)

    def trainer():
        from lightning import LightningModule, Trainer
        seen = [], []
        class Module(LightningModule):
            def __init__(self):
                super().__init__()
                self.net = torch.nn.Linear(64, 10)
            def training_step(self, batch, batch_idx):
                seen[0].append(batch)
                return self.net(batch[0].flatten(1)).sum()
            def validation_step(self, batch, batch_idx):
                seen[1].append(batch)
            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.1)
        Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, num_sanity_val_steps=0).fit(Module(), *loaders)
        steps = len(seen[0]) // 2
        return iter([seen[0][:steps], seen[0][steps:]]), seen[1][: len(seen[1]) // 2]

    training, validation = {way}()
    epochs = [[numbers(images) for images, _ in (next(training) if "{way}" == "trainer" else training)] for _ in (0, 1)]
    validated = [numbers(images) for images, _ in validation]
    with open(sys.argv[1] + os.environ["RANK"], "w") as file:
        json.dump([epochs, validated, *(data.split(name).indices.tolist() for name in ("val", "train"))], file)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["loop", "fabric", "trainer", "accelerate"])
def test_two_processes_share_the_images(way, tmp_path):
    if way == "accelerate":
        pytest.importorskip("accelerate", reason="pip install accelerate")
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(IN_TWO_PROCESSES).replace("{way}", way))
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
        str(script),
        str(tmp_path / "rank"),
    ]
    done = subprocess.run(
        launch, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (first, validated, val, train), (second, validated_2, *_) = (
        json.loads((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1)
    )
    for one, other in zip(first, second, strict=True):
        assert [len(batch) for batch in one] == [len(batch) for batch in other] == [50] * (len(train) // 100)
        both = [number for batch in one + other for number in batch]
        assert len(set(both)) == len(both)
        assert set(both) < set(train)
    assert first[0] != first[1]
    both = [number for batch in validated + validated_2 for number in batch]
    assert set(both) == set(val)
    assert len(both) <= len(val) + (
        1 if way != "accelerate" else 2 * 50
    )  # it repeats images until every batch is whole
