"""What the benchmarks compare is the same work, and the figures are what was timed."""

import csv
import os
import re
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import seed_everything
from PIL import Image
from rich.console import Console

from resnet_lightning import Augmentation, InputError, create_model
from resnet_lightning.bench import comparison as bench_comparison
from resnet_lightning.bench import data as bench_data
from resnet_lightning.bench import processes as bench_processes
from resnet_lightning.bench import startup as bench_startup
from resnet_lightning.bench import step as bench_step
from resnet_lightning.bench import threads as bench_threads
from resnet_lightning.bench.backbones import CASES, HandWrittenResNet20
from resnet_lightning.bench.comparison import Comparison, as_table, interleaved, timed, write_csv
from resnet_lightning.bench.data import FromArray, RandomImagesDataModule, WholeSet, random_images
from resnet_lightning.bench.step import StepClock, torchvision_resnet18
from resnet_lightning.bench.stream import write_folder
from resnet_lightning.cli.main import main


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


# The nets.


@pytest.mark.parametrize("name", CASES)
def test_both_nets_compute_the_same(name):
    theirs = CASES[name][0]().eval()
    ours = create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("make_theirs", "name", "options"),
    [(torchvision_resnet18, "resnet18", {"stem": "cifar"}), (HandWrittenResNet20, "resnet20", {})],
    ids=["resnet18", "resnet20"],
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_the_nets_of_the_hand_written_loop_compute_the_same(make_theirs, name, options, training):
    torch.manual_seed(0)
    theirs = make_theirs().train(training)
    ours = create_model(name, num_classes=10, **options).train(training)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(4, 3, 32, 32)
    found, expected = ours(images), theirs(images)
    assert found.shape == (4, 10)
    torch.testing.assert_close(found, expected)
    # And learn the same.
    found.square().mean().backward()
    expected.square().mean().backward()
    ours_by_name = dict(ours.named_parameters())
    for key, value in theirs.named_parameters():
        torch.testing.assert_close(ours_by_name[key].grad, value.grad, atol=1e-5, rtol=1e-3)


# Turns and seconds.


def test_they_take_turns_and_the_first_round_does_not_count():
    calls = []

    def run(name: str, first: float) -> float:
        calls.append(name)
        return first + len(calls)

    found = interleaved("work", 7, partial(run, "ours", 0.0), partial(run, "theirs", 100.0), rounds=3)
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert found == Comparison("work", 7, ours=[4.0, 5.0, 8.0], theirs=[103.0, 106.0, 107.0], unit="images")


