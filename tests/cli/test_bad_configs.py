"""Every shipped config, mutated: each case ends in one line that names the key, or runs; no traceback, no hang.

A key is misspelt, added or left out, a value has a wrong type or is out of range, a class is misspelt, or the file is
cut off: in the config or in an overlay. There are 20 cases for each config, the same in each session. With
``RESNET_LIGHTNING_SOAK=5000`` in the environment, there are about that many random cases, four a second.
"""

import contextlib
import io
import math
import os
import re
import signal
import tempfile
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torchvision import datasets

from data_sets import write_cifar, write_mnist
from image_files import write_folders
from repository import CONFIGS
from resnet_lightning import ImageClassifier
from resnet_lightning.cli.main import main

SHIPPED = sorted(CONFIGS.glob("*.yaml"))
OVERLAYS = sorted((CONFIGS / "overlays").glob("*.yaml"))

SOAK = int(os.environ.get("RESNET_LIGHTNING_SOAK", "0"))
SECONDS = 60  # a case takes a quarter of a second, and a few on a busy machine; one that takes longer than this hangs

# Changes that make the runs of shipped configs short enough for two cores.
SMALLER = {
    r"batch_size: \d+": "batch_size: 8",
    r"image_size: 224": "image_size: 32",
    r"shorter_side: 256": "shorter_side: 36",
    r"resident: false": "resident: false\n    num_workers: 0",
    # overlays/early_stopping.yaml monitors the validation.
    r"val_split: 0.0\n": "val_split: 0.1\n",
    # These weights would be downloaded, and the images are too small for this stem.
    r"backbone_args: {pretrained: \w+\.\w+}": "backbone_args: {stem: cifar}",
    # Later epochs than these runs have.
    r"unfreeze: {.*}": "unfreeze: {}",
}
# One batch, or one epoch of one batch with a folder: whatever length the config asks for, the run ends soon.
FAST = ["--trainer.fast_dev_run", "true"]
KEPT = [
    *("--trainer.max_epochs", "1"),
    *(part for split in ("train", "val", "test") for part in (f"--trainer.limit_{split}_batches", "1")),
]

# Large values of these are valid, and need more memory or processes than a test may take.
NEVER_HUGE = {"image_size", "shorter_side", "devices", "num_workers"}

LETTERS = "abcdefghijklmnopqrstuvwxyz_"
WRONG = {
    "number": ["fast", "", [1], [], {"a": 1}, {}, None, True, False, "1,5"],
    "str": ["", "nothing", "no.thing", 3, -1.5, [], ["a"], {}, {"a": 1}, None, True],
    "bool": ["perhaps", "", 3, -1, 0.5, [], [True], {}, {"a": True}, None],
    "list": ["nothing", "", 3, None, True, {}, {"a": 1}, [], [None], [[]], [{}], ["nothing"]],
    "dict": ["nothing", "", 3, 0.5, None, True, [], [1], ["a"], [{}]],
    "NoneType": ["nothing", "", 3, 0.5, True, [], {}, {"a": 1}],
}
OUT_OF_RANGE = [-1, 0, -0.5, 0.5, 2, 1e-30, -1e30, 10**9, 10**30, 1e30, math.nan, math.inf, -math.inf]


steps_taken: list[int] = []  # the training steps of the current case


class Hang(BaseException):
    """Not an ``Exception``, so that no `except` on the way catches it."""


class Launched(BaseException):
    """The run was about to start its other processes, which would run this test again."""


@dataclass
class Case:
    """The config files, the words of which the error must contain one, and whether there must be an error."""

    files: dict[str, bytes]
    options: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)
    refused: bool = False

    def __repr__(self) -> str:
        shown = ""
        for name, text in self.files.items():
            lines = text.decode(errors="replace").splitlines()
            shown += "\n".join(["", f"--- {name}", *(line for line in lines if not line.startswith("#"))])
        return f"{self.options}, {self.words}{shown}"


# Mutations.


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values below the top: ``("model", "scheduler_args", "milestones", 0)``."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in pairs for found in ((*path, key), *places(value, (*path, key)))]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def misspelt(draw: Any, word: str) -> str:
    """A word with a letter dropped, doubled or replaced, or with two letters swapped."""
    i = draw(st.integers(0, len(word) - 1))
    kinds = {
        "drop": word[:i] + word[i + 1 :],
        "double": word[: i + 1] + word[i:],
        "swap": word[:i] + word[i : i + 2][::-1] + word[i + 2 :],
        "replace": word[:i] + draw(st.sampled_from(LETTERS)) + word[i + 1 :],
    }
    changed = kinds[draw(st.sampled_from(sorted(kinds)))]
    assume(changed not in ("", word))
    return changed


