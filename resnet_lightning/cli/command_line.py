"""``lightning fit|validate|test|predict --config ...``: the commands that need a trainer."""

import contextlib
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from rich.console import Console
from rich.markup import escape

from .. import __version__
from ..build import importable_from
from ..checkpoint_file import check_file
from ..errors import InputError, check_int
from ..runs.folder import local_folder
from ..runs.lock import InUse
from ..runs.subprocesses import end_with_parent, end_with_starter, folder_of_parent
from ..signals import Signalled, exit_code
from ..training.callbacks import (
    BestCheckpoint,
    CorruptionTest,
    Evaluation,
    Interrupted,
    LastCheckpoint,
    MultilabelEvaluation,
    PredictionWriter,
    RunRecord,
    Throughput,
)
from ..training.callbacks.last_checkpoint import signal_behind
from ..training.checkpoint_checks import (
    check_checkpoint_callbacks,
    check_checkpoint_options,
    is_measured_in_validation,
)
from ..training.classifier import ImageClassifier
from ..training.config_checks import check_combination, check_is_initialized, check_machines, check_trains
from ..training.model_protocol import leave_out_unsafe_hparams, runs_stage
from ..training.resume_checks import changes, check_checkpoint, check_resumable
from ..training.stop_reason import stop_reason
from ..training.trainer import evaluating_trainer, find_callback, training_trainer, tuning_trainer
from ..trust import names_from_checkpoint
from . import run_config, summary
from .arguments import RunArguments, given_options, option_values, resolve
from .checkpoint_config import named_parts
from .chosen_classes import chosen_classes
from .config_errors import error_in_class
from .console import SafeConsole, shown_log
from .copied_processes import errors_of_copies
from .failures import has_one_line, misconfiguration
from .find import find
from .finished_runs import LeftAlone, check_goes_on, check_saves, unfinished_runs
from .help_of_classes import check_help
from .known_warnings import silence_known_warnings
from .model_blocks import with_model_class
from .monitored_modes import settle_modes
from .parser import Parser, add_run_options
from .precision import settle_precision
from .predictions import output_file, summary_of_predictions, take_images
from .pretrained_images import fill_in_images
from .robustness import folder_of_checkpoint, print_robustness
from .run_session import RunSession
from .signal_report import end_of_signal


def run(arguments: list[str]) -> int:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``.

    Returns:
        The exit code: 0, or that of the signal that ended the command.

    Raises:
        InputError: if the input is wrong.
    """
    end_with_starter()
    has_parent = folder_of_parent() is not None
    if has_parent:
        end_with_parent()
    silence_known_warnings()
    console = SafeConsole()
    try:
        with shown_log(console), RunSession() as session:
            try:
                resolved = resolve(arguments, session.open_folder, folder_of_parent())
                code = importable_from(resolved.code_folders)
                with code, names_from_checkpoint(resolved.trust), errors_of_copies():
                    CommandLine(arguments, resolved, session, console)
            except (Interrupted, Signalled) as stop:  # before W&B is finished: a scheduler does not wait long
                end_of_signal(stop, arguments[0], session.folder)
                raise
    except (Interrupted, Signalled, SIGTERMException) as stop:
        # In a child, exit with 0: Lightning would kill the parent, whose exit code is the one that counts.
        number = signal.SIGTERM if isinstance(stop, SIGTERMException) else stop.number
        return 0 if has_parent else exit_code(number)
    except LeftAlone as done:
        summary.print_line(console, escape(str(done)))
    except MisconfigurationException as error:
        raise misconfiguration(error) from error
    return 0


_NOT_OPTIONS = {
    "fit": {"model", "datamodule", "weights_only", "train_dataloaders", "val_dataloaders"},
    "validate": {"model", "datamodule", "weights_only", "dataloaders", "verbose"},
    "test": {"model", "datamodule", "weights_only", "dataloaders", "verbose"},
    "predict": {"model", "datamodule", "weights_only", "dataloaders", "return_predictions"},
}
"""The arguments of the trainer's methods that are not options, by subcommand."""


