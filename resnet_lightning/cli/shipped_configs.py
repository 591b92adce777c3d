"""The configs that the package ships, by name: ``digits``, ``overlays/ema``, ``sweeps/digits``."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, did_you_mean

_PACKAGE = Path(__file__).parents[1]
_COST = "# Cost:"

FOLDER = next(
    (folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir()), _PACKAGE / "configs"
)
"""The folder of the configs: inside an installed package, or beside it in the repository."""


@dataclass(frozen=True)
class Header:
    """What the comment at the top of a config says.

    Attributes:
        purpose: its first line, such as what the config reproduces.
        cost: what the line ``# Cost: ...`` says; empty if there is none.
    """

    purpose: str
    cost: str


def shipped_configs() -> dict[str, Path]:
    """Returns the path of each shipped config by its name. Overlays and sweeps follow the complete configs."""
    paths = sorted(FOLDER.rglob("*.yaml"), key=lambda path: (path.parent != FOLDER, path))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in paths}


def complete_configs() -> list[str]:
    """Returns the names of the configs that ``--config`` takes: neither overlays nor sweeps."""
    return [name for name in shipped_configs() if name.partition("/")[0] not in ("overlays", "sweeps")]


def config_path(config: str) -> str:
    """Returns the path of a config as given with ``--config``.

    A bare name such as ``digits`` or ``speed/mnist``, without a suffix, is a shipped config unless there is a file of
    that name. Every other value is returned as it is.

    Raises:
        InputError: if it is a bare name that is neither a file nor a shipped config.
    """
    if not re.fullmatch(r"(speed/)?\w+", config) or Path(config).is_file():
        return config
    path = FOLDER / f"{config}.yaml"
    if path.is_file():
        return str(path)  # also beside a folder of that name, such as one with the images
    if Path(config).exists():
        return config
    if (FOLDER / "overlays" / path.name).is_file():
        raise InputError(f"{config!r} is an overlay; give a config, and --overlay {config}")
    if Path(f"{config}.yaml").is_file():
        raise InputError(f"there is no config {config!r}; did you mean '{config}.yaml'?")
    raise InputError(f"there is no config {config!r}; {did_you_mean(config, complete_configs())}")


def read_header(text: str) -> Header:
    """Reads the comment at the top of a config."""
    lines = text.splitlines()
    cost = next((line for line in lines if line.startswith(_COST)), _COST)
    return Header(lines[0].removeprefix("# ").removesuffix("."), cost.removeprefix(_COST).strip().removesuffix("."))
