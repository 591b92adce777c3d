"""Statistical tests of random numbers. All of them allow about five standard deviations."""

import math

import numpy as np


def assert_equally_likely(counts):
    """Chi-square test: the statistic has mean ``cells - 1`` and variance ``2 (cells - 1)``."""
    expected = counts.sum() / len(counts)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < len(counts) - 1 + 5 * math.sqrt(2 * (len(counts) - 1))


def assert_uniform(values, low, high, cells=64, slack=1e-4):
    values = np.asarray(values, np.float64)
    assert values.min() >= low - slack
    assert values.max() <= high + slack
    assert_equally_likely(np.histogram(values.clip(low, high), cells, (low, high))[0])


def assert_share(marks, probability):
    """That the mean of the booleans is ``probability``, by the variance of a Bernoulli variable."""
    assert abs(np.mean(np.asarray(marks)) - probability) <= 5 * math.sqrt(probability * (1 - probability) / len(marks))


def assert_uncorrelated(rows):
    """That no two of the rows (R, N) correlate."""
    correlation = np.corrcoef(np.asarray(rows, np.float64))
    off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(np.shape(rows)[1])
