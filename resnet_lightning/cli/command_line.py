"""The command line: ``lightning fit|validate|test|predict --config ...``."""

import logging
import os
import shlex
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ProgressBar, WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..data import ImageDataModule, PredictionDataModule
from ..errors import InputError
from ..models.weights import check_state_dict, read_checkpoint
from ..runs import figures
from ..runs import folder as runs
from ..runs.checkpoint_io import WholeCheckpoints
from ..runs.reader import parse_metrics
from ..runs.wandb_logger import ResumableWandbLogger, make_resumable, wandb_is_usable
from ..training import tuner
from ..training.callbacks import (
    BestCheckpoint,
    Evaluation,
    ExactResume,
    FiniteLoss,
    FirstBatch,
    GradientNorm,
    Interrupted,
    LastCheckpoint,
    MovingAverage,
    PredictionWriter,
    RunProgress,
    RunRecord,
    Throughput,
)
from ..training.classifier import ImageClassifier
from ..training.config_checks import check_combination, check_machines
from ..training.resume_checks import changes, check_is_sharded, check_net, check_training
from .main import SUBCOMMANDS
from .parser import Parser, check_config_file, given, what_it_says, with_overlays

# What a program exits with that SIGTERM has ended, as shells count.
_INTERRUPTED = 143

_log = logging.getLogger("resnet_lightning")
_log.setLevel(logging.INFO)


