"""Callbacks for any LightningModule: one concern a file."""

from .prediction_writer import PredictionWriter
from .run_progress import RunProgress
from .run_record import RunRecord
from .throughput import Throughput

__all__ = ["PredictionWriter", "RunProgress", "RunRecord", "Throughput"]
