"""Overlays: small configs that ``--overlay NAME`` applies on top, such as ``configs/overlays/wandb.yaml``."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, did_you_mean
from .shipped_configs import FOLDER

SHIPPED = FOLDER / "overlays"


def with_overlays(arguments: Sequence[str], folder: Path) -> list[str]:
    """Replaces each ``--overlay NAME`` in a command line with ``--config folder/NAME.yaml``.

    An overlay that is not in the folder is one that the package ships.

    Raises:
        InputError: if there is no overlay of that name.
    """
    replaced: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, is_joined, value = argument.partition("=")
        if option != "--overlay":
            replaced.append(argument)
            continue
        name = value if is_joined else next(rest, "")
        path = next((path for path in (folder / f"{name}.yaml", SHIPPED / f"{name}.yaml") if path.is_file()), None)
        if path is None:
            known = {file.stem for place in (folder, SHIPPED) for file in place.glob("*.yaml")}
            if not name or name.startswith("-"):
                raise InputError(f"there is no overlay {name!r}: --overlay has no value; {did_you_mean('', known)}")
            if (stem := Path(name).stem) in known:
                raise InputError(f"there is no overlay {name!r}; did you mean {stem!r}?")
            raise InputError(f"there is no overlay {name!r}; {did_you_mean(name, known)}")
        replaced += ["--config", str(path)]
    return replaced
