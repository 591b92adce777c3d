"""Compares trained models by the test images that only one of them classifies correctly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .comparison import by_seed
from .paired import LEVEL, sign_test
from .ranking import best_first
from .reader import Run
from .results_by_image import ResultsByImage


@dataclass(frozen=True)
class ImageComparison:
    """The test images on which two models disagree.

    Args:
        images: the number of images that both were tested on.
        only_first: the number of images that only the first model classifies correctly.
        only_second: the number of images that only the second one does.
        probability: the p value of McNemar's exact test: how often models of equal accuracy disagree as unevenly.
    """

    images: int
    only_first: int
    only_second: int
    probability: float


def mcnemar(first: ResultsByImage, second: ResultsByImage) -> ImageComparison | None:
    """Compares two tests (McNemar 1947; the exact test is the sign test of the images on which they disagree).

    Returns:
        None if they were not tested on the same images.
    """
    if first.fingerprint != second.fingerprint:
        return None
    if [mark == "-" for mark in first.right] != [mark == "-" for mark in second.right]:
        return None
    pairs = list(zip(first.right, second.right, strict=True))
    only_first, only_second = pairs.count(("1", "0")), pairs.count(("0", "1"))
    images = len(pairs) - pairs.count(("-", "-"))
    return ImageComparison(images, only_first, only_second, sign_test(only_first, only_second))


def compare_images(runs: Sequence[Run], numbers: Mapping[Path, str]) -> list[str]:
    """Compares two runs, or the best run of each setting with that of the best setting, in a sentence each.

    The best are those by validation. For m comparisons, a p value has to be below 0.05 / m (Bonferroni).

    Args:
        runs: runs on the same data.
        numbers: the number of each run, by its folder.
    """
    groups = best_first(by_seed(runs))
    chosen = list(runs) if len(runs) == 2 else [max(group, key=lambda run: run.best_monitored()) for group in groups]
    tested = [(run, found) for run in chosen if run.evaluation and (found := run.evaluation.by_image)]
    if len(tested) < 2:
        return []
    (best, of_best), *others = tested
    first = f"run {numbers[best.folder]}"
    return [
        _sentence(first, f"run {numbers[run.folder]}", mcnemar(of_best, found), len(others)) for run, found in others
    ]


def _sentence(first: str, second: str, found: ImageComparison | None, comparisons: int) -> str:
    both = f"{first.capitalize()} and {second}"
    if found is None:
        return f"{both} were not tested on the same images; they are not compared image by image."
    verdict = "differ" if found.probability < (1 - LEVEL) / comparisons else "do not differ measurably"
    return (
        f"{both} {verdict}: of {found.images:,} test images, {found.only_first:,} only {first} has right, "
        f"{found.only_second:,} only {second}; p = {found.probability:.2g}."
    )
