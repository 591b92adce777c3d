import sys

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from rich.console import Console
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from image_files import write_folders
from resnet_lightning import DigitsDataModule, ImageFolderDataModule
from resnet_lightning.training.callbacks import DataSummary


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.LazyLinear(1)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0].float().flatten(1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Numbers(TensorDataset):
    classes = ("even", "odd")


class Foreign(LightningDataModule):
    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def train_dataloader(self):
        return DataLoader(self.dataset, batch_size=2, num_workers=0)


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield (torch.zeros(3),)


def line_of(capsys, data):
    console = Console(file=sys.stdout, width=40)
    Trainer(
        accelerator="cpu", devices=1, max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[DataSummary(console)],
    ).fit(Module(), datamodule=data)  # fmt: skip
    return capsys.readouterr().out


def test_our_data_modules(tmp_path, capsys, recwarn):
    digits = DigitsDataModule()
    assert line_of(capsys, digits) == f"{digits.in_words()}\n"
    write_folders(tmp_path, ["train", "val", "test"], n=4)
    assert line_of(capsys, ImageFolderDataModule(tmp_path, batch_size=4)) == (
        f"2 classes (cat, dog); train 8, val 8, test 8 images from {tmp_path}/train, {tmp_path}/val, {tmp_path}/test\n"
    )


def test_of_another_data_module_what_is_known(capsys, recwarn):
    assert line_of(capsys, Foreign(Numbers(torch.zeros(6, 3)))) == "2 classes (even, odd); train 6 samples\n"
    assert line_of(capsys, Foreign(TensorDataset(torch.zeros(6, 3)))) == "train 6 samples\n"
    data = Foreign(Endless())
    assert line_of(capsys, data) == ""
    data.num_classes = 7
    assert line_of(capsys, data) == "7 classes\n"
