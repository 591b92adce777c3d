"""A Weights & Biases logger that never prompts. A resumed run stays one W&B run, with each row once."""

import base64
import contextlib
import io
import logging
import os
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from .panels import further_scores, score_tables
from .wandb_journal import (
    RECORD,
    Journal,
    Row,
    RowKey,
    Session,
    append_end,
    append_row,
    read_journal,
    set_aside_path,
    start_journal,
)

if TYPE_CHECKING:
    from wandb import Image, Run

# How long the end of a run waits for the upload; `wandb sync` uploads the rest.
_FINISH_SECONDS = 60.0

# With more classes, W&B truncates the table behind its confusion matrix.
_MOST_CLASSES = 100

_OFFLINE = "W&B cannot be reached: the run is tracked offline, for `wandb sync` later (%s)"

_log = logging.getLogger(__name__)


def wandb_is_usable() -> bool:
    """Whether W&B can be used without a prompt: the user is logged in, or ``WANDB_MODE`` is set."""
    if "WANDB_MODE" in os.environ:
        return True
    import wandb

    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error as error:  # no server, or one that does not accept the key
        _log.warning(_OFFLINE, error)
        return False


def make_resumable(logger: Any, folder: Path) -> None:
    """Replaces Lightning's ``WandbLogger`` in a config with ours, and sets the id of the folder's W&B run, if any.

    Args:
        logger: its ``class_path`` and ``init_args``.
        folder: the run's folder.
    """
    if not logger.class_path.startswith("lightning.pytorch.loggers."):
        return  # the user's own class with the same name
    logger.class_path = f"{ResumableWandbLogger.__module__}.{ResumableWandbLogger.__name__}"
    options = logger.init_args
    if not any(options.get(name) for name in ("resume", "resume_from", "fork_from")):
        options.resume = "allow"  # Lightning's default, which None in a config would override
    journal = read_journal(folder / RECORD)
    if journal.session is None or options.get("id") or options.get("version"):
        return
    options.id = journal.session.id
    if journal.waits_for_upload(folder) and options.get("mode") is None and "WANDB_MODE" not in os.environ:
        options.mode = "offline"  # online, W&B would receive the end of the run before its beginning


