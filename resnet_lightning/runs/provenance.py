"""Where a result comes from: command, code and versions."""

import datetime
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = "resnet-lightning", "torch", "torchvision", "lightning", "torchmetrics"


def provenance() -> dict[str, Any]:
    """What a run should say of the program: the git commit of the folder it was started in, and package versions."""
    return {"git": _git(), "versions": {"python": platform.python_version(), **_versions()}}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the package's folder alone, beside somebody's script
            continue
    return found


def _git() -> dict[str, Any] | None:
    """The commit, and whether files that git knows have changed since; None outside of a repository."""
    commit = _ask_git("rev-parse", "HEAD")
    changes = _ask_git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changes is None else bool(changes)} if commit else None


def _ask_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # git is not installed, this is no repository, or a huge one
        return None
    return done.stdout.strip()


def now() -> str:
    """The time with its zone, in seconds."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
