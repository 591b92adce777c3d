"""The Dockerfile fits the README, the Makefile, pyproject.toml and the lock file. Docker itself is not needed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from repository import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
LOCK = "requirements-dev.lock"


def instructions(name: str) -> list[str]:
    """What follows an instruction, such as ``RUN``, each time, in one line."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [line.removeprefix(f"{name} ") for line in lines.splitlines() if line.startswith(f"{name} ")]


def first_commands() -> list[str]:
    """The first commands of the README."""
    install = (ROOT / "README.md").read_text().partition("\n## Install")[2]
    return re.findall(r"^(make \w+)", install.partition("```sh\n")[2].partition("```")[0], flags=re.MULTILINE)


def test_it_runs_the_first_commands_of_the_readme():
    commands = first_commands()
    assert len(commands) == 2
    assert shlex.join(json.loads(instructions("CMD")[0])) == commands[0]
    assert re.findall(r"^#   docker run --rm resnet-lightning (.+)$", TEXT, flags=re.MULTILINE) == commands


def test_its_python_is_one_that_the_package_supports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = instructions("ARG")[0].removeprefix("PYTHON=")
    assert python in SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]


def test_all_its_commands_are_valid_for_sh():
    for command in instructions("RUN"):
        subprocess.run(["sh", "-n", "-c", command], check=True)


@pytest.mark.parametrize(("device", "code"), [("cpu", 0), ("cuda", 0), ("gpu", 1)])
def test_a_device_that_does_not_exist_ends_the_build(device, code):
    (check,) = (command for command in instructions("RUN") if command.startswith("case"))
    done = subprocess.run(["sh", "-c", check], check=False, env={"DEVICE": device}, capture_output=True, text=True)
    assert (done.returncode, "cpu or cuda" in done.stderr) == (code, bool(code))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_cpu_leaves_out_what_only_cuda_needs(tmp_path, device):
    # With a pip that installs nothing, and /tmp elsewhere.
    (install,) = (command for command in instructions("RUN") if "venv" in command and LOCK in command)
    install = install.replace("python -m venv .venv", "mkdir -p .venv/bin").replace("/tmp/", f"{tmp_path}/")
    install = install.replace(".venv/bin/pip install", "echo >> calls.txt")
    shutil.copy(ROOT / LOCK, tmp_path)
    subprocess.run(["sh", "-c", install], check=True, cwd=tmp_path, env={"DEVICE": device, "PATH": "/usr/bin:/bin"})

    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert "--require-hashes" in calls[-1]
    checked = (tmp_path / "packages.txt").read_text()
    if device == "cuda":
        assert (checked, len(calls)) == ((ROOT / LOCK).read_text(), 1)
        return
    assert "whl/cpu" in calls[0]
    apart = (tmp_path / "torch.txt").read_text()
    assert names(apart) == {"torch", "torchvision"}
    everything = names((ROOT / LOCK).read_text())
    left_out = everything - names(checked) - names(apart)
    assert "triton" in left_out
    # torch requires them and what else they require; nothing that stays requires any.
    assert left_out <= required(["torch"])
    for name in everything - left_out - {"torch"}:
        assert not requirements(name) & left_out, name
    # Each package that stays keeps its hashes, and none of another.
    assert checked.count("--hash") == (ROOT / LOCK).read_text().count("--hash") - sum(
        block.count("--hash") for block in blocks() if names(block) <= left_out | names(apart)
    )


def blocks() -> list[str]:
    return re.split(r"^(?=[a-z])", (ROOT / LOCK).read_text(), flags=re.MULTILINE)[1:]


def names(lock: str) -> set[str]:
    return {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE)}


def requirements(package: str) -> set[str]:
    """What an installed package requires here without extras; nothing if it is not installed."""
    try:
        found = map(Requirement, metadata.requires(package) or [])
    except metadata.PackageNotFoundError:
        return set()
    return {canonicalize_name(one.name) for one in found if not one.marker or one.marker.evaluate({"extra": ""})}


def required(packages: Iterable[str]) -> set[str]:
    """All that packages require, with what that requires; extras such as those of cuda-toolkit too."""
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        package = waiting.pop()
        try:
            lines = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue
        new = {canonicalize_name(Requirement(line).name) for line in lines} - found
        found |= new
        waiting += new
    return found


def test_the_makefile_installs_nothing_in_the_container(tmp_path):
    for name in "Makefile", "pyproject.toml", "requirements.lock", LOCK:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    touch = instructions("RUN")[-1].split("&&")[-1]
    subprocess.run(["sh", "-c", touch], check=True, cwd=tmp_path)
    for command in first_commands():
        done = subprocess.run([*command.split(), "--dry-run"], check=True, cwd=tmp_path, capture_output=True, text=True)
        assert "pip install" not in done.stdout
        assert ".venv/bin/" in done.stdout


def test_no_file_of_the_repository_stays_outside():
    listed = subprocess.run(["git", "ls-files"], check=False, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs the repository")
    ignored = (ROOT / ".dockerignore").read_text().split()
    for file in map(Path, listed.stdout.splitlines()):
        folders = [str(path) for path in (file, *file.parents)]
        assert not [one for one in ignored for path in folders if fnmatch(path, one) or fnmatch(f"/{path}", one)], file
    assert {".venv", "runs", "data"} <= set(ignored)
