"""Descriptions of the feature maps of a network, with timm's names, and how options select maps."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import InputError

Indices = int | Sequence[int] | None
"""Selects feature maps: the last n for an integer, those of a list (-1 is the last), or all for None."""


class FeatureMap(dict[str, Any]):
    """Describes a feature map (B, num_chs, H / reduction, W / reduction) and names the module that returns it.

    A row as timm has it, with the keys ``num_chs``, ``reduction`` and ``module``, which are also attributes.
    """

    def __init__(self, num_chs: int, reduction: int, module: str) -> None:
        super().__init__(num_chs=num_chs, reduction=reduction, module=module)

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self["num_chs"]

    @property
    def reduction(self) -> int:
        """The factor by which the map is smaller than the image."""
        return self["reduction"]

    @property
    def module(self) -> str:
        """The name of the module that returns the map."""
        return self["module"]


class FeatureInfo(tuple[FeatureMap, ...]):
    """Describes the feature maps that a network returns, with timm's methods.

    The tuple contains one row per returned map. The methods describe the same maps; if they are given an index or a
    list of them, they describe those maps of the whole network instead, as in timm.

    Args:
        info: a row for each map of the whole network.
        out_indices: the returned maps; by default all of them.

    Attributes:
        info: the rows of the whole network.
        out_indices: the indices of the returned maps.
    """

    info: list[FeatureMap]
    out_indices: tuple[int, ...]

    def __new__(cls, info: Iterable[FeatureMap], out_indices: Indices = None) -> "FeatureInfo":
        rows = list(info)
        indices = take_indices(len(rows), out_indices)
        self = super().__new__(cls, (rows[i] for i in indices))
        self.info = rows
        self.out_indices = indices
        return self

    def from_other(self, out_indices: Indices) -> "FeatureInfo":
        """Describes other maps of the same network."""
        return FeatureInfo(self.info, out_indices)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """The value of a key, for the returned maps or for the maps ``idx`` of the whole network."""
        rows = self.get_dicts([key], idx)
        return rows[key] if isinstance(idx, int) else [row[key] for row in rows]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """The rows, with the given keys only, for the returned maps or for the maps ``idx`` of the whole network."""
        if isinstance(idx, int):
            row = self.info[idx]
            return row if keys is None else {key: row[key] for key in keys}
        return [self.get_dicts(keys, i) for i in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """The number of channels of each map."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """The factor by which each map is smaller than the image."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The name of the module that returns each map."""
        return self.get("module", idx)


def take_indices(count: int, indices: Indices, option: str = "out_indices") -> tuple[int, ...]:
    """Returns the selected ones of ``count`` feature maps, as indices from 0.

    Raises:
        InputError: if a map does not exist.
    """
    taken: Any = indices
    if indices is None:
        taken = range(count)
    elif isinstance(indices, int) and not isinstance(indices, bool) and 0 < indices <= count:
        taken = range(count - indices, count)
    if not isinstance(taken, Sequence) or not taken or any(i not in range(-count, count) for i in taken):
        raise InputError(
            f"{option} is {indices!r}; give a list of maps; this net has 0 (the stem) to {count - 1}, -1 is the last, "
            f"and a number n instead of a list stands for the last n"
        )
    return tuple(i % count for i in taken)
