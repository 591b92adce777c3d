"""How sure it is that the best setting is better than the others."""

from collections.abc import Sequence

from .paired import LEVEL, Comparison, compare_with_best
from .reader import Run


def certainty_of_best(groups: Sequence[Sequence[Run]]) -> str:
    """Returns a sentence on how many other settings are measurably worse than the best one by validation.

    Args:
        groups: the complete runs of each setting, on the same data.
    """
    found = compare_with_best(groups)
    if found is None:
        return "no two settings share a seed and have a test, so none is known to be better than another"
    if all(pair.n == 1 for pair in found.differences):
        return (
            f"with one seed each, no difference in {found.metric} is resolved; more seeds can tell: "
            "--seed_everything 0,1,2"
        )
    return f"{_counts(found)} (by {found.metric} of runs with the same seed; all intervals together {LEVEL:.0%})"


def _counts(found: Comparison) -> str:
    """The number of the other settings by verdict."""
    verdicts = [pair.verdict for pair in found.differences]
    worse, better, unresolved = (verdicts.count(verdict) for verdict in ("worse", "better", "not resolved"))
    others = "the other setting" if len(verdicts) == 1 else f"{len(verdicts)} other settings"
    if len(verdicts) == 1:
        verb = "measurably better than" if worse else "measurably worse than" if better else "not told apart from"
        return f"it is {verb} {others}"
    parts = [f"measurably better than {worse} of {others}", f"not told apart from {unresolved}"]
    return "it is " + ", ".join([*parts, *([f"measurably worse than {better}"] if better else [])])