def names(path: tuple[Any, ...]) -> set[str]:
    """The names by which an error may refer to a value: its key, or the option that it is an argument of."""
    keys = [key for key in path if isinstance(key, str)]
    options = [key for key in keys if key not in ("data", "model", "trainer", "checkpoint", "init_args", "class_path")]
    found = {*options, *keys[-1:], *(key.removesuffix("_args") for key in options)} or {keys[0]}
    if keys[-1] in ("class_path", "init_args"):
        found |= {keys[-2], "class"}
    return {key.rstrip("+") for key in found}


def misspell_key(draw: Any, tree: dict[str, Any], case: Case) -> None:
    path = draw(st.sampled_from([path for path in places(tree) if isinstance(path[-1], str)]))
    assume("lr_factors" not in path[:-1])  # a misspelt pattern may match parameters too
    parent, key = at(tree, path[:-1]), path[-1]
    wrong = misspelt(draw, key)
    assume(wrong not in parent)
    items = [(wrong if name == key else name, value) for name, value in parent.items()]
    parent.clear()
    parent.update(items)
    case.words, case.refused = {wrong.rstrip("+")}, True


def add_key(draw: Any, tree: dict[str, Any], case: Case) -> None:
    parents = [path for path in [(), *places(tree)] if isinstance(at(tree, path), dict)]
    path = draw(st.sampled_from(parents))
    parent = at(tree, path)
    parent["strange"] = draw(st.sampled_from([1, "a", [], {}, None, True, {"a": 1}]))
    # The options of a class from another package are unknown here, and an empty mapping never reaches that class.
    is_nothing = parent["strange"] == {} and path[:1] == ("trainer",) and "init_args" in path
    case.words, case.refused = {"strange"}, not is_nothing


def misspell_class(draw: Any, tree: dict[str, Any], case: Case) -> None:
    classes = ("class_path", "backbone", "optimizer", "scheduler")
    named = [path for path in places(tree) if path[-1] in classes and isinstance(at(tree, path), str)]
    assume(named)
    path = draw(st.sampled_from(named))
    wrong = misspelt(draw, at(tree, path))
    right = {"SGD", "Adam", "resnet18", "resnet20", "resnet34", "resnet50", "resnet56", "plain20", "CIFAR10DataModule"}
    assume(wrong not in right)
    at(tree, path[:-1])[path[-1]] = wrong
    case.words, case.refused = {wrong}, True


