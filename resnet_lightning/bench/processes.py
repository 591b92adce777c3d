"""Compares the training steps of two processes in the trainer of ``lightning fit`` with those in a stock one."""

import contextlib
import inspect
import io
import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from rich.console import Console

from ..data import Augmentation
from ..training.callbacks import RunRecord
from ..training.classifier import ImageClassifier
from ..training.trainer import training_trainer
from .comparison import Comparison, interleaved
from .data import RandomImagesDataModule
from .step import WARM_UP, StepClock

_PROCESSES = 2


def processes(*, rounds: int, batch: int = 16, steps: int = 10) -> Iterator[Comparison]:
    """Times the steps of data-parallel and of sharded training.

    Model, data and strategy are the same. Ours adds what a run adds to each step: the check of the loss, the answer to
    signals, the record of the gradients' norm and of the speed.

    Args:
        rounds: number of rounds.
        batch: number of images of a step in each process.
        steps: number of steps that are timed in a round.
    """
    for strategy in "ddp", "fsdp":
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "comparison")
            arguments = strategy, rounds, batch, steps, _free_port(), str(file)
            torch.multiprocessing.spawn(_compare, arguments, nprocs=_PROCESSES)
            yield pickle.loads(file.read_bytes())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _compare(rank: int, strategy: str, rounds: int, batch: int, steps: int, port: int, file: str) -> None:
    """Times both in one of the processes, all of which take the same turns."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = {"WORLD_SIZE": str(_PROCESSES), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    os.environ.update(address | ranks)
    logging.disable(logging.INFO)  # Lightning's lines on each trainer
    torch.set_num_threads(max(1, torch.get_num_threads() // _PROCESSES))
    work = f"resnet20, {batch} images in each of {_PROCESSES} processes, {strategy}, against a stock Trainer"
    ours, theirs = (_steps(make, strategy, batch, steps) for make in (_our_trainer, _stock_trainer))
    result = interleaved(work, _PROCESSES * batch * steps, ours, theirs, rounds=rounds)
    torch.distributed.destroy_process_group()
    if rank == 0:
        Path(file).write_bytes(pickle.dumps(result))


def _steps(
    make_trainer: Callable[[dict[str, Any], Path], Trainer], strategy: str, batch: int, steps: int
) -> Callable[[], float]:
    def run() -> float:
        data = RandomImagesDataModule(
            _PROCESSES * batch * (steps + WARM_UP),
            batch_size=batch,
            val_split=0.0,
            augment=Augmentation(crop=4, flip=True),
        )
        model = ImageClassifier("resnet20", optimizer_args={"momentum": 0.9, "weight_decay": 5e-4})
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            make_trainer(_options(strategy), Path(folder)).fit(model, data)
            torch.distributed.barrier()  # until nobody writes to the folder
        return StepClock.seconds

    return run


def _options(strategy: str) -> dict[str, Any]:
    has_gpus = torch.cuda.device_count() >= _PROCESSES
    return {
        "accelerator": "gpu" if has_gpus else "cpu",
        "devices": _PROCESSES,
        "strategy": ModelParallelStrategy(save_distributed_checkpoint=False) if strategy == "fsdp" else strategy,
        "max_epochs": 1,
        "callbacks": [StepClock()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


def _our_trainer(options: dict[str, Any], folder: Path) -> Trainer:
    defaults = {name: parameter.default for name, parameter in inspect.signature(Trainer).parameters.items()}
    record = RunRecord("bench", "{}", folder)
    return training_trainer({**defaults, **options}, Console(file=io.StringIO()), record, None)


def _stock_trainer(options: dict[str, Any], folder: Path) -> Trainer:
    return Trainer(**options, logger=CSVLogger(folder), default_root_dir=folder)
