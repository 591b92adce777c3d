"""An MLflow logger whose resumed run stays one MLflow run, with each row once."""

import logging
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from ..atomic_write import atomic_write_text
from ..errors import InputError
from .configs import as_text, flatten

FOLDER = "mlflow"
"""The folder of the database and the artifacts, in the run's folder."""

_LONGEST = 6000  # characters of a parameter's value, of which MLflow takes no more
_AT_ONCE = 100  # parameters in a batch, likewise


def prepare(logger: Any, folder: Path) -> None:
    """Replaces Lightning's ``MLFlowLogger`` in a config with ours, which writes into the run's folder.

    A ``tracking_uri`` in the config or in ``MLFLOW_TRACKING_URI`` stays, and the run is then logged to that server. The
    run's folder stores MLflow's id of the run.

    Args:
        logger: its ``class_path`` and ``init_args``.
        folder: the run's folder.

    Raises:
        InputError: if MLflow is not installed, or only a part of it without its database.
    """
    if any(find_spec(package) is None for package in ("mlflow", "sqlalchemy", "alembic")):
        raise InputError("MLFlowLogger needs mlflow; pip install 'resnet-lightning[mlflow]'")
    logger.class_path = f"{ResumableMLFlowLogger.__module__}.{ResumableMLFlowLogger.__name__}"
    place, options = (folder / FOLDER).absolute(), logger.init_args
    if not options.get("tracking_uri"):
        options.tracking_uri = f"sqlite:///{place / 'mlflow.db'}"
        options.artifact_location = options.get("artifact_location") or (place / "artifacts").as_uri()
    options.run_name = options.get("run_name") or f"{folder.absolute().parent.name}/{folder.name}"
    record = place / "run_id"
    options.record = str(record)
    if record.exists():
        options.run_id = options.get("run_id") or record.read_text().strip()


class ResumableMLFlowLogger(MLFlowLogger):
    """Lightning's logger, for runs that are stopped or killed and resumed.

    A resumed run repeats the rows after its checkpoint. Those that MLflow already has, by metric and step, are not
    logged again. The parameters, which MLflow does not let change, are those of the first process; ``config.yaml``
    among the artifacts is the newest config.

    Args:
        experiment_name: the name of the experiment; it is created if it does not exist.
        tracking_uri: where MLflow stores the runs.
        artifact_location: where a new experiment stores its artifacts.
        record: the file to which MLflow's id of the run is written; None writes none.
        options: further arguments of Lightning's logger.
    """

    def __init__(
        self,
        experiment_name: str = "resnet_lightning",
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
        record: str | None = None,
        **options: Any,
    ) -> None:
        import mlflow  # noqa: F401  # sets the level that is changed below

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it announces the tables of each new database
        logging.getLogger("alembic").setLevel(logging.WARNING)
        if record and (tracking_uri or "").startswith("sqlite:"):
            Path(record).parent.mkdir(parents=True, exist_ok=True)  # of the database
        super().__init__(
            experiment_name=experiment_name,
            tracking_uri=tracking_uri,
            artifact_location=artifact_location,
            **options,
        )
        self._experiment_to_create = experiment_name, artifact_location
        self._uri = tracking_uri
        self._record = record
        self._present: set[tuple[str, int]] | None = None  # rows of earlier processes, by metric and step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._present is None:
            self._present = set()
            self._create_experiment()
            client = super().experiment
            run = client.get_run(self.run_id)
            self._present = {
                (name, row.step) for name in run.data.metrics for row in client.get_metric_history(self.run_id, name)
            }
            client.update_run(self.run_id, status="RUNNING")
            if self._record and self.run_id:
                atomic_write_text(Path(self._record), self.run_id)
        return super().experiment

    def _create_experiment(self) -> None:
        """Creates the experiment if it does not exist. Lightning would warn of it."""
        from mlflow.tracking import MlflowClient

        client, (name, location) = MlflowClient(self._uri), self._experiment_to_create
        if client.get_experiment_by_name(name) is None:
            client.create_experiment(name, artifact_location=location)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Logs a nested config."""
        from mlflow.entities import Param

        config = dict(params) if isinstance(params, Mapping) else vars(params)
        client = self.experiment
        known = client.get_run(self.run_id).data.params
        flat = {_allowed(name): as_text(value)[:_LONGEST] for name, value in flatten(config).items()}
        added = [Param(name, value) for name, value in flat.items() if name not in known]
        for first in range(0, len(added), _AT_ONCE):
            client.log_batch(self.run_id, params=added[first : first + _AT_ONCE])
        client.log_text(self.run_id, yaml.safe_dump(config, sort_keys=False), "config.yaml")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        _ = self.experiment
        present = self._present or set()
        named = {_allowed(name): value for name, value in metrics.items()}
        new = {name: value for name, value in named.items() if (name, step or 0) not in present}
        if new:
            super().log_metrics(new, step)


def _allowed(name: str) -> str:
    """Returns a name for a parameter or metric with ``_`` for what MLflow refuses in it, as in ``lr_factors.*``."""
    return re.sub(r"[^\w. :/-]", "_", name)
