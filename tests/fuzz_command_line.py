"""Mutates configs, command lines, checkpoints, tools and the environment at random.

It reports each case that does not end in one short line.

    python tests/fuzz_command_line.py --cases 2000 --seed 0

Each case is a short training of the digits, or another command on its checkpoint or folder, in this process. It is
bad if it raises, computes for longer than a minute, waits for longer than ten, exits with a code other than 0 and 2, or
prints an error that is not one line of at most three lines of a terminal. Each bad case is printed with its number;
``--only NUMBER`` repeats it. ``--first NUMBER`` begins there, so that several processes can share the cases.
"""

import argparse
import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from resnet_lightning.cli.main import main

CONFIG = Path(__file__).parents[1] / "configs" / "digits.yaml"
SHORT = ["--trainer.max_epochs", "1", "--trainer.num_sanity_val_steps", "0", "--trainer.devices", "1"]
SHORT += [part for split in ("train", "val", "test") for part in (f"--trainer.limit_{split}_batches", "1")]
SECONDS = 60  # of this process: beside other work, a command takes longer without being worse
WAITED_SECONDS = 600

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e-30, 1e30, 1e308, float("nan"), float("inf"), 10**30),
    *(
        "",
        "no",
        "x",
        "a b",
        "[red]",
        "a[/b]",
        "\udcff",
        "\x1b[31m",
        "~",
        "s3://x/y",
        "../x",
        "x" * 3000,
        "no.such.Class",
    ),
    *([], {}, [1], [[]], [None], {"a": 1}, {"class_path": "x"}, {"class_path": "torch.nn.Linear"}),
    *({"class_path": "EarlyStopping"}, {"class_path": "Timer", "init_args": {"duration": "x"}}, {"init_args": {}}),
]
WORDS = ["fit", "configs/digits.yaml", "max_epochs=3", "--", "-x", "--model", "--trainer.max_epochs", "[a]", "x" * 500]
WORDS += ["--resume", "--config", "--overlay", "--find", "--ckpt_path", "nothing.ckpt", "--overlay=emma", "\udcff"]
CALLBACKS = """BatchSizeFinder DeviceStatsMonitor EarlyStopping EMAWeightAveraging GradientAccumulationScheduler
LearningRateFinder LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary OnExceptionCheckpoint RichModelSummary
RichProgressBar SpikeDetection StochasticWeightAveraging ThroughputMonitor Timer TQDMProgressBar WeightAveraging
""".split()
SCHEDULES = "StepLR MultiStepLR CosineAnnealingLR OneCycleLR CyclicLR ReduceLROnPlateau LinearLR PolynomialLR".split()
# Values of these may be valid although they need more memory, time or processes than a case may take.
NEVER_LARGE = {"num_nodes", "batch_size", "cache_gb"}
UNENDING = {"max_epochs", "min_epochs"}


