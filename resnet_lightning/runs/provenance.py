"""Records which code and package versions produced a run."""

import datetime
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = "resnet-lightning", "torch", "torchvision", "lightning", "torchmetrics"


def provenance() -> dict[str, Any]:
    """Returns the git commit of the current folder, and the versions of Python and the main packages."""
    return {"git": _git(), "versions": {"python": platform.python_version(), **_versions()}}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the package is imported from its folder without being installed
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Returns the commit, and whether tracked files have changed since; None outside a repository."""
    commit = _run_git("rev-parse", "HEAD")
    changes = _run_git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changes is None else bool(changes)} if commit else None


def _run_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (
        OSError,
        subprocess.SubprocessError,
    ):  # git is missing, this is no repository, or git took too long
        return None
    return done.stdout.strip()


def now() -> str:
    """Returns the current local time with its UTC offset, in ISO 8601 to the second."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
