"""Creates and holds a run's folder for a training that is started from Python."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from ...errors import InputError
from ...runs.lock import Lock
from .run_record import RunRecord


class RunFolder(Callback):
    """Creates the run's folder when training starts, locks it while it trains, and records that it is finished.

    For ``lightning fit``, the command line does this.

    Args:
        folder: the run's folder, which does not exist yet.
        record: the callback that records the run.

    Raises:
        InputError: at the start of training, if the folder cannot be created or another run has created it meanwhile.
    """

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder = folder
        self.record = record
        self._is_created = False
        self._lock: Lock | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not trainer.is_global_zero:
            return
        if not self._is_created and (self.folder / "run.json").exists():
            raise InputError(f"another run has created {str(self.folder)!r} meanwhile; call from_config again")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # a logger may have created it
        except OSError as error:
            raise InputError(f"cannot create the run's folder {str(self.folder)!r}: {error.strerror}") from error
        self._is_created = True
        self._lock = Lock.of_a_run(self.folder)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.record.finish()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None