# The tools with arguments that are right; a word is then changed. {run} and {checkpoint} are those of a training.
TOOLS = [
    ["runs", "{run}", "--sort", "test/acc"],
    ["runs", "--json"],
    ["report", "{run}", "--output", "page.html"],
    ["explain", "{checkpoint}", "images", "--output", "out"],
    ["features", "{checkpoint}", "--output", "out"],
    ["export", "{checkpoint}", "--format", "safetensors", "--output", "a.safetensors"],
    ["models", "resnet*"],
    ["configs", "overlays/ema", "--output", "ema.yaml"],
    ["new", "my_net"],
    ["predict", "--ckpt_path", "{checkpoint}", "--data.predict_folder", "images", "--top_k", "2"],
    ["validate", "--ckpt_path", "{checkpoint}", "--trainer.limit_val_batches", "1"],
    ["cross_validate", "--config", str(CONFIG), "--data.num_folds", "1"],
]
OVERLAYS = "bf16 compile csv ddp debug early_stopping ema fsdp mlflow tensorboard wandb ../digits x [a] ".split(" ")
ENVIRONMENT = {
    **{name: ["", "x", "0", "1", "-1", "1.5"] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID")},
    **{name: ["", "x", "/nonexistent", "/proc/1"] for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")},
    **{name: ["", "x", "0", "7"] for name in ("COLUMNS", "LINES", "PL_GLOBAL_SEED", "OMP_NUM_THREADS")},
    **{name: ["", "x", "C", "dumb"] for name in ("TERM", "LANG", "LC_ALL")},
}
# Modules beside the config, each with a part named Part.
MODULES = {
    "raises": "raise ValueError('a\\nb')",
    "exits": "import sys; sys.exit(3)",
    "syntax": "class Part(:",
    "empty": "",
    "bytes": "\x00",
    "number": "Part = 3",
    "function": "def Part(**options): return 3",
    "long": "Part = '" + "x" * 5000 + "'",
    "net": "from torch import nn\nclass Part(nn.Module):\n    def forward(self, x): return x",
    "callback": "from lightning import Callback\nclass Part(Callback):\n    def __init__(self, a): pass",
    "import": "import no_such_module\nclass Part: pass",
}
PLACES = ["--model.backbone", "--model.optimizer", "--model.scheduler", "--model.loss", "--trainer.callbacks", "--data"]
PLACES += ["--model", "--trainer.logger", "--data.augment.transform", "--trainer.profiler"]


class Hang(Exception):
    """A case that takes too long."""


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the paths of all values in nested mappings and lists."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in pairs for found in ((*path, key), *places(value, (*path, key)))]


def parent_of(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def misspelt(draw: random.Random, word: str) -> str:
    at = draw.randrange(len(word) + 1)
    return draw.choice(
        [word[:at] + word[at + 1 :], word[:at] + "e" + word[at:], word[:at] + word[at:].upper(), word + "s"]
    )


def value_for(draw: random.Random, path: tuple[Any, ...]) -> Any:
    value = draw.choice(VALUES)
    is_large = isinstance(value, int | float) and not abs(value) < 100
    if is_large and UNENDING.intersection(path):
        return 2
    return -1 if is_large and NEVER_LARGE.intersection(path) else value


def mutate(draw: random.Random, tree: Any) -> None:
    """Changes one value or key of nested mappings in place."""
    path = draw.choice(places(tree) or [("model",)])
    parent, key = parent_of(tree, path), path[-1]
    kind = draw.choice(["value", "value", "value", "delete", "misspell", "add"])
    if kind == "delete":
        parent.pop(key, None) if isinstance(parent, dict) else parent.pop(key)
    elif kind == "misspell" and isinstance(key, str) and key:
        parent[misspelt(draw, key)] = parent.pop(key, None)
    elif kind == "add" and isinstance(parent, dict):
        parent[draw.choice(["strange", "", 3, "[a]", "class_path"])] = value_for(draw, path)
    else:
        parent[key] = value_for(draw, path)


def config_case(draw: random.Random) -> list[str]:
    tree = yaml.safe_load(CONFIG.read_text())
    if draw.random() < 0.3:
        tree["trainer"]["callbacks"] = [{"class_path": draw.choice(CALLBACKS), "init_args": {}}]
    if draw.random() < 0.2:
        tree["model"] |= {"scheduler": draw.choice(SCHEDULES), "scheduler_args": {"step_size": 1, "milestones": [1]}}
    for _ in range(draw.choice([1, 1, 2, 3])):
        mutate(draw, tree)
    if draw.random() < 0.05 and (found := places(tree)):
        path = draw.choice(found)
        parent_of(tree, path)[path[-1]] = tree  # which then contains itself
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=draw.random() < 0.5).encode(errors="surrogateescape")
    if draw.random() < 0.1:
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice([b"", b"\x00", b"\xff", b"\t", b"{", b"&a ", b"*a "]) + text[at + 1 :]
    Path("case.yaml").write_bytes(text)
    return ["fit", "--config", "case.yaml", *SHORT]


def command_case(draw: random.Random) -> list[str]:
    tree = yaml.safe_load(CONFIG.read_text())
    words = ["fit", "--config", str(CONFIG), *SHORT]
    for _ in range(draw.choice([1, 1, 2])):
        kind = draw.choice(["word", "option", "option", "option", "callback", "drop", "misspell"])
        at = draw.randrange(len(words) + 1)
        if kind == "word":
            words.insert(at, draw.choice(WORDS))
        elif kind == "drop" and words:
            words.pop(at - 1)
        elif kind == "misspell" and words and words[at - 1]:
            words[at - 1] = misspelt(draw, words[at - 1])
        elif kind == "callback":
            words += [f"--trainer.callbacks+={draw.choice(CALLBACKS)}"]
        else:
            path = draw.choice([path for path in places(tree) if len(path) > 1 and path[0] != "seed_everything"])
            value = value_for(draw, path)
            words += [
                "--" + ".".join(map(str, path)),
                value if isinstance(value, str) else yaml.safe_dump(value).strip(),
            ]
    return words


def checkpoint_case(draw: random.Random, checkpoint: Path) -> list[str]:
    if draw.random() < 0.3:
        data = bytearray(checkpoint.read_bytes())
        for _ in range(draw.choice([1, 10, 1000])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        Path("case.ckpt").write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
    else:
        content = torch.load(checkpoint, weights_only=True)
        content["state_dict"] = dict(content["state_dict"])
        path = draw.choice([path for path in places(content) if draw.random() < 4 / 4 ** len(path)] or [("run",)])
        parent = parent_of(content, path)
        if draw.random() < 0.3:
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw.choice([value for value in VALUES if value != "\udcff"])
        torch.save(content, "case.ckpt")
    commands = [["test", "--trainer.limit_test_batches", "1", "--ckpt_path", "case.ckpt"]]
    commands += [["fit", *SHORT, "--trainer.max_epochs", "2", "--ckpt_path", "case.ckpt"]]
    commands += [["export", "case.ckpt", "--format", "safetensors", "--output", "out.safetensors"]]
    return draw.choice(commands)


def tool_case(draw: random.Random, checkpoint: Path) -> list[str]:
    """A command on a checkpoint or a folder, with a word that is changed, left out or added."""
    places = {"run": str(checkpoint.parents[1]), "checkpoint": str(checkpoint)}
    words = [word.format(**places) for word in draw.choice(TOOLS)]
    at = draw.randrange(1, len(words)) if len(words) > 1 else 0
    kind = draw.choice(["none", "misspell", "drop", "value", "word"])
    if kind == "misspell" and at:
        words[at] = misspelt(draw, words[at])
    elif kind == "drop" and at:
        words.pop(at)
    elif kind == "value" and at:
        words[at] = draw.choice([value for value in VALUES if isinstance(value, str)])
    elif kind == "word":
        words.insert(at + 1, draw.choice([*WORDS, "--sorrt", "--csv", "--output"]))
    return words


def module_case(draw: random.Random) -> list[str]:
    """A part of a run from a file of one's own that is no such part, or fails when it is imported."""
    name = draw.choice(list(MODULES))
    module = f"{name}_{draw.randrange(10**9)}"  # a module is imported once
    Path(f"{module}.py").write_text(MODULES[name])
    place = draw.choice(PLACES)
    args = ["--model.backbone_args", "{}", "--model.optimizer_args", "{}", "--model.scheduler_args", "{}"]
    return ["fit", "--config", str(CONFIG), *SHORT, *(args if "--model." in place else []), place, f"{module}.Part"]


def environment_case(draw: random.Random) -> list[str]:
    """A training, or a word that is wrong, with an overlay or with variables of the environment that are unusual."""
    words = ["fit", "--config", str(CONFIG), *SHORT]
    if draw.random() < 0.4:
        # The overlay comes first, since that of DDP would start this program on a second device.
        return [*words[:3], "--overlay", draw.choice(OVERLAYS), *SHORT]
    for name in draw.sample(list(ENVIRONMENT), draw.choice([1, 1, 2])):
        value = draw.choice(ENVIRONMENT[name])
        os.environ.pop(name, None)
        if draw.random() < 0.8:
            os.environ[name] = value
    return words if draw.random() < 0.5 else [*words, draw.choice(WORDS)]


def fault_of(words: list[str]) -> str | None:
    """Runs a command line and returns what is wrong with how it ends; None if nothing is."""

    def ring(number: int, _: Any) -> None:
        raise Hang(f"computed for {SECONDS} s" if number == signal.SIGPROF else f"waited for {WAITED_SECONDS} s")

    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, ring)
    signal.alarm(WAITED_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = main(words)
    except SystemExit as stop:
        code = stop.code or 0  # of --help, and of a command that another one runs
    except BaseException as error:
        return "".join(traceback.format_exception(error)[-6:])
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    said = errors.getvalue().strip()
    if code == 0:
        return None
    if code != 2:
        return f"exit code {code}"
    last = said.rpartition("error: ")[2]
    if "error: " not in said or "\n" in last or len(last) > 240 - len("error: ") or len(last) < 8:
        return f"{len(last)} characters: {said[-1000:]}"
    return None


def fuzz() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--only", type=int, help="the number of a single case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["WANDB_MODE"] = "disabled"
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        assert fault_of(["fit", "--config", str(CONFIG), *SHORT]) is None
        checkpoint = next(Path("runs").rglob("last.ckpt")).resolve()
        environment = dict(os.environ)
        numbers = range(options.first, options.first + options.cases) if options.only is None else [options.only]
        for number in numbers:
            draw = random.Random(f"{options.seed} {number}")
            work = Path(folder, str(number))
            work.mkdir()
            os.chdir(work)
            on_checkpoint = {"checkpoint": checkpoint_case, "tool": tool_case}
            cases = {"config": config_case, "command line": command_case, "module": module_case}
            cases["environment"] = environment_case
            kind = draw.choice(["config", *cases, *on_checkpoint])
            words = cases[kind](draw) if kind in cases else on_checkpoint[kind](draw, checkpoint)
            fault = fault_of(words)
            os.environ.clear()
            os.environ.update(environment)
            counts[kind] += 1
            if fault:
                counts["bad"] += 1
                print(f"--- case {number} ({kind}): {words!r:.1500}\n{fault}", flush=True)
    print(f"{counts.pop('bad', 0)} bad of {counts.total()}: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(fuzz())