class ResumableWandbLogger(WandbLogger):
    """Lightning's logger, for runs that are stopped or killed and resumed: one W&B run, with each row once, in order.

    Rows are numbered as they are logged, and each is written to the journal in the run's folder before it is sent to
    W&B. A resumed run repeats the rows after its checkpoint. Those that W&B already has are not logged again. Rows
    before the checkpoint that W&B lacks are logged from the journal. Which rows W&B has:

    - Online, W&B's server returns the step to continue with.
    - Offline, a process that was not killed has written all of its rows, even after an error or a handled signal.
    - Offline, a process that is killed may have lost its last seconds, and only W&B can read its files. They are
      renamed to ``wandb/killed-offline-run-...``, which ``wandb sync`` ignores, and all rows of that process up to the
      checkpoint are logged again. The journal has no images, system metrics, console output
      or values that other code passed to ``wandb.log``; these stay in the renamed files only.
    - The rows of a killed process cannot be verified if its files were uploaded or deleted before the run resumes
      offline, or if the server cannot be reached when a killed online run resumes. The journal's rows then count as
      present, so that nothing is logged twice, and a warning names the process's files.
    """

    # The constructor is Lightning's, since its arguments appear in configs.
    rows = 0
    _is_reached = True
    _session: Session | None = None
    _is_positioned = False
    _present: list[Row]
    _missing: list[Row]
    _killed: Path | None = None
    _skipped: Counter[RowKey]

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            journal = read_journal(self._journal_path)
            if journal.session is None:  # written first: the process may be killed while W&B starts
                journal.session = Session(self.version or _new_id(), "", False, 0)
                self._wandb_init["id"] = journal.session.id
                start_journal(self._journal_path, journal.session)
            run: Any = self._start()
            if not run.disabled and run.settings.mode != "shared":  # such runs have no steps
                self._begin(run, journal if journal.session.id == run.id else Journal())
        return self._experiment

    def _start(self) -> Any:
        import wandb

        self._wandb_init.pop("anonymous", None)  # W&B warns of it
        settings: dict[str, Any] = {"finish_timeout_raises": True}
        if "WANDB_FINISH_TIMEOUT" not in os.environ:
            settings["finish_timeout"] = _FINISH_SECONDS
        self._wandb_init.setdefault("settings", wandb.Settings(**settings))
        try:
            return super().experiment
        except wandb.errors.CommError as error:
            _log.warning(_OFFLINE, error)
            self._wandb_init["mode"] = "offline"
            return super().experiment

    def _begin(self, run: "Run", journal: Journal) -> None:
        """Determines which of the journal's rows W&B has, and continues with the step after them."""
        folder = self._journal_path.parent
        self._killed = journal.killed_files(folder) if run.offline else None
        if not run.offline:
            first = run.starting_step
        elif journal.session is None:
            first = 0
        elif self._killed:
            first = journal.session.first_step
        else:
            if journal.rows and journal.next_step is None:
                _log.warning(
                    "W&B may lack the last rows of the process that was killed; its files: %s",
                    (folder / journal.session.file).parent,
                )
            first = max([journal.next_step or journal.session.first_step, *(r.wandb_step + 1 for r in journal.rows)])
        if run.offline and run.step < first:
            run.log({}, step=first)  # logs no row, but sets the step of the next one
        self._present = [row for row in journal.rows if row.wandb_step < first]
        self._missing = [row for row in journal.rows if row.wandb_step >= first]
        file = os.path.relpath(Path(run.settings.sync_file).absolute(), folder.absolute())
        self._session = Session(run.id, file, run.offline, run.step)

    @rank_zero_only
    def resume_after(self, rows: int) -> None:
        """Sets the number of rows that had been logged when the run's checkpoint was written."""
        _ = self.experiment
        self.rows, self._is_positioned = rows, True
        if self._session is None:
            return
        self._skipped = Counter(row.key for row in self._present if row.number >= rows)
        missing = [row for row in self._missing if row.number < rows]
        for step, row in enumerate(missing, start=self._session.first_step):
            row.wandb_step = step
        if self._killed:
            _set_aside(self._killed)
            self._killed = None
        start_journal(self._journal_path, self._session, [*self._present, *missing])
        for row in missing:
            values = {key: value for key, value in row.metrics.items() if value is not None}
            super().log_metrics(values, row.step if values else None)  # a picture is lost, and its row is empty
        self._present, self._missing = [], []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        run = self.experiment
        if not self._is_positioned:  # there was no checkpoint to resume from
            self.resume_after(0)
        if self._session is not None:
            row = Row(self.rows, self._step_of(run), step, {key: _plain(value) for key, value in metrics.items()})
            if self._skipped[row.key] > 0:
                self._skipped[row.key] -= 1
                self.rows += 1
                return
            append_row(self._journal_path, row)
        self.rows += 1
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # W&B's process has died, or its server cannot be reached, which a table needs
            if self._is_reached:
                _log.warning("W&B could not log %s; the run continues: %s", ", ".join(metrics), error)
            self._is_reached = False

    def _step_of(self, run: "Run") -> int:
        try:
            return run.step
        except Exception:  # W&B's process has died; only the journal has this row
            return self.rows + (self._session.first_step if self._session else 0)

    @rank_zero_only
    def log_evaluation(self, evaluation: Mapping[str, Any], step: int) -> None:
        """Logs the results of ``callbacks.Evaluation``: confusion matrix, scores, worst mistakes.

        Args:
            evaluation: the content of ``evaluation.json``.
            step: the optimizer step, by which the test of a run that was trained on differs from the one before.
        """
        import wandb

        classes, counts = evaluation["classes"], evaluation["confusion"]
        panels: dict[str, Any] = {}
        if len(classes) <= _MOST_CLASSES:
            pairs = [(row, i) for row, line in enumerate(counts) for i, count in enumerate(line) for _ in range(count)]
            labels, predictions = map(list, zip(*pairs, strict=True))
            panels["test/confusion_matrix"] = wandb.plot.confusion_matrix(
                y_true=labels, preds=predictions, class_names=list(classes)
            )
        for name, (columns, rows) in score_tables(evaluation).items():
            panels[name] = wandb.Table(list(columns), rows)
        names = "label", "prediction", "confidence"
        panels["test/worst_mistakes"] = wandb.Table(
            ["image", "file", *names],
            [[_image_of(m["png"]), m["image"], *(m[name] for name in names)] for m in evaluation["mistakes"]],
        )
        self.log_metrics(further_scores(evaluation), step)
        for name, panel in panels.items():
            if self._is_reached:  # otherwise each panel would wait for the server again
                self.log_metrics({name: panel}, step)

    def end(self, exit_code: int) -> None:
        """Ends the W&B run. Waits a limited time for the upload."""
        run: Any = self._experiment
        self._experiment = None
        if run is None:
            return
        next_step = self._step_of(run)
        try:
            run.finish(exit_code)
        except Exception:  # the upload took too long, or W&B's process has died
            self._is_reached = False
        if self._session is not None and self._is_positioned and self._is_reached:
            append_end(self._journal_path, next_step)
        if not run.offline and not self._is_reached:
            _log.warning("W&B has not received everything; upload the rest: wandb sync %s", Path(run.settings.sync_dir))

    @property
    def _journal_path(self) -> Path:
        return Path(self.save_dir or ".") / RECORD


def _set_aside(files: Path) -> None:
    """Renames the W&B files of a killed process, unless an earlier process, which was then killed too, has done so."""
    set_aside = set_aside_path(files)
    if not set_aside.exists():  # otherwise `files` is this process's own folder, started in the same second
        files.rename(set_aside)
    _log.warning(
        "the W&B files of the process that was killed are renamed to %s; its metrics are logged again", set_aside
    )


def _image_of(png: str) -> "Image":
    import wandb
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(base64.b64decode(png))) as image:
        return wandb.Image(image.copy())


def _new_id() -> str:
    return os.environ.get("WANDB_RUN_ID") or secrets.token_hex(5)  # a sweep's agent sets the variable


def _plain(value: Any) -> int | float | str | None:
    """Converts a value to a number or a string; returns None if it is neither."""
    with contextlib.suppress(AttributeError, ValueError, RuntimeError):
        value = value.item()
    return value if isinstance(value, int | float | str) else None
