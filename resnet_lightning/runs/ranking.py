"""Orders settings by a metric, the best first."""

import math
from collections.abc import Sequence

from .comparison import Spread, compared_metrics, counted_runs, final_metrics, spread
from .reader import Run

# The last words of the names of metrics of which a smaller value is better.
_SMALLER = {"loss", "error", "err", "nll", "brier", "ece", "mse", "rmse", "mae", "perplexity", "distance"}


def smaller_is_better(runs: Sequence[Run], metric: str) -> bool:
    """Whether a smaller value of a metric is better: by the runs that monitor it, otherwise by its name."""
    modes = {str(run.setting("checkpoint.mode")) for run in runs if run.monitor == metric}
    if len(modes) == 1:
        return modes == {"min"}
    return metric.lower().replace("/", "_").rpartition("_")[2] in _SMALLER


def validation_metric(runs: Sequence[Run]) -> str | None:
    """The metric that settings are selected by: the one that all runs monitor, otherwise ``val/acc`` or ``val/loss``.

    None if no run logged one of them.
    """
    monitored = {run.monitor for run in runs}
    candidates = [*(monitored if len(monitored) == 1 else ()), "val/acc", "val/loss"]
    return next((name for name in candidates if any(name in run.curves for run in runs)), None)


def best_validation(group: Sequence[Run], metric: str) -> Spread | None:
    """The best epoch's value of a validation metric, as mean and deviation over the complete runs of a setting.

    The tested checkpoint is that of the best epoch. None if no complete run has a value.
    """
    best = min if smaller_is_better(group, metric) else max
    finite = [[value for _, value in run.curves.get(metric, []) if math.isfinite(value)] for run in counted_runs(group)]
    return spread([best(values) for values in finite if values])


def best_first(groups: Sequence[Sequence[Run]], metric: str | None = None) -> list[Sequence[Run]]:
    """Sorts settings by the mean of a metric, the best first; those without a finite mean are last.

    Args:
        groups: the runs of each setting, as ``by_seed`` returns them.
        metric: one of ``sort_metrics``; by default the best epoch's validation, since a selection on the test images
            would be biased.
    """
    everything = [run for group in groups for run in group]
    of_validation = validation_metric(everything)
    if metric is None and of_validation is None:
        return list(groups)
    sign = 1 if smaller_is_better(everything, metric or of_validation or "") else -1

    def key(group: Sequence[Run]) -> float:
        found = final_metrics(group).get(metric) if metric else best_validation(group, of_validation or "")
        return sign * found.mean if found and math.isfinite(found.mean) else math.inf

    return sorted(groups, key=key)


def sort_metrics(runs: Sequence[Run]) -> list[str]:
    """The metrics that settings can be sorted by: those that a run has."""
    return [name for name in compared_metrics(runs) if any(run.last(name) is not None for run in runs)]