class CommandLine(LightningCLI):
    """Builds data, model and trainer from options and configs, and runs a subcommand with them.

    An option on the command line always overrides that of a config or a checkpoint.

    Args:
        arguments: the command line without the program's name, as typed.
        resolved: the same command line with its overlays, configs and checkpoint.
        session: the session of this run; this class sets its folder and loggers.
        console: where to print.
    """

    def __init__(self, arguments: list[str], resolved: RunArguments, session: RunSession, console: Console) -> None:
        self.resolved = resolved
        self.chosen = chosen_classes(resolved.arguments)
        self.session = session
        self.console = console
        self.arguments = arguments
        self.command = shlex.join(["lightning", *arguments])
        self.parsers: dict[str, Parser] = {}  # by subcommand
        self.best: BestCheckpoint | None = None  # the callback that keeps the best checkpoint of a training
        self.predictions: Path | None = None  # the file that `predict` writes
        of_command = {
            name: {"command": name, "allow_abbrev": False, "usage": f"lightning {name} --config CONFIG [options]"}
            for name in self.subcommands()
        }
        super().__init__(
            self.chosen.model_base,
            self.chosen.data_base,
            subclass_mode_model=not self.chosen.is_flat,
            subclass_mode_data=True,
            seed_everything_default=0,
            trainer_defaults={"default_root_dir": "runs"},
            parser_class=Parser,
            parser_kwargs={
                "prog": "lightning",
                "description": "Trains residual networks. `lightning` alone lists all commands.",
                "version": f"resnet_lightning {__version__}",
                "allow_abbrev": False,
                **of_command,
            },
            # This class does these itself.
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=with_model_class(resolved.arguments, self.chosen),
        )

    # Options.

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static
        """The subcommands, and the arguments of the trainer's methods that are not options.

        It is the typed one alone, since the options of each take a twelfth of a second to set up.
        """
        typed = self.arguments[0]
        return {typed: _NOT_OPTIONS[typed]} if typed in _NOT_OPTIONS else _NOT_OPTIONS

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # --help lists the most used options first. Lightning would list the trainer's forty options first.
        chosen = self.chosen
        # Any other module may bring its own loaders.
        parser.add_lightning_class_args(chosen.data_base, "data", subclass_mode=True, required=chosen.is_flat)
        parser.add_lightning_class_args(chosen.model_base, "model", subclass_mode=not chosen.is_flat)
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        assert isinstance(parser, Parser)
        self.parsers[parser.command] = parser
        best = {"monitor": "val/acc", "mode": "max", "filename": "best", "enable_version_counter": False}
        parser.set_defaults({f"checkpoint.{name}": value for name, value in best.items()})
        place = "model" if self.chosen.is_flat else "model.init_args"
        for name, value_of in self.chosen.linked():
            parser.link_arguments("data", f"{place}.{name}", compute_fn=value_of, apply_on="instantiate")
        add_run_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        if "--print_schema" in args:
            self._print_schema(parser, args)
        check_help(self.arguments, self.chosen.is_flat)
        resolved = self.resolved
        self.config = parser.parse_args(args)
        options = self.options
        if options.overlay:
            raise InputError("overlay belongs on the command line, as --overlay NAME; leave it out of the config")
        if options.ckpt_path is not None and resolved.checkpoint_path is None:  # it is in a config file
            resolved = resolved.starting_from(options.ckpt_path)
        self.resolved = resolved
        if self.config.subcommand == "fit":
            check_checkpoint_options(options.checkpoint.as_dict(), options.trainer.as_dict())
            for line in settle_modes(options, resolved.arguments):
                self._print(f"[yellow]{escape(line)}")
        # If the option were set, Lightning would now override the user's options with the hyperparameters of the
        # checkpoint. It is restored in `before_instantiate_classes`.
        options.ckpt_path = None

    @staticmethod
    def _print_schema(parser: LightningArgumentParser, args: Sequence[str]) -> NoReturn:
        """Prints the schema of configs, with the options of the classes that the given config names, and exits."""
        from .schema import named_classes, schema_text  # imported here, since it reads the docstrings of many classes

        has_config = bool(option_values("--config", args, short="-c"))
        classes = named_classes(parser.parse_args(list(resolve(args, lambda _: None).arguments))) if has_config else []
        print(schema_text(classes), end="")
        raise SystemExit(0)

    @property
    def options(self) -> Namespace:
        """The parsed options of the subcommand."""
        return self.config[self.config.subcommand]

    def config_as_yaml(self) -> str:
        """The config of the run, whole."""
        parts = {name: self.options[name] for name in ("seed_everything", "data", "model", "checkpoint", "trainer")}
        parser = self.parsers[self.config.subcommand]
        return str(parser.dump(Namespace(parts), skip_unset=False, skip_validation=True))

    # Objects.

    def before_instantiate_classes(self) -> None:
        options = self.options
        if self.resolved.checkpoint_path is None and (line := fill_in_images(options)):
            self._print(f"[dim]{escape(line)}")
        # Dump the config before anything specific to this run is filled in, so that it can be run again.
        self.config_text = self.config_as_yaml()
        is_old = self.resolved.checkpoint_path is not None
        if self.subcommand == "fit" and options.find and (is_old or options.trainer.fast_dev_run):
            raise InputError(f"--find {options.find} needs a new run; leave out --ckpt_path, --resume and fast_dev_run")
        if self.subcommand == "fit" and self.session.folder is not None:
            check_saves(options.trainer.fast_dev_run)
        root = local_folder("trainer.default_root_dir", options.trainer.default_root_dir or "runs")
        options.trainer.default_root_dir = str(root)
        if self.subcommand == "predict":
            typed = {name for name, _ in given_options(self.resolved.arguments)}
            take_images(options, "data.predict_folder" in typed)
            self.predictions = output_file(options.output, options.trainer.fast_dev_run)
        saves = self.subcommand in ("fit", "predict") and not options.trainer.fast_dev_run
        if saves and self.predictions is None:
            self._choose_folder(root)
            if self.subcommand == "predict" and self.session.folder:
                self.predictions = self.session.folder / "predictions.csv"
        options.ckpt_path = self.resolved.checkpoint_path
        run_config.complete(options, str(self.subcommand), self.session.folder, self.resolved.checkpoint)
        if line := settle_precision(options.trainer):
            self._print(f"[yellow]{escape(line)}")

    def _choose_folder(self, base: Path) -> None:
        name, resume = self.resolved.run_name, self.options.get("resume")
        if self.session.folder is None and resume:
            if resume != "auto":
                raise InputError("resume belongs on the command line, as --resume FOLDER; leave it out of the config")
            for found in unfinished_runs(base, name, self.config_text, self._print):
                with contextlib.suppress(InUse):  # another process has just resumed it
                    if newest := self.session.open_folder(found):
                        self.resolved = self.resolved.starting_from(str(newest))
                    break
            if self.session.folder is None:
                where = escape(str(base / name))
                self._print(f"[dim]There is no run with this config in {where} to resume: a new one starts.")
        if self.session.folder is None:
            self.session.new_folder(base, name, lock=self.subcommand == "fit")
        self.session.announce_folder()

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (TypeError, ValueError) as error:
            # jsonargparse wraps the exceptions of constructors and of links.
            if isinstance(error, InputError):
                raise
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from error
            if line := error_in_class(error):
                raise InputError(line) from error
            raise
        for module in filter(None, (self.model, self.datamodule)):
            check_is_initialized(module)
            leave_out_unsafe_hparams(module)
        self.session.loggers = self.trainer.loggers

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config, folder = self.config_init[self.subcommand], self.session.folder
        if self.subcommand != "fit":
            return evaluating_trainer(config.trainer, self.console, self.own_callbacks(config))
        if config.find:
            return tuning_trainer(config.trainer)
        record = None
        if folder:
            name, command = self.resolved.run_name, self.command
            record = RunRecord(name, self.config_text, folder, config.ckpt_path, command)
        validates = runs_stage("val", self.model, self.datamodule)
        has_metric = validates or not is_measured_in_validation(config.checkpoint.monitor or "val")
        best = config.checkpoint if has_metric else None
        self.best = best
        trainer = training_trainer(config.trainer, self.console, record, best)
        if config.stop_after is not None:
            _stop_after(config.stop_after, trainer)
        return trainer

    def own_callbacks(self, config: Namespace) -> list[Callback]:
        """Returns the callbacks of a command that trains nothing."""
        if self.predictions and self.subcommand == "predict":
            return [PredictionWriter(self.predictions, config.top_k)]
        own: list[Callback] = [Evaluation(None), MultilabelEvaluation(None)] if self.subcommand == "test" else []
        if self.subcommand == "test" and config.corruptions is not None:
            corruptions = CorruptionTest(config.corruptions, folder_of_checkpoint(self.resolved.checkpoint_path))
            corruptions.check(self.model, self.datamodule)
            own.append(corruptions)
        return own

    def after_instantiate_classes(self) -> None:
        check_machines(self.trainer)
        if self.subcommand == "fit":
            check_trains(self.model, self.datamodule)
            if isinstance(self.model, ImageClassifier):
                trusted = option_values("--trust", self.resolved.arguments)
                self.model.load_teacher(name for value in trusted for name in value.split(",") if name)
            check_combination(self.trainer, self.model, self.datamodule)
            if folder := self.session.folder:
                is_new = self.resolved.checkpoint_path is None
                check_checkpoint_callbacks(self.trainer, self.best, folder / "checkpoints", is_new)
        path, checkpoint = self.resolved.checkpoint_path, self.resolved.checkpoint
        if path and checkpoint is not None:
            check_checkpoint(path, checkpoint, self.trainer, self.model, self.datamodule)
            if self.subcommand == "fit":
                check_resumable(path, checkpoint, self.trainer, self.config_text)
                is_last = Path(path).name == "last.ckpt"  # else the run has lost its end
                if is_last and self.session.folder and self.options.get("resume") and folder_of_parent() is None:
                    check_goes_on(self.session.folder, self.config_text, self.arguments)
        elif self.subcommand != "fit":
            self._print("[yellow]No --ckpt_path: the model is untrained, and its results are at chance level.")

    # Subcommands. Lightning calls these instead of the trainer's methods of the same names.

    def fit(self, **kwargs: Any) -> None:
        """Trains, then tests the best checkpoint; with ``--find``, finds a setting instead."""
        folder, what, checkpoint = self.session.folder, self.options.find, self.resolved.checkpoint
        if what and folder:
            find(what, self.trainer, self.model, self.datamodule, folder, self.console)
            return
        if checkpoint is not None:
            changed = changes(checkpoint["run"]["config"], self.config_text)
            summary.print_resumption(self.console, self.options.ckpt_path, checkpoint["global_step"], changed)
        if parts := named_parts(self.resolved.stored_config or ""):
            self._print(f"[dim]From the checkpoint's config: {escape(parts)}")
        summary.print_start(self.console, self.resolved.run_name, self.model, self.trainer, folder)
        started = time.perf_counter()
        try:
            self.trainer.fit(**kwargs, weights_only=True)
            self._finish_training(folder, time.perf_counter() - started)
        except BaseException as error:
            reason = signal_behind(error, self.trainer)
            if record := find_callback(self.trainer, RunRecord):  # the trainer's own hook misses what is around it
                record.end(reason)
                if isinstance(reason, Exception) and not isinstance(reason, Interrupted):
                    self.session.has_failed_early = not record.has_trained and has_one_line(reason)
            if reason is not error:
                raise reason from error
            raise

    def _finish_training(self, folder: Path | None, seconds: float) -> None:
        throughput, record = find_callback(self.trainer, Throughput), find_callback(self.trainer, RunRecord)
        speed = throughput.images_per_second if throughput else 0.0  # before the test loads the checkpoint's
        if not speed:  # the processes of ddp_spawn have ended, and with them what they counted
            speed = float(self.trainer.callback_metrics.get("train/images_per_second", 0.0))
        if record:
            record.take_over(self.trainer)
        last = folder / "checkpoints" / "last.ckpt" if folder else None
        was_trained = last is not None and last.is_file()
        # Not that of `trainer.checkpoint_callback`, which may be the user's.
        best = (self.best.best_path if self.best else "") or (str(last) if was_trained else "")
        if best and isinstance(self.trainer.strategy, ModelParallelStrategy):
            check_file(best)  # it does not read with our plugin
        reason = stop_reason(self.trainer)
        if reason:
            self._print(f"[yellow]The training ended early, in epoch {self.trainer.current_epoch}: {escape(reason)}.")
        if runs_stage("test", self.model, self.datamodule):
            self.trainer.test(self.model, self.datamodule, ckpt_path=best or None, weights_only=True, verbose=False)
        else:
            self._print(f"[dim]{type(self.model).__name__} has no test_step or no test data: nothing is tested.")
        if keeper := find_callback(self.trainer, LastCheckpoint):
            keeper.check_place(self.trainer)
        if folder is None or record is None:
            self._print("One batch was trained, validated and tested. Nothing was saved.")
            return
        early = {"reason": reason} if reason else {}
        if self.resolved.checkpoint is not None:  # the speed, too, is that of the whole training
            seconds += float(self.resolved.checkpoint["run"].get("seconds", 0.0))
        record.finish(training_seconds=round(seconds, 3), images_per_second=round(speed, 1), **early)
        summary.draw_learning_curves(folder)
        checkpoint = self.resolved.checkpoint
        if checkpoint is not None and self.trainer.global_step == checkpoint["global_step"]:
            length = summary.length_option(self.trainer)
            self._print(f"[yellow]There was nothing left to train; to train longer, raise --trainer.{length}.")
        last_path = str(last) if was_trained else self.options.ckpt_path
        result = summary.TrainingResult(folder, seconds, speed, best, last_path)
        summary.print_result(self.console, result, self.model, self.trainer)

    def validate(self, **kwargs: Any) -> None:
        """Validates, and prints the metrics."""
        self.trainer.validate(**kwargs, weights_only=True, verbose=False)
        summary.print_metrics(self.console, self.trainer)

    def test(self, **kwargs: Any) -> None:
        """Tests, and prints the metrics."""
        self.trainer.test(**kwargs, weights_only=True, verbose=False)
        summary.print_metrics(self.console, self.trainer)
        found = find_callback(self.trainer, CorruptionTest)
        if found and found.result:
            print_robustness(self.console, found.result, found.folder)

    def predict(self, **kwargs: Any) -> None:
        """Writes the predictions as a CSV file, and prints a summary."""
        self.trainer.predict(**kwargs, weights_only=True, return_predictions=False)
        writer = find_callback(self.trainer, PredictionWriter)
        if writer and writer.has_written:
            summary.print_table(self.console, summary_of_predictions(writer.path))

    def _print(self, text: str) -> None:
        summary.print_line(self.console, text)


def _stop_after(epochs: int, trainer: Trainer) -> None:
    """Lets a training save and end after so many epochs.

    Raises:
        InputError: if the number is not positive, or if the training saves nothing.
    """
    check_int("--stop_after", epochs, 1)
    last = find_callback(trainer, LastCheckpoint)
    if last is None:
        raise InputError("--stop_after needs checkpoints; leave out fast_dev_run and enable_checkpointing: false")
    last.stop_after = epochs
