"""A run's folder that is renamed, moved or deleted while the run trains: one line, and nothing is lost or split."""

import os
import shutil
from pathlib import Path

import pytest
from lightning import Callback

from resnet_lightning.cli.main import main
from resnet_lightning.runs.reader import read_run
from runs_alike import DIGITS, SMALL, assert_same_run, with_callbacks

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

SHORT = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.accelerator", "cpu"]
FIT = ["fit", "--config", DIGITS, *SMALL, *SHORT]


class Mover(Callback):
    """Renames or deletes ``a/run`` at one moment."""

    def __init__(self, moment: str, to: str) -> None:
        self.moment = moment
        self.to = to

    def _move(self, moment: str) -> None:
        if moment == self.moment and Path("a/run").exists():
            if self.to:
                os.renames("a/run", self.to)
            else:
                shutil.rmtree("a")

    def on_sanity_check_end(self, trainer, pl_module) -> None:
        self._move("set-up")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._move(f"step {trainer.global_step}")

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if trainer.global_step:
            self._move("validation")

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._move("test")


def moving(moment: str, to: str) -> list[str]:
    return with_callbacks("moving", **{f"{__name__}.Mover": {"moment": moment, "to": to}})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*FIT, "--resume", "run"]) == 0
    return str(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        ("step 6", "the training ended after step 6 and is saved there"),
        ("validation", "the training ended after step 4 and is saved there"),
        ("set-up", "the training ended after step"),
        ("test", "it is trained, but not tested yet"),
    ],
)
def test_a_run_whose_folder_is_renamed_ends_and_continues_there(moment, kept, whole, capsys):
    assert main([*FIT, *moving(moment, "b/other"), "--resume", "a/run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"the run's folder 'a/run' was renamed to '{Path('b/other').resolve()}'" in line or "..." in line
    assert kept in line
    assert not Path("a").exists()
    assert read_run("b/other").state == "failed"
    assert main([*FIT, "--config", "moving.yaml", "--resume", "b/other"]) == 0
    assert_same_run("b/other", whole)


def test_a_run_whose_folder_is_deleted_ends_and_writes_nothing(capsys):
    assert main([*FIT, *moving("step 6", ""), "--resume", "a/run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "was deleted, or moved to another disk" in line
    assert not Path("a").exists()
