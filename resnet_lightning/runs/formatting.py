"""Formats the numbers and times of runs."""

import datetime
import math

from .comparison import Spread
from .reader import Run


def percent(share: float | None) -> str:
    """Formats a share such as 0.9944 as ``99.44%``, and None as a dash."""
    return "-" if share is None else f"{share:.2%}" if math.isfinite(share) else str(share)


def mean_and_deviation(metric: str, spread: Spread | None) -> str:
    """Formats an accuracy as ``99.44% ± 0.20%``, and other metrics as ``0.0213 ± 0.0012``."""
    if spread is None:
        return "-"
    numbers = (spread.mean,) if spread.deviation is None else (spread.mean, spread.deviation)
    return " ± ".join(percent(number) if metric.endswith("/acc") else decimal(number) for number in numbers)


def decimal(number: float) -> str:
    """Formats a number such as ``0.0213``, and one of a diverged run as ``2.498e+06``."""
    return f"{number:.4f}" if not abs(number) >= 10_000 else f"{number:.4g}"


def signed(metric: str, difference: float) -> str:
    """Formats a difference of accuracies in percentage points, such as ``+0.30``, and others as ``-0.0121``."""
    return f"{100 * difference:+.2f}" if metric.endswith("/acc") else f"{difference:+.4f}"


def interval(metric: str, ends: tuple[float, float] | None) -> str:
    """Formats an interval of differences, such as ``-0.40 to +1.00``; a dash if there is none."""
    return "-" if ends is None else " to ".join(signed(metric, end) for end in ends)


def epochs(run: Run) -> str:
    """Formats the completed and configured epochs, such as ``7/10``."""
    return f"{run.epochs}/{run.max_epochs}" if run.max_epochs is not None else str(run.epochs)


def duration(seconds: float | None) -> str:
    """Formats a duration, such as ``14.2 s``, ``45 min`` or ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def time_ago(now: datetime.datetime, then: datetime.datetime) -> str:
    """Formats a time, such as ``5 min ago``, or as a date if it is more than two days ago."""
    minutes = round((now - then).total_seconds() / 60)
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{then:%Y-%m-%d}"
