"""Overlays: small configs that ``--overlay NAME`` applies on top, such as ``configs/overlays/wandb.yaml``."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, did_you_mean


def with_overlays(arguments: Sequence[str], folder: Path) -> list[str]:
    """Replaces each ``--overlay NAME`` in a command line with ``--config folder/NAME.yaml``.

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
        path = folder / f"{name}.yaml"
        if not path.is_file():
            known = [file.stem for file in folder.glob("*.yaml")]
            hint = did_you_mean(name, known) if known else f"there are none in {str(folder)!r}"
            raise InputError(f"there is no overlay {name!r}; {hint}")
        replaced += ["--config", str(path)]
    return replaced