def change_value(draw: Any, tree: dict[str, Any], case: Case) -> None:
    path = draw(st.sampled_from(places(tree)))
    value = at(tree, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    values = WRONG["number"] + OUT_OF_RANGE if is_number else WRONG[type(value).__name__]
    wrong = draw(st.sampled_from(values))
    assume(path[-1] != "root" or wrong != "")  # which is the current folder
    if NEVER_HUGE & set(path):
        assume(not (isinstance(wrong, int | float) and abs(wrong) > 1000))
    at(tree, path[:-1])[path[-1]] = wrong
    shown = wrong if isinstance(wrong, list) else [wrong]
    case.words = names(path) | {word for word in shown if isinstance(word, str) and word}


def leave_out(draw: Any, tree: dict[str, Any], case: Case) -> None:
    path = draw(st.sampled_from(places(tree)))
    del at(tree, path[:-1])[path[-1]]


@st.composite
def mutated(draw: Any, config: Path, mutate: Callable[[Any, dict[str, Any], Case], None] | None) -> Case:
    """A config, with or without an overlay, one of which is mutated. None cuts the file off."""
    overlay = draw(st.sampled_from([None, *OVERLAYS]))
    case = Case({path.name: smaller(path.read_text()).encode() for path in (config, overlay) if path})
    case.options = draw(st.sampled_from([FAST, KEPT]))
    name = draw(st.sampled_from(sorted(case.files)))
    if mutate is None:
        case.files[name] = case.files[name][: draw(st.integers(0, len(case.files[name])))]
        return case
    tree = yaml.safe_load(case.files[name])
    mutate(draw, tree, case)
    case.files[name] = yaml.safe_dump(tree, sort_keys=False).encode()
    return case


def smaller(text: str) -> str:
    for pattern, value in SMALLER.items():
        text = re.sub(pattern, value, text)
    return text


# A case.


@pytest.fixture(scope="module", autouse=True)
def small_data(tmp_path_factory):
    """Real files in the format of every data set; the network, the compiler and further processes are not used."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    def launch(*args, **kwargs):
        raise Launched

    step = ImageClassifier.training_step

    def counted(self, batch, batch_idx):
        steps_taken.append(batch_idx)
        return step(self, batch, batch_idx)

    root = tmp_path_factory.mktemp("small")
    # Compiling takes a minute.
    with pytest.MonkeyPatch.context() as monkeypatch, torch.compiler.set_stance("force_eager"):
        write_mnist(root)
        write_cifar(root, monkeypatch, datasets.CIFAR10, "labels", 10)
        write_cifar(root, monkeypatch, datasets.CIFAR100, "fine_labels", 100)
        for name in "images", "photos":
            write_folders(root / name, ["train", "test"])
        write_folders(root / "imagenet", ["train", "val"])
        monkeypatch.setattr(urllib.request, "urlopen", refuse)
        monkeypatch.setenv("WANDB_MODE", "disabled")
        monkeypatch.setattr(_SubprocessScriptLauncher, "launch", launch)
        monkeypatch.setattr(ImageClassifier, "training_step", counted)
        yield root


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    def ring(*args):
        raise Hang(f"longer than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def folder_of_its_own(data: Path) -> Iterator[None]:
    before = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("data").symlink_to(data)
        try:
            yield
        finally:
            os.chdir(before[0])
            os.environ.clear()
            os.environ.update(before[1])


def run(case: Case, data: Path) -> tuple[int, str, list[str]]:
    """The exit code, standard error, and the files of a run that ended before it trained."""
    said = io.StringIO()
    steps_taken.clear()
    # Only digits.yaml, which has options for checkpoints and a small model, writes them.
    options = (
        case.options if "digits.yaml" in case.files else [*case.options, "--trainer.enable_checkpointing", "false"]
    )
    with folder_of_its_own(data), time_limit(), warnings.catch_warnings():
        # As in a process of its own, where warnings are not errors.
        warnings.resetwarnings()
        for kind in DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning:
            warnings.simplefilter("ignore", kind)
        for name, text in case.files.items():
            Path(name).write_bytes(text)
        configs = [part for name in case.files for part in ("--config", name)]
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                code = main(["fit", *configs, *options])
            except Launched:
                code = 0
        left = [] if steps_taken else sorted(map(str, Path("runs").rglob("*")))
    return code, said.getvalue(), left


def check(case: Case, data: Path) -> None:
    code, said, left = run(case, data)
    assert code in (0, 2)
    if code == 0:
        assert not case.refused
        return
    assert said.startswith("error: ")
    assert said.index("\n") == len(said) - 1
    assert "Traceback" not in said
    assert not left
    assert not case.words or any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said) for word in case.words), said


# How many cases of each kind every config gets.
CASES = {misspell_key: 4, add_key: 2, misspell_class: 2, change_value: 8, leave_out: 1, None: 3}
NAMES = {mutate: mutate.__name__ if mutate else "cut_off" for mutate in CASES}


def check_cases(cases: st.SearchStrategy[Case], count: int, data: Path, fixed_seed: str | None) -> None:
    # Hypothesis's deadline would look at the clock when a case has ended; `time_limit` ends the case.
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def every_case(case):
        check(case, data)

    if fixed_seed:  # the same cases in each session; `derandomize` would also give each test the same ones
        every_case = seed(zlib.crc32(fixed_seed.encode()))(every_case)
    every_case()


@pytest.mark.slow
@pytest.mark.parametrize("mutate", CASES, ids=NAMES.get)
@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: path.stem)
def test_every_mutated_config_gets_one_line_or_runs(config, mutate, small_data):
    count = CASES[mutate]
    if SOAK:
        count = math.ceil(SOAK * count / sum(CASES.values()) / len(SHIPPED))
    fixed_seed = f"{config.stem} {getattr(mutate, '__name__', None)}"
    check_cases(mutated(config, mutate), count, small_data, None if SOAK else fixed_seed)
