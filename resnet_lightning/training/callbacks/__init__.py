"""Callbacks for any LightningModule, one per file."""

from .agreement import Agreement
from .best_checkpoint import BestCheckpoint
from .corruption_test import CorruptionTest
from .data_summary import DataSummary
from .ema import MovingAverage
from .embedding import Embedding
from .evaluation import Evaluation
from .exact_resume import ExactResume
from .finite_loss import FiniteLoss
from .first_batch import FirstBatch
from .fitting_threads import FittingThreads
from .gradient_norm import GradientNorm
from .last_checkpoint import LastCheckpoint
from .learning_rate_finder import InitialLearningRateFinder
from .loader_replay import LoaderReplay
from .monitored_metric import MonitoredMetric
from .multilabel_evaluation import MultilabelEvaluation
from .prediction_writer import PredictionWriter
from .preemption import Interrupted, Paused
from .progress_bar import RunProgress
from .run_record import RunRecord
from .throughput import Throughput
from .weight_averaging import ResumableWeightAveraging

__all__ = [
    "Agreement",
    "BestCheckpoint",
    "CorruptionTest",
    "DataSummary",
    "Embedding",
    "Evaluation",
    "ExactResume",
    "FiniteLoss",
    "FirstBatch",
    "FittingThreads",
    "GradientNorm",
    "InitialLearningRateFinder",
    "Interrupted",
    "LastCheckpoint",
    "LoaderReplay",
    "MonitoredMetric",
    "MovingAverage",
    "MultilabelEvaluation",
    "Paused",
    "PredictionWriter",
    "ResumableWeightAveraging",
    "RunProgress",
    "RunRecord",
    "Throughput",
]
