"""Weights & Biases without surprises: nothing is asked for, and a run that goes on is one run there too."""

import base64
import contextlib
import io
import json
import logging
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from ..atomic_write import atomic_write_text

if TYPE_CHECKING:
    from wandb import Image, Run

# In a run's folder: a line for the W&B run, and one for each row that it was given.
RECORD = "wandb.jsonl"

# Each piece of a record in W&B's file has one: checksum, length, and whether it is the record's first or last.
_PIECE = struct.Struct("<IHB")
_WHOLE, _FIRST, _LAST = 1, 2, 4

# How long the end of a run waits for what is still to be uploaded; `wandb sync` does the rest.
_FINISH_SECONDS = 60.0

# Of more, W&B's confusion matrix, a table of all pairs, would be cut off.
_MOST_CLASSES = 100

_OFFLINE = "W&B cannot be reached: the run is tracked offline, for `wandb sync` later (%s)"

_log = logging.getLogger(__name__)


def wandb_is_usable() -> bool:
    """Whether W&B can be written to without asking: someone is logged in, or ``WANDB_MODE`` already has the say."""
    if "WANDB_MODE" in os.environ:
        return True
    import wandb

    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error as error:  # no server, or one that does not know the key
        _log.warning(_OFFLINE, error)
        return False


def make_resumable(logger: Any, folder: Path) -> None:
    """Turns Lightning's ``WandbLogger`` in a config into ours, of the W&B run that the folder has begun, if it has.

    Args:
        logger: its ``class_path`` and ``init_args``.
        folder: the run's folder.
    """
    if not logger.class_path.startswith("lightning.pytorch.loggers."):
        return  # somebody's own, of the same name
    logger.class_path = f"{ResumableWandbLogger.__module__}.{ResumableWandbLogger.__name__}"
    options = logger.init_args
    if not any(options.get(name) for name in ("resume", "resume_from", "fork_from")):
        options.resume = "allow"  # as Lightning does, unless it is told something else, for which it takes None as well
    session, _ = _read(folder / RECORD)
    if session is None or options.get("id") or options.get("version"):
        return
    options.id = session.id
    file = folder / session.file
    waits_for_upload = file.exists() and not file.with_name(f"{file.name}.synced").exists()
    if session.is_offline and waits_for_upload and options.get("mode") is None and "WANDB_MODE" not in os.environ:
        options.mode = "offline"  # online, W&B would get the end of the run before its beginning