class _ConsoleHandler(logging.Handler):
    """Shows what the package has to say of a run between the other lines on the console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self.console.print(record.getMessage(), style=style, highlight=False, soft_wrap=True, markup=False)


class CommandLine(LightningCLI):
    """Joins data, model and trainer, and keeps each run in a folder of its own.

    What the user types always wins. A checkpoint carries the config it was trained with, which is used where
    ``--ckpt_path`` is given and no ``--config``.

    Args:
        arguments: what follows the program's name.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.checkpoint: dict[str, Any] | None = None
        self._arguments = arguments
        self.run_name = "run"
        self.run_folder: Path | None = None
        self._own_levels = 3  # of folders that may have been made for this run: root, name, time
        self._lock: runs.Lock | None = None
        self.console = Console()
        self._handler = _ConsoleHandler(self.console)
        _log.addHandler(self._handler)
        try:
            self._run_and_track(arguments)
        finally:
            _log.removeHandler(self._handler)
            if self._lock:
                self._lock.release()
            if self.run_folder:
                runs.remove_empty(self.run_folder, levels=self._own_levels)
            os.environ.pop(runs.FOLDER_VARIABLE, None)

    def _run_and_track(self, arguments: list[str]) -> None:
        exit_code = 1
        try:
            self._run(arguments)
            exit_code = 0
            if torch.distributed.is_initialized():  # left to the end of the process, its threads can abort it there
                torch.distributed.destroy_process_group()
        except Interrupted as stop:  # said at once: a scheduler does not wait long
            self._say(f"[yellow]{stop}. To go on: {_program()} fit --resume {self.run_folder}")
            exit_code = _INTERRUPTED
            raise
        finally:
            for logger in self.trainer.loggers if hasattr(self, "trainer") else []:
                if isinstance(logger, ResumableWandbLogger):
                    logger.end(exit_code)

    def _run(self, arguments: list[str]) -> None:
        super().__init__(
            ImageClassifier,
            ImageDataModule,
            subclass_mode_data=True,
            seed_everything_default=0,
            trainer_defaults={"default_root_dir": "runs"},
            parser_class=Parser,
            parser_kwargs={
                "prog": "lightning",
                "description": "Trains residual networks. Further commands: " + ", ".join(SUBCOMMANDS),
                "version": f"resnet_lightning {__version__}",
                "allow_abbrev": False,
                **{
                    command: {"allow_abbrev": False, "usage": f"lightning {command} --config CONFIG [options]"}
                    for command in self.subcommands()
                },
            },
            # What we do ourselves.
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=arguments,
        )

    # Parsing.

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and the arguments of the trainer's methods that are not options."""
        left_out = {"model", "datamodule", "weights_only"}
        return {
            "fit": {*left_out, "train_dataloaders", "val_dataloaders"},
            "validate": {*left_out, "dataloaders", "verbose"},
            "test": {*left_out, "dataloaders", "verbose"},
            "predict": {*left_out, "dataloaders", "return_predictions"},
        }

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # In the order in which people need them; Lightning's own has forty options of the trainer first.
        parser.add_lightning_class_args(ImageDataModule, "data", subclass_mode=True)
        parser.add_lightning_class_args(ImageClassifier, "model")
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/acc",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.add_argument("--overlay", help="The name of a config in `overlays/` to lay over, such as `wandb`.")
        parser.add_argument("--debug", action="store_true", help="Show the traceback of an error in the input.")
        for name in "num_classes", "in_chans":
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument(
                "--resume",
                type=str | None,
                help="The folder of a run to go on with, from its newest checkpoint; to begin, where there is none. "
                "`auto` is the newest folder of a run with this config.",
            )
            parser.add_argument(
                "--find",
                type=Literal["lr", "batch_size"] | None,
                help="Find a good learning rate, with a picture, or the largest batch, by trying; nothing is trained.",
            )
        if subcommand == "predict":
            parser.add_argument(
                "--top_k", type=int, default=1, help="How many labels each image gets, likeliest first."
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        configs = given("--config", args, short="-c")
        args = with_overlays(args)
        for path in given("--config", args, short="-c"):
            check_config_file(path)
        if configs:
            self.run_name = Path(configs[0]).stem
        resume, checkpoints = given("--resume", args), given("--ckpt_path", args)
        if resume and checkpoints:
            raise InputError("give --resume or --ckpt_path: the first goes on with a run, the second begins a new one")
        if resume and (parents := runs.folder_of_parent()):
            resume = [str(parents)]
        if resume and resume[-1] != "auto":
            checkpoints = self._find_checkpoint(Path(resume[-1]))
        if checkpoints:
            self.checkpoint = read_checkpoint(checkpoints[-1])
        if not configs:
            if self.checkpoint is not None:
                run = self.checkpoint.get("run")
                if run is None:
                    raise InputError(
                        f"{checkpoints[-1]!r} brings no config along; give the one that it was trained with"
                    )
                self.run_name = run["name"]
                args = [args[0], "--config", run["config"], *args[1:]]
            elif resume:
                raise InputError(f"there is no checkpoint in {resume[-1]!r} to go on from; to begin, give a --config")
        self.config = parser.parse_args(args)
        if self.config[self.config.subcommand].overlay:
            raise InputError("overlay belongs on the command line, as --overlay NAME; leave it out of the config")
        if resume and checkpoints:
            self.config[self.config.subcommand].ckpt_path = checkpoints[-1]

    def _find_checkpoint(self, folder: Path) -> list[str]:
        """Takes a folder for this run; the path of its newest checkpoint, or nothing."""
        self.run_folder, self._own_levels = folder, 1
        self._lock = runs.Lock.of_a_run(folder)
        newest = runs.newest_checkpoint(folder)
        return [str(newest)] if newest else []

    def _parse_ckpt_path(self) -> None:
        """Lightning's would put the checkpoint's hyper-parameters over what the user typed."""

    # Building.

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        # Before anything is filled in that belongs to this run alone, so that the text can be run again.
        parts = {name: config[name] for name in ("seed_everything", "data", "model", "checkpoint", "trainer")}
        parser = self._parser(self.subcommand)
        self.config_text = parser.dump(Namespace(parts), skip_unset=False, skip_validation=True)
        if self.subcommand in ("fit", "predict") and not config.trainer.fast_dev_run:
            self._choose_run_folder(Path(config.trainer.default_root_dir))
        if self.subcommand == "predict" and self.checkpoint is not None:
            self._predict_without_training_data(config, self.checkpoint.get("run"))
        if self.checkpoint is not None:  # it holds all weights; those that the net once began with may be gone
            (config.model.backbone_args or {}).pop("pretrained", None)
        if config.checkpoint.save_on_train_epoch_end is None and (config.checkpoint.monitor or "").startswith("val/"):
            # Before the epoch's last things are done and not amid them: from there a run can go on exactly.
            config.checkpoint.save_on_train_epoch_end = False
        for callback in _as_list(config.trainer.callbacks):
            if getattr(callback, "class_path", "").endswith(".EMAWeightAveraging"):
                callback.class_path = f"{MovingAverage.__module__}.{MovingAverage.__name__}"
        for logger in _as_list(config.trainer.logger):
            if getattr(logger, "class_path", "").endswith(".WandbLogger"):
                logger.init_args.save_dir = str(self.run_folder or config.trainer.default_root_dir)
                if self.subcommand == "fit" and self.run_folder:
                    make_resumable(logger, self.run_folder)
                if logger.init_args.get("mode") is None and not wandb_is_usable():
                    logger.init_args.mode = "offline"

    def _predict_without_training_data(self, config: Namespace, run: dict[str, Any] | None) -> None:
        """A folder of images needs nothing of the data set that the checkpoint does not know."""
        options = config.data.get("init_args") or Namespace()
        is_ours = config.data.class_path.startswith("resnet_lightning.")  # another may see images in its own way
        if run is None or not is_ours or not options.get("predict_folder"):
            return
        arguments = PredictionDataModule.options_for(run["data"], options.as_dict())
        config.data = Namespace(
            class_path=f"{PredictionDataModule.__module__}.{PredictionDataModule.__name__}",
            init_args=Namespace(**arguments),
        )

    def _choose_run_folder(self, base: Path) -> None:
        resume = self.config[self.subcommand].get("resume")
        if self.run_folder is None and resume not in (None, "auto"):
            raise InputError("resume belongs on the command line, as --resume FOLDER; leave it out of the config")
        if self.run_folder is None and resume:
            found = runs.find_run(base, self.run_name, self.config_text)
            if found is None:
                self._say(f"[dim]No run in {base / self.run_name} with this config to go on with: a new one begins.")
            elif checkpoints := self._find_checkpoint(found):
                self.config[self.subcommand].ckpt_path = checkpoints[-1]
                self.checkpoint = read_checkpoint(checkpoints[-1])
        if self.run_folder is None:
            self.run_folder = runs.folder_of_parent() or runs.new_folder(base, self.run_name)
            if self.subcommand == "fit":
                self._lock = runs.Lock.of_a_run(self.run_folder)
        runs.tell_children(self.run_folder)

    def after_instantiate_classes(self) -> None:
        check_machines(self.trainer)
        if self.subcommand == "fit":
            check_combination(self.trainer, self.model, self.datamodule)
        path = self.config[self.subcommand].ckpt_path
        if path:
            self.checkpoint = self.checkpoint or read_checkpoint(path)
            self._check_checkpoint(self.checkpoint, path)
        elif self.subcommand != "fit":
            self._say(f"[yellow]No --ckpt_path: this net is not trained, {self.subcommand} shows what chance gives.")

    def _check_checkpoint(self, checkpoint: dict[str, Any], path: str) -> None:
        for key in "state_dict", "pytorch-lightning_version":
            if key not in checkpoint:
                raise InputError(f"{path!r} is not the checkpoint of a run: it has no {key!r}")
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            check_is_sharded(path, checkpoint)
        before = checkpoint.get("hyper_parameters", {})
        check_net(path, before, self.model.hparams)
        check_state_dict(self.model.state_dict(), checkpoint["state_dict"], repr(path))
        if "run" in checkpoint:
            self.datamodule.load_state_dict(checkpoint["run"]["data"])
        if self.subcommand == "fit":
            if "optimizer_states" not in checkpoint:
                raise InputError(f"{path!r} holds weights alone, and no training can go on from it")
            if "run" not in checkpoint:
                raise InputError(f"{path!r} is not of a run of this command, which alone can go on with it")
            averages = any(isinstance(c, WeightAveraging) for c in self.trainer.callbacks)  # type: ignore[attr-defined]
            if "current_model_state" in checkpoint and not averages:
                raise InputError(
                    f"{path!r} holds a moving average; go on with --config configs/overlays/ema.yaml, or begin with "
                    "the average, its path as --model.backbone_args.pretrained"
                )
            before, now = (yaml.safe_load(config) for config in (checkpoint["run"]["config"], self.config_text))
            check_training(path, before, now)

    @property
    def _finds(self) -> str | None:
        """What is to be found by trying, instead of a training."""
        return self.config[self.subcommand].get("find")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.subcommand]
        if self._finds:
            nothing = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "callbacks": None}
            length = {"max_steps": tuner.STEPS, "max_epochs": -1}
            return self._make_trainer({**config.trainer, **nothing, **length, "enable_progress_bar": False})
        callbacks: list[Callback] = _as_list(config.trainer.callbacks)
        loggers = [logger for logger in _as_list(config.trainer.logger) if isinstance(logger, Logger)]
        if config.trainer.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(RunProgress(console=self.console))
        if self.subcommand == "fit":
            if self.run_folder and config.trainer.logger is not False:
                loggers.insert(0, runs.csv_logger(self.run_folder))
            if loggers and not any(isinstance(c, LearningRateMonitor) for c in callbacks):
                callbacks.append(LearningRateMonitor(logging_interval="epoch"))
            self.throughput = Throughput()
            callbacks += [self.throughput, GradientNorm(), FiniteLoss()]
            if self.run_folder:
                self._record = self._make_record(self.run_folder)
                callbacks += [ExactResume(), self._record, FirstBatch(self.run_folder), Evaluation(self.run_folder)]
                if config.trainer.enable_checkpointing is not False:
                    callbacks = self._with_checkpoints(callbacks, config.checkpoint, self.run_folder / "checkpoints")
        if self.subcommand == "predict" and self.run_folder:
            callbacks.append(PredictionWriter(self.run_folder / "predictions.csv", config.top_k))
        plugins = _as_list(config.trainer.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(WholeCheckpoints())
        if _is_slurms() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            # `LastCheckpoint` asks for it, where a run can go on. Lightning would besides, outside of training, leave a
            # checkpoint in `runs/` that each new run on SLURM then begins from.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        summary = bool(config.trainer.enable_model_summary)  # off unless asked for: a line says how large the net is
        own = {
            "logger": loggers or False,
            "callbacks": callbacks,
            "enable_model_summary": summary,
            "plugins": plugins,
            # Without a checkpoint callback of Lightning's, it would add one with names of its own.
            "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        }
        return self._make_trainer({**config.trainer, **own})

    def _make_trainer(self, options: dict[str, Any]) -> Trainer:
        try:
            return Trainer(**options)
        except (ValueError, TypeError) as error:  # an accelerator or a strategy that does not exist
            raise InputError(f"trainer: {error}") from error

    def _make_record(self, folder: Path) -> RunRecord:
        command = shlex.join(["lightning", *self._arguments])
        return RunRecord(self.run_name, self.config_text, folder, self.config[self.subcommand].ckpt_path, command)

    def _with_checkpoints(self, callbacks: list[Callback], best: BestCheckpoint, folder: Path) -> list[Callback]:
        last = next((c for c in callbacks if isinstance(c, LastCheckpoint)), LastCheckpoint())
        last.folder = folder
        callbacks = [last, *(c for c in callbacks if c is not last)]
        if not self.datamodule.validates:
            return callbacks  # there is nothing to choose the best by
        best.dirpath = best.dirpath or str(folder)  # as an argument it would become absolute
        return [*callbacks, best]

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (TypeError, ValueError) as error:
            # jsonargparse wraps what a constructor raises.
            if not isinstance(error, InputError) and (said := what_it_says(error)):
                raise InputError(said) from error
            raise

    # Running.

    def _run_subcommand(self, subcommand: str) -> None:
        if self._finds:
            self._find(self._finds)
        else:
            super()._run_subcommand(subcommand)

    def _find(self, what: str) -> None:
        if self.checkpoint is not None or self.run_folder is None:
            raise InputError(f"--find {what} tries a new run; leave out --ckpt_path, --resume and fast_dev_run")
        if self.trainer.world_size > 1:
            raise InputError(
                f"--find {what} tries on one device, and here are {self.trainer.world_size}; give --trainer.devices 1"
            )
        if what == "lr":
            picture = self.run_folder / "pictures" / "learning_rates.png"
            found = tuner.find_lr(self.trainer, self.model, self.datamodule, picture)
            self._say(f"The loss falls fastest at [bold]{found:.2g}[/]: --model.lr {found:.2g}\n[dim]see[/] {picture}")
        else:
            size = tuner.find_batch_size(self.trainer, self.model, self.datamodule)
            self._say(f"There is room for batches of [bold]{size}[/]: --data.batch_size {size}")

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}
        if subcommand in ("validate", "test"):
            kwargs["verbose"] = False
        if subcommand == "predict":
            kwargs["return_predictions"] = False
        return kwargs

    def before_fit(self) -> None:
        self._started = time.perf_counter()
        where = f", in {self.run_folder}" if self.run_folder else ""
        device = self.trainer.strategy.root_device.type
        if self.checkpoint is not None:
            self._say(f"Goes on from step {self.checkpoint['global_step']:,} of {self.config.fit.ckpt_path}")
            for change in changes(self.checkpoint["run"]["config"], self.config_text):
                self._say(f"[yellow]{change}")
        self._say(f"[bold]{self.run_name}[/]: {self._net()} on {self.trainer.world_size} x {device}{where}")

    def after_fit(self) -> None:
        seconds = time.perf_counter() - self._started
        images_per_second = self.throughput.images_per_second  # before the test loads what the checkpoint knows of it
        last = self.run_folder / "checkpoints" / "last.ckpt" if self.run_folder else None
        was_trained = last is not None and last.is_file()
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "") or (str(last) if was_trained else "")
        self.trainer.test(self.model, self.datamodule, ckpt_path=best or None, weights_only=True, verbose=False)
        if self.run_folder is not None:
            self._record.finish(training_seconds=round(seconds, 3), images_per_second=round(images_per_second, 1))
            self._draw_learning_curves(self.run_folder)
        else:
            self._say("One batch went through training, validation and testing. Nothing was kept.")
            return
        if self.checkpoint is not None and self.trainer.global_step == self.checkpoint["global_step"]:
            self._say("[yellow]There was nothing left to train; to train on, give a larger --trainer.max_epochs.")
        rows = {
            **({"test accuracy": f"[bold green]{self._metric('test/acc'):.2%}[/]"} if self._tested() else {}),
            "net": self._net(),
            "training": f"{seconds:.1f} s with validation, without it {images_per_second:,.0f} images a second",
            "folder": str(self.run_folder),
        }
        self._show(rows)
        if best:
            self._say(f"[dim]test it again     [/] {_program()} test --ckpt_path {best}")
            self._say(
                f"[dim]label your images [/] {_program()} predict --ckpt_path {best} --data.predict_folder FOLDER"
            )
            length = "max_steps" if (self.trainer.max_steps or 0) > 0 else "max_epochs"
            last = last if was_trained else self.config[self.subcommand].ckpt_path
            self._say(f"[dim]train on          [/] {_program()} fit --ckpt_path {last} --trainer.{length} N")

    @rank_zero_only
    def _draw_learning_curves(self, folder: Path) -> None:
        file = folder / "metrics.csv"
        curves = parse_metrics(file.read_text()) if file.exists() else {}
        wanted = [name for name in ("train/loss", "val/loss", "train/acc", "val/acc") if name in curves]
        if wanted:
            figure = figures.learning_curves({name: {self.run_name: curves[name]} for name in wanted})
            figures.save(figure, folder / "pictures" / "learning_curves.png")

    def after_validate(self) -> None:
        self._show({name: f"{self._metric(name):.4f}" for name in self.trainer.callback_metrics})

    after_test = after_validate

    def after_predict(self) -> None:
        if self.run_folder:
            self._show({"predictions": str(self.run_folder / "predictions.csv")})

    def _net(self) -> str:
        count = sum(p.numel() for p in self.model.backbone.parameters())
        return f"{self.model.hparams['backbone']}, {count:,} parameters"

    def _tested(self) -> bool:
        return "test/acc" in self.trainer.callback_metrics

    def _metric(self, name: str) -> float:
        return float(self.trainer.callback_metrics[name])

    @rank_zero_only
    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    @rank_zero_only
    def _show(self, rows: dict[str, str]) -> None:
        table = Table(show_header=False)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, value)
        self.console.print(table)


