"""The rows of the table of ``lightning bench all``, as Markdown and as lines that a process sends to another."""

import json
import statistics
from dataclasses import asdict, dataclass

from .comparison import Comparison, speed

HEAD = ("| part | work | ours | beside it | result |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Row:
    """A measurement in words.

    Args:
        work: what was measured.
        ours: the figure of this package.
        theirs: the figure of the alternative, if there is one.
        result: what follows from it, or the reason why there is no figure.
    """

    work: str
    ours: str = ""
    theirs: str = ""
    result: str = ""

    def markdown(self, part: str) -> str:
        cells = (part, self.work, self.ours, self.theirs, self.result)
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    def to_line(self) -> str:
        return _MARK + json.dumps(asdict(self))


_MARK = "row: "


def row_of_line(line: str) -> Row | None:
    """Returns the row that a process printed; None if the line is none."""
    return Row(**json.loads(line.removeprefix(_MARK))) if line.startswith(_MARK) else None


def compared(comparison: Comparison) -> Row:
    """Makes a row of medians, with the ratio and the smallest and largest one."""
    medians = [statistics.median(seconds) for seconds in (comparison.ours, comparison.theirs)]
    ratios = sorted(theirs / ours for ours, theirs in zip(comparison.ours, comparison.theirs, strict=True))
    spread = f" ({ratios[0]:.2f} to {ratios[-1]:.2f})" if len(ratios) > 1 else ""
    ours, theirs = (speed(comparison, seconds) for seconds in medians)
    return Row(comparison.work, ours, theirs, f"{comparison.ratio:.2f} times as fast{spread}")