def test_the_seconds_are_those_of_the_call(monkeypatch):
    """On a clock that stands still but for the call, which takes three seconds."""
    clock = SimpleNamespace(now=10.0)
    monkeypatch.setattr(bench_comparison, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    calls = []

    def work():
        calls.append(1)
        clock.now += 3.0

    run = timed(work)
    assert calls == []
    assert run() == 3.0
    assert calls == [1]


# What is shown and written.


def test_the_ratio_is_the_median_over_rounds():
    found = Comparison("work", 10, ours=[1.0, 2.0, 1.0], theirs=[1.5, 8.0, 1.2])
    assert found.ratio == 1.5
    assert [list(column.cells) for column in as_table([found]).columns] == [
        ["work"],
        ["10.0 images/s"],
        [f"{10 / 1.5:.1f} images/s"],
        ["1.50 times"],
    ]


def test_the_table_has_a_row_for_each_comparison_with_its_unit_and_large_numbers_in_groups():
    comparisons = [
        Comparison("fast", 50_000, ours=[2.0], theirs=[8.0]),
        Comparison("start", 1, ours=[4.0], theirs=[2.0], unit="starts"),
    ]
    console = Console(width=100)
    with console.capture() as captured:
        console.print(as_table(comparisons))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert "fast 25,000 images/s 6,250 images/s 4.00 times" in lines
    assert "start 4.00 s 2.00 s 0.50 times" in lines


def test_the_seconds_of_every_round_are_written(tmp_path):
    path = tmp_path / "bench.csv"
    write_csv(
        path, [Comparison("work", 10, [1.0, 2.0], [3.0, 4.0]), Comparison("go, and stop", 1, [5.0], [6.0], "starts")]
    )
    assert [list(row.values()) for row in rows_of(path)] == [
        ["work", "10", "images", "0", "1.0", "3.0"],
        ["work", "10", "images", "1", "2.0", "4.0"],
        ["go, and stop", "1", "starts", "0", "5.0", "6.0"],
    ]
    assert list(rows_of(path)[0]) == ["work", "amount", "unit", "round", "ours_seconds", "theirs_seconds"]
    with pytest.raises(InputError, match=r"cannot write .*No such file or directory"):
        write_csv(tmp_path / "no folder" / "bench.csv", [])


# Data.

N = 1024


def numbered_images() -> tuple[np.ndarray, np.ndarray]:
    """Images of one colour each, which says their number, and which cropping and mirroring leave in the middle."""
    numbers = np.arange(N)
    colours = np.stack([numbers % 32 * 8, numbers // 32 * 8, np.full(N, 128)], axis=1)
    return np.broadcast_to(colours[:, None, None], (N, 32, 32, 3)).astype(np.uint8).copy(), numbers % 10


class NumberedImages(RandomImagesDataModule):
    def read(self, part):
        return numbered_images()


class NoisyImages(RandomImagesDataModule):
    def read(self, part):
        return random_images(N)


def batches_of(way: str, noise: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch of one of the ways that are compared."""
    seed_everything(0, verbose=False)
    images, labels = random_images(N) if noise else numbered_images()
    if way == "ours":
        module = (NoisyImages if noise else NumberedImages)(N, **bench_data._OPTIONS)
        return list(module.device_loader("train", torch.device("cpu")))
    return list(WholeSet(images, labels) if way == "whole set" else bench_data._dataloader(images, labels, 0))


WAYS = ["ours", "torchvision", "whole set"]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_takes_every_image_once_in_batches_of_the_same_kind(way):
    batches = batches_of(way, noise=False)
    assert [images.shape for images, _ in batches] == [(128, 3, 32, 32)] * (N // 128)
    assert all(images.dtype == torch.float32 and labels.dtype == torch.int64 for images, labels in batches)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    mean, std = (torch.tensor(values) for values in (bench_data._MEAN, bench_data._STD))
    colours = ((images[:, :, 16, 16] * std + mean) * 255 / 8).round().long()
    numbers = colours[:, 0] + 32 * colours[:, 1]
    assert torch.equal(numbers.sort().values, torch.arange(N))
    assert not torch.equal(numbers, torch.arange(N))
    assert torch.equal(labels, numbers % 10)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_pads_by_four_and_crops_everywhere(way):
    """Of an image of one colour, what is left of the middle's colour says where it was cut."""
    images = torch.cat([images for images, _ in batches_of(way, noise=False)])
    inside = (images == images[:, :, 16:17, 16:17]).all(1)
    for rows in inside.any(2), inside.any(1):
        kept = rows.sum(1)
        assert kept.min() == 28
        assert kept.max() == 32
        # 4 rows are gone in two of the nine places, none in one; on average 2.22 are gone.
        assert kept.float().mean().item() == pytest.approx(32 - 20 / 9, abs=0.2)


def test_the_pixels_of_all_ways_have_the_same_statistics():
    """In the middle, which no padding reaches: the whole set is padded after it is normalised, the others before."""
    first, *others = (torch.cat([images for images, _ in batches_of(way, True)])[..., 4:28, 4:28] for way in WAYS)
    for other in others:
        torch.testing.assert_close(other.mean((0, 2, 3)), first.mean((0, 2, 3)), atol=0.01, rtol=0)
        torch.testing.assert_close(other.std((0, 2, 3)), first.std((0, 2, 3)), atol=0.01, rtol=0)


def test_ours_and_torchvisions_pixels_agree_at_the_border_too():
    ours, theirs = (torch.cat([images for images, _ in batches_of(way, True)]) for way in WAYS[:2])
    torch.testing.assert_close(ours.mean((0, 2, 3)), theirs.mean((0, 2, 3)), atol=0.03, rtol=0)
    torch.testing.assert_close(ours.std((0, 2, 3)), theirs.std((0, 2, 3)), atol=0.03, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_mirrors_half_of_the_images(way):
    """Left halves are dark, right halves bright."""
    images = np.zeros((N, 32, 32, 3), np.uint8)
    images[:, :, 16:] = 255

    class HalfBright(RandomImagesDataModule):
        def read(self, part):
            return images, np.zeros(N, np.int64)

    seed_everything(0, verbose=False)
    if way == "ours":
        module = HalfBright(N, **bench_data._OPTIONS)
        batches = [images for images, _ in module.device_loader("train", torch.device("cpu"))]
    elif way == "torchvision":
        batches = [batch for batch, _ in bench_data._dataloader(images, np.zeros(N, np.int64), 0)]
    else:
        batches = [batch for batch, _ in WholeSet(images, np.zeros(N, np.int64))]
    pixels = torch.cat(batches)
    bright_left = pixels[:, 0, 16, 4] > pixels[:, 0, 16, 27]
    assert bright_left.float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_the_single_images_are_those_of_the_array():
    images, labels = random_images(5)
    found = FromArray(images, labels, np.asarray)
    assert len(found) == 5
    assert all(np.array_equal(found[i][0], images[i]) and found[i][1] == labels[i] for i in range(5))


def test_the_options_are_those_of_the_other_ways():
    assert bench_data._OPTIONS["augment"] == Augmentation(crop=4, flip=True)
    assert bench_data._WHOLE_SET == 49_920


# Steps.


def test_a_measured_run_is_a_run_of_lightning_fit_with_the_clock(monkeypatch):
    monkeypatch.setattr(StepClock, "seconds", 0.0)
    seconds = bench_step._lightning_fit(main, "resnet20", {}, 4, 3, "32-true", False)()
    assert seconds == StepClock.seconds > 0


def test_the_clock_leaves_the_first_two_steps_out(monkeypatch):
    """They take 100 seconds each, the others one."""
    watch = SimpleNamespace(now=0.0)
    monkeypatch.setattr(bench_step, "time", SimpleNamespace(perf_counter=lambda: watch.now))
    monkeypatch.setattr(StepClock, "seconds", 0.0)
    clock = StepClock()
    for batch_idx, seconds in enumerate((100.0, 100.0, 1.0, 1.0, 1.0)):
        watch.now += seconds
        clock.on_train_batch_end(None, None, None, None, batch_idx)
    assert StepClock.seconds == 3.0


def test_a_run_that_fails_is_no_measurement():
    run = bench_step._lightning_fit(main, "resnet21", {}, 4, 2, "32-true", False)
    with pytest.raises(RuntimeError, match="resnet21"):
        run()


def test_the_hand_written_loop_trains():
    torch.manual_seed(0)
    net = HandWrittenResNet20()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert bench_step._loop(net, 4, 3, "32-true", False)() > 0
    after = net.state_dict()
    assert after["bn1.num_batches_tracked"] == 5  # two that do not count, and three that do
    assert all(not torch.equal(after[key], before[key]) for key in ("conv1.weight", "fc.bias"))


# Streaming.


def test_the_folder_holds_as_many_files_as_it_was_told_and_no_two_alike(tmp_path):
    write_folder(tmp_path, 250, side=24)
    train, test = (sorted((tmp_path / part).rglob("*.jpg")) for part in ("train", "test"))
    assert (len(train), len(test)) == (250, 100)
    assert len({path.read_bytes() for path in (*train, *test)}) == 350
    assert sorted({path.parent.name for path in train}) == [f"class_{label:03}" for label in range(100)]
    counts = [len(list(folder.iterdir())) for folder in sorted((tmp_path / "train").iterdir())]
    assert counts == [3] * 50 + [2] * 50
    with Image.open(train[0]) as image:
        assert (image.size, image.mode, image.format) == ((24, 24), "RGB", "JPEG")


@pytest.mark.slow
def test_the_command_lists_and_reads_a_folder(capsys):
    assert main(["bench", "stream", "--images", "600", "--workers", "1"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    took = r"\d+\.\d s, [\d,]+ images/s"
    for name, memory in ("written", ""), ("listed", r" [\d,]+ MB"), ("read 256", r" [\d,]+ MB"):
        assert any(re.fullmatch(rf"{name} {took}{memory}", line) for line in lines), lines
    assert any(line.startswith("read 512 ") for line in lines)


@pytest.mark.parametrize("images", ["0", "-5"])
def test_no_images_are_refused(images, capsys):
    assert main(["bench", "stream", "--images", images]) == 2
    assert capsys.readouterr().err == f"error: --images is {images}; give at least 256\n"


@pytest.mark.parametrize("options", [["--images", "5"], ["--images", "255"], ["--workers", "-1"]], ids=" ".join)
def test_a_stream_that_cannot_be_read_gets_one_line(options, capsys):
    assert main(["bench", "stream", "--images", "300", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


# The commands.


@pytest.mark.parametrize("what", ["backbones", "data", "startup", "step"])
def test_no_rounds_are_refused(what, capsys):
    assert main(["bench", what, "--rounds", "0"]) == 2
    assert capsys.readouterr().err == "error: --rounds is 0; give at least 1\n"


def test_a_file_that_cannot_be_written_is_found_before_anything_is_timed(tmp_path, capsys, monkeypatch):
    path = tmp_path / "no folder" / "bench.csv"
    monkeypatch.setattr(bench_startup, "startup", lambda **options: pytest.fail("timed before the file was tried"))
    assert main(["bench", "startup", "--csv", str(path)]) == 2
    assert capsys.readouterr().err == f"error: cannot write {str(path)!r}: No such file or directory\n"


def run_bench(what: str, path: Path, capsys) -> tuple[str, list[dict[str, str]]]:
    """What the command prints, the lines of a cell joined, and what it writes, after a look at the seconds."""
    assert main(["bench", what, "--rounds", "1", "--csv", str(path)]) == 0
    rows = rows_of(path)
    assert all(float(row["ours_seconds"]) > 0 and float(row["theirs_seconds"]) > 0 for row in rows)
    assert {row["round"] for row in rows} == {"0"}
    printed = capsys.readouterr().out
    assert printed.count(" times") == len(rows)
    return " ".join(printed.split()), rows


@pytest.mark.slow
def test_the_backbones_are_timed(tmp_path, capsys, monkeypatch):
    for name, (theirs, _, _) in CASES.items():
        monkeypatch.setitem(CASES, name, (theirs, 2, 32))
    printed, rows = run_bench("backbones", tmp_path / "bench.csv", capsys)
    assert all(name in printed for name in CASES)
    assert len(rows) == 2 * len(CASES)


@pytest.mark.slow
def test_the_data_engine_is_timed(tmp_path, capsys, monkeypatch):
    for name in "_WHOLE_SET", "_SMALL_SET":
        monkeypatch.setattr(bench_data, name, 512)
    printed, rows = run_bench("data", tmp_path / "bench.csv", capsys)
    assert [(row["amount"], row["unit"]) for row in rows] == [("512", "images")] * 7
    assert [row["work"].partition(",")[0] for row in rows] == [
        "torchvision's transforms in a DataLoader",
        "torchvision's transforms in a DataLoader",
        *(f"the same and {policy}" for policy in ("RandAugment", "TrivialAugmentWide", "AugMix")),
        "the whole set augmented at once",
        "upper bound: the same images in the same order",
    ]
    assert "images/s" in printed


@pytest.mark.slow
def test_steps_are_timed(tmp_path, capsys, monkeypatch):
    """With four images a step: ResNet-18 takes seconds for 128."""
    fit, loop = bench_step._lightning_fit, bench_step._loop
    monkeypatch.setattr(
        bench_step, "_lightning_fit", lambda run, backbone, options, batch, *rest: fit(run, backbone, options, 4, *rest)
    )
    monkeypatch.setattr(bench_step, "_loop", lambda net, batch, *rest: loop(net, 4, *rest))
    small = partial(bench_processes.processes, batch=2, steps=2)
    monkeypatch.setattr(bench_processes, "processes", small)
    _, rows = run_bench("step", tmp_path / "bench.csv", capsys)
    assert [row["work"] for row in rows[-2:]] == [
        f"resnet20, 2 images in each of 2 processes, {strategy}, against a stock Trainer"
        for strategy in ("ddp", "fsdp")
    ]
    assert [row["amount"] for row in rows[-2:]] == ["8", "8"]
    del rows[-2:]
    names = [row["work"] for row in rows]
    if torch.cuda.is_available():
        assert len(rows) == 8
    else:
        assert names == [
            "resnet20, 128 images, against a hand-written loop on the same network",
            "resnet20, 128 images, against a hand-written loop on a hand-written network, NCHW",
            "resnet18, 3x3 stem, 128 images, against a hand-written loop on the same network",
            "resnet18, 3x3 stem, 128 images, against a hand-written loop on torchvision's, NCHW",
        ]


@pytest.mark.slow
def test_starts_are_timed(tmp_path, capsys):
    printed, rows = run_bench("startup", tmp_path / "bench.csv", capsys)
    assert [(row["amount"], row["unit"]) for row in rows] == [("1", "starts")] * 2
    assert " s " in printed


def test_a_start_that_fails_is_no_measurement():
    with pytest.raises(subprocess.CalledProcessError):
        bench_startup._process("-c", "raise SystemExit(3)")()


@pytest.mark.slow
def test_threads_are_timed_alone_and_beside_a_busy_process(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_threads, "_STEPS", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("GOMP_SPINCOUNT", "123")
    _, rows = run_bench("threads", tmp_path / "bench.csv", capsys)
    assert ["beside a busy process" in row["work"] for row in rows] == [False, True]
    assert os.environ["GOMP_SPINCOUNT"] == "123"
