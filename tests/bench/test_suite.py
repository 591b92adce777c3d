"""``lightning bench all`` measures what it names, and goes on after parts that fail or take too long."""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from resnet_lightning.bench.alternation import TakeTurns, Training, Turns, alternated, fit_quietly
from resnet_lightning.bench.backbones import HandWrittenResNet20
from resnet_lightning.bench.comparison import Comparison
from resnet_lightning.bench.rows import HEAD, Row, compared, row_of_line
from resnet_lightning.bench.step_parts import cost_row
from resnet_lightning.bench.suite import PARTS, rows_of_process
from resnet_lightning.bench.waits import CountWaits, WaitingOperations
from resnet_lightning.bench.work import Work
from resnet_lightning.cli.main import main


def rows(code: str, limit: float) -> list[Row]:
    with tempfile.TemporaryFile("w+b") as log:
        return list(rows_of_process([sys.executable, "-c", code], limit, log))


def printing(row: Row) -> str:
    return f"print({row.to_line()!r}, flush=True)"


# Rows.


def test_a_row_is_one_line_of_markdown_and_arrives_as_it_was_sent():
    row = Row("a | b\nc", "1", "2", "é")
    assert row.markdown("part") == "| part | a \\| b c | 1 | 2 | é |"
    assert row_of_line(row.to_line() + "\n") == row
    assert row_of_line("epoch 1\n") is None
    assert HEAD[1].count("|") == row.markdown("part").count("|") - 1  # the escaped one


def test_a_comparison_becomes_medians_and_the_spread_of_the_ratio():
    found = compared(Comparison("work", 100, ours=[1.0, 2.0, 1.0], theirs=[2.0, 2.0, 3.0]))
    assert found == Row("work", "100.0 images/s", "50.0 images/s", "2.00 times as fast (1.00 to 3.00)")
    assert cost_row(Comparison("work", 100, ours=[1.0], theirs=[0.8]), 100) == Row(
        "a step: work", "10.00 ms", "8.00 ms", "+2.00 ms a step, +25.0%"
    )


# Processes.


def test_rows_of_a_process_that_fails_stay_and_its_last_line_is_the_reason():
    done = Row("done", "1")
    assert rows(f"{printing(done)}; raise ValueError('no memory')", 60) == [
        done,
        Row("", result="failed: ValueError: no memory"),
    ]


@pytest.mark.slow
def test_a_process_that_takes_too_long_is_killed_with_all_that_it_has_started(tmp_path):
    written = tmp_path / "still here"
    child = f"import pathlib, time; time.sleep(2); pathlib.Path({str(written)!r}).touch()"
    code = f"import subprocess, sys; {printing(Row('a'))}; subprocess.run([sys.executable, '-c', {child!r}])"
    started = time.monotonic()
    assert rows(code, 1) == [Row("a"), Row("", result="ended after 1 s, its share of the budget")]
    time.sleep(max(0, 3 - (time.monotonic() - started)))
    assert not written.exists()


def test_a_measurement_that_fails_is_a_row_with_the_reason():
    def measure() -> Row:
        raise RuntimeError("out of memory\nmore")

    assert Work(main, Path(), False).attempt("what", measure) == Row(
        "what", result="failed: RuntimeError: out of memory"
    )


# Turns.


@pytest.mark.slow
def test_turns_are_as_long_as_they_say_and_both_train():
    net = HandWrittenResNet20()
    found = alternated(main, Training("resnet20", {}, 2), net, Turns(2, 3), "a loop")
    assert len(found.ours) == len(found.theirs) == 3
    assert found.amount == 4
    assert all(seconds > 0 for seconds in (*found.ours, *found.theirs))
    assert net.bn1.num_batches_tracked == 5 + 2 * 3
    assert TakeTurns.train is None


def test_a_run_that_fails_is_no_comparison():
    with pytest.raises(RuntimeError, match="resnet21"):
        alternated(main, Training("resnet21", {}, 2), HandWrittenResNet20(), Turns(1, 1), "a loop")


# Waiting.


def test_operations_whose_result_the_host_needs_are_counted():
    values, mask = torch.arange(6.0), torch.arange(6) > 2
    with WaitingOperations() as found:
        values.sum().item()
        mask.nonzero()
        values[mask]
        values[mask] = 0.0
        values[torch.tensor([1, 2])]
        values + 1
    assert found.counts.total() == 4
    assert {name.split()[0]: count for name, count in found.counts.items()} == {
        "aten::_local_scalar_dense": 1,
        "aten::nonzero": 1,
        "aten::index.Tensor": 1,
        "aten::index_put_": 1,
    }


# On a GPU, the loss of a step is copied while the next one is prepared; the order is computed on the host; and torch
# checks labels on a CPU only.
DO_NOT_WAIT_ON_A_GPU = {
    "training/callbacks/finite_loss.py",
    "data/loading/order.py",
    "data/augmentation/mixup.py",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--model.label_smoothing=0.1", "--data.augment.mixup=0.2", "--data.augment.cutmix=1.0"],
        ["--data.augment.policy=RandAugment", "--data.augment.erase=0.5", "--trainer.gradient_clip_val=1.0"],
    ],
    ids=["soft targets", "policy"],
)
def test_no_operation_of_a_step_waits_for_a_device(words):
    clock = "--trainer.callbacks+=resnet_lightning.bench.waits.CountWaits"
    with tempfile.TemporaryDirectory() as folder:
        fit_quietly(main, Training("resnet20", {}, 4, further=(*words, clock)).arguments(6, folder))
    assert CountWaits.steps == 3
    places = {name.partition(" in resnet_lightning/")[2] or name for name in CountWaits.counts}
    assert "training/callbacks/finite_loss.py" in places  # what is counted at all
    assert places <= DO_NOT_WAIT_ON_A_GPU


# The command.


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--budget_minutes", "0"], "--budget_minutes is 0; give a number above 0"),
        (["--budget_minutes", "nan"], "--budget_minutes is nan; give a number above 0"),
        (["--parts", "waits,resnet18"], "--parts has 'resnet18'; did you mean 'resnet18_steps'"),
        (["--csv", "x.csv"], "--csv does not apply to all; give --output FILE.md"),
        (["--output", "missing/table.md"], "cannot write 'missing/table.md': No such file or directory"),
    ],
    ids=" ".join,
)
def test_bad_options_are_one_line(options, error, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "all", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {error}")


def test_parts_without_time_have_a_row(capsys, tmp_path):
    output = tmp_path / "table.md"
    assert main(["bench", "all", "--budget_minutes", "1e-9", "--output", str(output)]) == 0
    lines = output.read_text().splitlines()
    assert lines == capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Measured on ")
    assert lines[2:4] == list(HEAD)
    assert [line.split(" | ")[0] for line in lines[4:]] == [f"| {name}" for name in PARTS]
    assert all("the budget of 1e-09 minutes is used up" in line for line in lines[4:])


@pytest.mark.slow
def test_a_small_suite_runs_here(capsys, tmp_path):
    output = tmp_path / "table.md"
    words = ["bench", "all", "--parts", "waits,fsdp2", "--output", str(output)]
    assert subprocess.run([sys.executable, "-m", "resnet_lightning", *words], check=False).returncode == 0
    rows = output.read_text().splitlines()[4:]
    assert Counter(row.split(" | ")[0] for row in rows) == {"| waits": 1, "| fsdp2": 1}
    assert not any("failed" in row or "ended" in row for row in rows), rows
    assert "times as fast" in rows[1]