class ResumableWandbLogger(WandbLogger):
    """Lightning's, for runs that are stopped or killed and go on: one W&B run, and in it each row once, in order.

    Rows are numbered as they are logged. A run that goes on from a checkpoint says how many lie behind it, and repeats
    those that came after: what W&B already has is not logged again. W&B, for its part, loses the last seconds of a
    process that is killed, even of what came before the checkpoint. So each row is written down in the run's folder
    before it is logged, and what turns out to be missing and is not going to be repeated is logged from there: its
    numbers, for images and the like only W&B has. How far W&B has come is what its server says or, offline, its file.

    What others log, by ``wandb.log`` for instance, goes in between and is repeated with the run.
    """

    # The constructor is to stay Lightning's, whose arguments stand in configs.
    rows = 0
    _is_reached = True
    _session: "_Session | None" = None
    _knows_where = False
    _there: "list[_Row]"
    _missing: "list[_Row]"
    _skipped: "Counter[_Name]"

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            before, rows = _read(self._record)
            if before is None:  # written down first: the process may be killed while W&B begins
                before = _Session(self._id or _new_id(), "", False, 0)
                self._wandb_init["id"] = before.id
                self._write(before, [])
            first = _first_free_step(self._record.parent, before, rows)
            run: Any = self._start()
            if not run.disabled and run.settings.mode != "shared":  # those have no steps
                self._begin(run, *((rows, first) if before.id == run.id else ([], 0)))
        return self._experiment

    def _start(self) -> Any:
        import wandb

        self._wandb_init.pop("anonymous", None)  # of which W&B warns
        if "WANDB_FINISH_TIMEOUT" not in os.environ:
            self._wandb_init.setdefault("settings", wandb.Settings(finish_timeout=_FINISH_SECONDS))
        try:
            return super().experiment
        except wandb.errors.CommError as error:
            _log.warning(_OFFLINE, error)
            self._wandb_init["mode"] = "offline"
            return super().experiment

    def _begin(self, run: "Run", rows: "list[_Row]", first: int) -> None:
        if not run.offline:
            first = run.starting_step
        elif run.step < first:
            run.log({}, step=first)  # the next row gets this step; without one, it is an empty row
        self._there = [row for row in rows if row.wandb_step < first]
        self._missing = [row for row in rows if row.wandb_step >= first]
        file = os.path.relpath(Path(run.settings.sync_file).absolute(), self._record.parent.absolute())
        self._session = _Session(run.id, file, run.offline, run.step)
        if not rows:
            self._write(self._session, [])

    @rank_zero_only
    def go_on_after(self, rows: int) -> None:
        """Says how many rows had been logged when the checkpoint was written that the run goes on from."""
        _ = self.experiment
        self.rows, self._knows_where = rows, True
        if self._session is None:
            return
        self._skipped = Counter(row.name for row in self._there if row.number >= rows)
        missing = [row for row in self._missing if row.number < rows]
        for step, row in enumerate(missing, start=self._session.first_step):
            row.wandb_step = step
        self._write(self._session, [*self._there, *missing])
        for row in missing:
            super().log_metrics({key: v for key, v in row.metrics.items() if v is not None}, row.step)
        self._there, self._missing = [], []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        run = self.experiment
        if not self._knows_where:  # there was no checkpoint to go on from
            self.go_on_after(0)
        if self._session is not None:
            row = _Row(self.rows, self._step_of(run), step, {key: _plain(value) for key, value in metrics.items()})
            if self._skipped[row.name] > 0:
                self._skipped[row.name] -= 1
                self.rows += 1
                return
            with self._record.open("a") as file:
                file.write(_line(row))
        self.rows += 1
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # of a table, for which W&B asks its server first; or its own process has died
            if self._is_reached:
                _log.warning("W&B did not take %s, and the run goes on: %s", ", ".join(metrics), error)
            self._is_reached = False

    def _step_of(self, run: "Run") -> int:
        try:
            return run.step
        except Exception:  # W&B's process has died; what is written down here is all that there will be
            return self.rows + (self._session.first_step if self._session else 0)

    @rank_zero_only
    def log_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Logs what ``callbacks.Evaluation`` has found: confusion matrix, accuracy of each class, worst mistakes."""
        import wandb

        classes, counts = evaluation["classes"], evaluation["confusion"]
        panels: dict[str, Any] = {}
        if len(classes) <= _MOST_CLASSES:
            pairs = [(row, i) for row, line in enumerate(counts) for i, count in enumerate(line) for _ in range(count)]
            labels, predictions = map(list, zip(*pairs, strict=True))
            panels["test/confusion_matrix"] = wandb.plot.confusion_matrix(
                y_true=labels, preds=predictions, class_names=list(classes)
            )
        accuracies = [line[row] / max(sum(line), 1) for row, line in enumerate(counts)]
        panels["test/per_class_accuracy"] = wandb.Table(
            ["class", "accuracy", "images"], list(zip(classes, accuracies, map(sum, counts), strict=True))
        )
        names = "label", "prediction", "confidence"
        panels["test/worst_mistakes"] = wandb.Table(
            ["image", "file", *names],
            [[_picture(m["png"]), m["image"], *(m[name] for name in names)] for m in evaluation["mistakes"]],
        )
        for name, panel in panels.items():
            if self._is_reached:  # else each would wait for the server again
                self.log_metrics({name: panel})

    def end(self, exit_code: int) -> None:
        """Ends the W&B run, which waits for what is still to be uploaded, though not for ever."""
        run, self._experiment = self._experiment, None
        if run is None:
            return
        try:
            run.finish(exit_code)
        except Exception:  # W&B's process has died
            self._is_reached = False
        if not run.offline and (getattr(run, "_finish_timed_out", False) or not self._is_reached):
            _log.warning("W&B has not got everything; later: wandb sync %s", Path(run.settings.sync_dir))

    @property
    def _record(self) -> Path:
        return Path(self._save_dir or ".") / RECORD

    def _write(self, session: "_Session", rows: "list[_Row]") -> None:
        atomic_write_text(self._record, _line(session) + "".join(map(_line, rows)))


def _picture(png: str) -> "Image":
    import wandb
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(base64.b64decode(png))) as image:
        return wandb.Image(image.copy())


# The record.


@dataclass
class _Session:
    """What one process logs to a W&B run."""

    id: str  # W&B's, of the run
    file: str  # W&B's, as seen from the run's folder
    is_offline: bool
    first_step: int  # W&B's, of the first row


@dataclass
class _Row:
    number: int
    wandb_step: int
    step: int | None
    metrics: dict[str, Any]

    @property
    def name(self) -> "_Name":
        """What the row is known by where it is repeated; its numbers may differ, as those that say how fast it went."""
        return self.step, tuple(sorted(self.metrics))


_Name = tuple[int | None, tuple[str, ...]]


def _new_id() -> str:
    from wandb.sdk.lib.runid import generate_id

    return os.environ.get("WANDB_RUN_ID") or generate_id()  # the first is what a sweep calls it


def _line(entry: _Session | _Row) -> str:
    return json.dumps(vars(entry)) + "\n"


def _plain(value: Any) -> int | float | str | None:
    """A number, out of a tensor or an array too, or a text; None for anything else."""
    with contextlib.suppress(AttributeError, ValueError, RuntimeError):
        value = value.item()
    return value if isinstance(value, int | float | str) else None


def _read(record: Path) -> tuple[_Session | None, list[_Row]]:
    """The last session and all rows, of the same W&B run; a damaged record is put aside."""
    if not record.exists():
        return None, []
    try:
        lines = record.read_text().split("\n")[:-1]  # what comes after the last end of a line was not logged
        session, *rows = map(json.loads, lines)
        return _Session(**session), [_Row(**row) for row in rows]
    except (ValueError, TypeError):
        _put_aside(record)
        return None, []


@rank_zero_only
def _put_aside(record: Path) -> None:
    record.replace(record.with_name(f"{record.name}.damaged"))
    _log.warning("%s is damaged: left alone as %s.damaged, and W&B gets a new run", record, record.name)


# What W&B has.


def _first_free_step(folder: Path, session: _Session, rows: list[_Row]) -> int:
    """The step after the last row that W&B has kept of an offline run."""
    try:
        with (folder / session.file).open("rb") as file:
            return max([session.first_step, *(step + 1 for step in _steps(file))])
    except (
        OSError,
        ValueError,
        ImportError,
    ):  # cleared away after it was uploaded, or no longer of the form that is known here
        return max((row.wandb_step + 1 for row in rows), default=session.first_step)


def _steps(file: BinaryIO) -> Iterator[int]:
    """The steps of the rows in W&B's file, whose end may be missing.

    It is a log of LevelDB's form: blocks of 32 KiB, and in them records, cut into pieces where a block ends.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    block, at = file.read(1 << 15), 7
    if block and not block.startswith(b":W&B"):
        raise ValueError("not a file of W&B's")
    record = b""
    while block:
        while at + _PIECE.size <= len(block):
            _, length, kind = _PIECE.unpack_from(block, at)
            at += _PIECE.size
            piece = block[at : at + length]
            at += length
            if len(piece) < length:
                return
            record = piece if kind in (_WHOLE, _FIRST) else record + piece
            if kind in (_WHOLE, _LAST):
                try:
                    content = Record.FromString(record)
                except DecodeError as error:
                    raise ValueError("not a record of W&B's") from error
                if content.HasField("history"):
                    if not content.history.HasField("step"):
                        raise ValueError("a row without a step")
                    yield content.history.step.num
        block, at = file.read(1 << 15), 0
