"""Damages the files of runs at random, and reports each command that does not cope with it.

    python tests/damage_runs.py --cases 500 --seed 0

Each case copies a folder with two runs that were stopped, and damages up to three files or folders of the newer one:
cut, changed bits, garbage, deep JSON or YAML, values of other types, named pipes, links that loop, folders in place of
files, files of hundreds of megabytes, ... Then ``runs``, ``report`` and ``fit --resume``, ``fit --resume auto``,
``test`` or ``predict`` run in this process. A case is bad if a command raises, takes longer than a minute, prints an
error that is not one short line, or if the older run is no longer listed, changed or lost. Each bad case is printed
with its number; ``--only NUMBER`` repeats it.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
import torch
import yaml
from fuzz_command_line import VALUES, fault_of, parent_of, places
from lightning import LightningModule, Trainer

from image_files import write_images
from resnet_lightning.cli.main import main
from resnet_lightning.runs.reader import find_runs, read_run
from resnet_lightning.training.callbacks import LastCheckpoint
from runs_alike import DIGITS, SMALL, draw_no_figures

SHORT = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.num_sanity_val_steps", "0"]
SHORT += ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1", "--trainer.accelerator", "cpu"]
FIT = ["fit", "--config", DIGITS, *SMALL, *SHORT]
OLDER, NEWER = Path("runs/digits/2026-01-01_00-00-00"), Path("runs/digits/2026-01-02_00-00-00")
MAIN_FILES = "config.yaml run.json metrics.csv checkpoints/last.ckpt checkpoints/previous.ckpt checkpoints/best.ckpt"
DEEP = 50_000

Damage = Callable[[random.Random, Path], None]


def write(path: Path, content: bytes) -> None:
    remove(path)
    path.write_bytes(content)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def content_of(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def cut(draw: random.Random, path: Path) -> None:
    content = content_of(path)
    write(path, content[: draw.randrange(len(content) + 1)])


def change_bits(draw: random.Random, path: Path) -> None:
    content = bytearray(content_of(path) or b"x")
    for _ in range(draw.choice([1, 1, 10, 1000])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    write(path, bytes(content))


def garbage(draw: random.Random, path: Path) -> None:
    write(path, draw.randbytes(draw.choice([1, 100, 100_000])))


def other_text(draw: random.Random, path: Path) -> None:
    texts = [b"", b"\n", b"[]", b"{}", b"null", b"7", b'"x"', b"[1, 2]", b"\xff\xfe{\x00}\x00", b"\x00" * 5000]
    texts += [
        b"epoch,step\n1,2,3\n",
        b"a: b: c",
        b"%",
        b"!!python/object:os.system {}",
        b"NaN",
        b"epoch\n" + b"x" * 200_000,
    ]
    write(path, draw.choice(texts))


def deep(draw: random.Random, path: Path) -> None:
    texts = [b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"- " * DEEP + b"1"]
    texts += [b"a: &a {b: *a}", b"\n".join(b" " * n + b"a:" for n in range(3000))]
    bomb = [b"a0: &a0 {x: 1}"] + [b"a%d: &a%d {x: *a%d, y: *a%d}" % (n, n, n - 1, n - 1) for n in range(1, 60)]
    write(path, draw.choice([*texts, b"\n".join(bomb)]))


def other_values(draw: random.Random, path: Path) -> None:
    """Replaces or removes values in a file of the right format."""
    if path.suffix == ".ckpt":
        tree = _read(lambda: torch.load(io.BytesIO(content_of(path)), weights_only=True))
    else:
        tree = _read(lambda: yaml.safe_load(content_of(path)))
    for _ in range(draw.choice([1, 1, 3])):
        found = [place for place in places(tree) if draw.random() < 4 / 2 ** len(place)] or places(tree)
        if not found:
            return cut(draw, path)
        place = draw.choice(found)
        parent = parent_of(tree, place)
        if draw.random() < 0.3:
            del parent[place[-1]]
        else:
            parent[place[-1]] = draw.choice([value for value in VALUES if value != "\udcff"])
    remove(path)
    if path.suffix == ".ckpt":
        torch.save(tree, path)
    else:
        path.write_text(json.dumps(tree) if path.suffix == ".json" else yaml.safe_dump(tree, sort_keys=False))
    return None


def _read(read: Callable[[], Any]) -> Any:
    with contextlib.suppress(Exception):
        return read()
    return None


def other_cells(draw: random.Random, path: Path) -> None:
    rows = [line.split(b",") for line in content_of(path).split(b"\n")]
    for _ in range(draw.choice([1, 5])):
        row = draw.choice(rows)
        row[draw.randrange(len(row))] = draw.choice([b"", b"nan", b"-1", b"1e400", b"x", b'"', b"9" * 5000, b"epoch"])
    write(path, b"\n".join(b",".join(row) for row in rows))


def another_file(draw: random.Random, path: Path) -> None:
    others = [other for other in path.parents[0].rglob("*") if other.is_file() and other != path]
    write(path, content_of(draw.choice(others)) if others else b"")


def pipe(draw: random.Random, path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def link(draw: random.Random, path: Path) -> None:
    remove(path)
    path.symlink_to(draw.choice([path.name, "nothing", "/dev/zero", "/dev/null", "..", "/dev/full", "/proc/self/mem"]))


def folder(draw: random.Random, path: Path) -> None:
    remove(path)
    path.mkdir()
    if draw.random() < 0.5:
        (path / draw.choice(["config.yaml", "x", "last.ckpt"])).write_text("x")


def forbidden(draw: random.Random, path: Path) -> None:
    """Where the command runs as root, nothing is forbidden."""
    if path.exists():
        path.chmod(draw.choice([0o000, 0o444, 0o222]))


def huge(draw: random.Random, path: Path) -> None:
    content = content_of(path)
    write(path, content)
    os.truncate(path, draw.choice([len(content) + 1, 100_000_000, 700_000_000]))


def missing(draw: random.Random, path: Path) -> None:
    remove(path)


OF_FILES: list[Damage] = [cut, cut, change_bits, change_bits, garbage, other_text, deep, other_values, other_values]
OF_FILES += [another_file, pipe, link, folder, forbidden, huge, missing]
OF_FOLDERS: list[Damage] = [missing, garbage, pipe, link, folder, forbidden]


def damaged(draw: random.Random) -> list[str]:
    """Damages some files of the newer run, and returns what was done."""
    done = []
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        files = sorted(str(path.relative_to(NEWER)) for path in NEWER.rglob("*") if path.is_file())
        name = draw.choice([*MAIN_FILES.split() * 3, *files, "evaluation.json", ".lock", "checkpoints", "checkpoints"])
        path = NEWER / name
        if not path.parent.is_dir():
            continue
        damage = draw.choice(OF_FOLDERS if name == "checkpoints" else OF_FILES)
        if name == "metrics.csv" and damage is other_values:
            damage = other_cells
        damage(draw, path)
        done.append(f"{damage.__name__} {name}")
    return done


def digests(run: Path) -> dict[str, str]:
    files = (path for path in run.rglob("*") if path.is_file())
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def faults_of(draw: random.Random, counts: Counter[str]) -> Iterator[str]:
    """Runs commands on the damaged folder, and yields what is wrong."""
    before = digests(OLDER)
    best, last = str(NEWER / "checkpoints/best.ckpt"), str(NEWER / "checkpoints/last.ckpt")
    commands = [
        [*FIT, "--resume", str(NEWER)],
        ["fit", "--resume", str(NEWER)],
        [*FIT, "--resume", "auto"],
        [*FIT, "--resume", "auto"],
        ["test", "--ckpt_path", draw.choice([best, last]), "--trainer.limit_test_batches", "1"],
        ["predict", "--ckpt_path", best, "--data.predict_folder", "../images"],
        [*FIT, "--ckpt_path", last],
    ]
    command = draw.choice(commands)
    counts[" ".join([command[0], *[word for word in command if word in ("--resume", "auto", "--ckpt_path")]])] += 1
    listings = [["runs"], ["report", str(NEWER)], ["report", str(NEWER), str(OLDER), "--output", "both.html"]]
    for words in [*listings[: draw.choice([1, 2, 3])], command, ["runs"]]:
        with pytest.MonkeyPatch.context() as patch:
            if words[0] == "fit":
                draw_no_figures(patch)
            fault = fault_of(words)
        if fault:
            yield f"{' '.join(words)}: {fault}"
        if OLDER not in [run.folder for run in find_runs("runs")]:
            yield f"{' '.join(words)}: the older run is lost"
    if "auto" in command and read_run(OLDER).state == "finished":
        return  # it was taken instead of the damaged one
    if digests(OLDER) != before:
        yield f"{' '.join(command)}: the older run has changed"


def prepare(base: Path) -> None:
    """Makes the folder with the two runs."""
    os.chdir(base)
    write_images(base.parent / "images", 3, size=(8, 8))
    save = LastCheckpoint.on_train_batch_start

    def stop(
        callback: LastCheckpoint, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        save(callback, trainer, pl_module, batch, batch_idx)
        if (trainer.current_epoch, batch_idx) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    # Not a callback, which would be in the config of the run.
    with pytest.MonkeyPatch.context() as patch, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        patch.setattr(LastCheckpoint, "on_train_batch_start", stop)
        code = main([*FIT, "--resume", str(OLDER)])
    assert code == 143, code
    shutil.copytree(OLDER, NEWER)


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of a single case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["WANDB_MODE"] = "disabled"
    counts: Counter[str] = Counter()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        base = Path(place, "base")
        base.mkdir()
        prepare(base)
        environment = dict(os.environ)
        numbers = range(options.cases) if options.only is None else [options.only]
        for number in numbers:
            draw = random.Random(f"{options.seed} {number}")
            work = Path(place, str(number))
            shutil.copytree(base, work)
            os.chdir(work)
            done = damaged(draw)
            faults = list(faults_of(draw, counts))
            bad += bool(faults)
            for fault in faults:
                print(f"--- case {number} ({', '.join(done)}): {fault[-2500:]}", flush=True)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(place)
            shutil.rmtree(work, ignore_errors=True)
            if number % 50 == 49:
                print(f"{number + 1} cases, {bad} bad", flush=True)
    print(f"{bad} bad of {len(numbers)}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(run())