def run(arguments: list[str]) -> int:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``; returns the exit code, 143 if a signal ended it.

    Raises:
        InputError: if the input is wrong.
    """
    has_parent = runs.folder_of_parent() is not None
    if has_parent:
        runs.end_with_parent()
    _quieten()
    try:
        CommandLine(arguments)
    except (Interrupted, SIGTERMException):
        # Lightning kills a parent whose children fail, and the parent's code is the one that counts.
        return 0 if has_parent else _INTERRUPTED
    except MisconfigurationException as error:
        raise InputError(str(error)) from error
    return 0


def _quieten() -> None:
    """Leaves out what the libraries below say at every run, whoever uses them."""
    for name in "lightning.pytorch", "lightning.fabric":
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run")
    warnings.filterwarnings("ignore", message=r".*`isinstance\(treespec, LeafSpec\)` is deprecated")
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    # A run that goes on does so in its folder, and a test needs no ModelCheckpoint.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks used to create")
    # Ours is: it is told at which step to begin.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
    # The net is not configured but where it is sharded, and then there is no average.
    warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback with a model that overrides")
    # With frozen stages.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")
    # With data.val_split 0.
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
    # Nothing here is logged by the step.
    warnings.filterwarnings(
        "ignore", message="The number of training batches .* is smaller than the logging interval Trainer"
    )


def _is_slurms() -> bool:
    """Whether SLURM starts the processes; torchrun may do so inside of a job."""
    return SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _program() -> str:
    """How the user called this program."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m resnet_lightning"
    on_path = shutil.which(called.name)
    return called.name if on_path and Path(on_path).resolve() == called.resolve() else str(called)
