"""`lightning study`: the studies as data, their results, and the command."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from resnet_lightning import ImageClassifier
from resnet_lightning.cli.main import main
from resnet_lightning.errors import InputError
from resnet_lightning.experiments.studies import STUDIES, find_study
from resnet_lightning.experiments.studies.certainty import resolve, t_quantile, welch_interval
from resnet_lightning.experiments.studies.results import Results, Row, read_results, write_results
from resnet_lightning.experiments.studies.study import Order, orders_of
from resnet_lightning.experiments.trials import parsed
from resnet_lightning.runs.reader import find_runs

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def row(variant: str, seed: int, error: float, **further) -> Row:
    return Row(variant, seed, error, further.pop("train_error", None), 1, 10, 1.5, "digits", "1 x cpu", **further)


def results_of(**errors: list[float]) -> Results:
    record = {"study": "s", "budget": "smoke", "data": "digits", "settings": {}, "variants": {v: {} for v in errors}}
    return Results(record).with_rows(row(v, seed, e) for v, values in errors.items() for seed, e in enumerate(values))


ORDER = Order("a is worse than b", higher=("a", "error"), lower=("b", "error"))


@pytest.mark.parametrize(("freedom", "published"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (100, 1.984)])
def test_quantiles_of_students_t_are_those_of_the_tables(freedom, published):
    assert t_quantile(0.975, freedom) == pytest.approx(published, rel=3e-3)


def test_welch_interval_of_a_textbook_example():
    """Two samples of equal size and variance: the interval of the ordinary t test with n1 + n2 - 2 degrees."""
    low, high = welch_interval([10.0, 12.0, 14.0], [1.0, 3.0, 5.0])
    half = 2.776 * (4 / 3 + 4 / 3) ** 0.5
    assert (low, high) == pytest.approx((9 - half, 9 + half), rel=1e-3)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([50.0, 51.0, 52.0], [10.0, 11.0, 12.0], "came out"),
        ([10.0, 11.0, 12.0], [50.0, 51.0, 52.0], "did not come out"),
        ([10.0, 11.0, 12.0], [9.0, 11.0, 12.5], "not resolved"),
        ([50.0], [10.0], "not resolved"),  # a single seed shows no spread
        ([90.0, 90.0, 90.0], [1.0, 1.0, 1.0], "came out"),  # at chance, all seeds are equal
        ([], [1.0, 2.0], "not resolved"),
    ],
)
def test_an_order_comes_out_only_if_the_interval_is_on_one_side_of_zero(a, b, verdict):
    assert resolve(ORDER, results_of(a=a, b=b)).verdict == verdict


def test_results_are_read_back_as_they_were_written(tmp_path):
    results = results_of(a=[12.5, 13.0], b=[1.0]).with_rows([row("b", 1, 90.0, note="diverged: the loss is nan")])
    write_results(results, tmp_path)
    assert read_results(tmp_path) == results
    (tmp_path / "results.csv").write_bytes((tmp_path / "results.csv").read_bytes().replace(b"\r\n", b"\n"))
    assert read_results(tmp_path) == results  # git may change the ends of lines


@pytest.mark.parametrize("name", ["results.csv", "study.json"])
def test_edited_results_are_refused(tmp_path, name):
    write_results(results_of(a=[12.5]), tmp_path)
    file = tmp_path / name
    file.write_text(file.read_text().replace("12.5", "2.5") if name.endswith("csv") else "{}")
    with pytest.raises(InputError, match=rf"{name}' (was edited|is damaged).*run the study again"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_plans_its_runs(name, capsys):
    study = find_study(name)
    assert study.name == name
    assert {"smoke"} <= study.budgets.keys()
    for budget_name, budget in study.budgets.items():
        assert main(["study", name, "--budget", budget_name, "--seeds", "2", "--dry_run"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2 * len(budget.variants)
        labels = [variant.label for variant in budget.variants]
        assert len(set(labels)) == len(labels)


def error_line(capsys, *arguments: str) -> str:
    assert main(["study", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["degradtion"], "unknown study 'degradtion'; did you mean 'degradation'"),
        (["degradation", "--budget", "smok"], "study 'degradation' has no budget 'smok'; did you mean 'smoke'?"),
        (["degradation", "--seeds", "0"], "--seeds is 0; give at least 1"),
        (["degradation", "--seeds", "two"], "argument --seeds: invalid int value: 'two'; `lightning study --help`"),
        (["degradation", "--jobs", "0"], "--jobs is 0; give at least 1"),
        (["degradation", "--jobs", "9999"], "--jobs is 9999: so many runs side by side do not fit on"),
        (["degradation", "--variants", "plain-21"], "unknown variant 'plain-21'; did you mean 'plain-20'"),
        (["degradation", "--bugdet", "quick"], "unknown option '--bugdet'; did you mean --budget?"),
        (
            ["degradation", "--model.backbone", "resnet18"],
            "--model.backbone is what the variants of",
        ),
        (["degradation", "--seed_everything", "3"], "--seed_everything is set by the study; --seeds N"),
        (["degradation", "--trainer.precison", "32"], "unknown option '--trainer.precison'; did you mean"),
        (["degradation", "--folder", "s3://bucket/study"], "--folder is 's3://bucket/study'; give a folder of this"),
        (["--model.lr=1"], "give the name of a study before '--model.lr=1'"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert error_line(capsys, *arguments).startswith(f"error: {message}")


def test_the_list_names_every_study(capsys):
    assert main(["study"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in STUDIES)


def nested(settings: dict[str, str], group: str) -> dict:
    """The options of a group, such as ``model``, as values."""
    group = f"{group}."
    return {key.removeprefix(group): parsed(value) for key, value in settings.items() if key.startswith(group)}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_network_of_every_budget_is_built(name):
    for budget in find_study(name).budgets.values():
        for variant in budget.variants:
            if not variant.script:
                with torch.device("meta"):  # shapes without values
                    ImageClassifier(**nested({**budget.settings, **variant.overrides}, "model"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["degradation", "depth", "width", "stochastic_depth"])
def test_the_recipe_of_the_paper_trains_and_tests(name, capsys):
    """One for each recipe, on other images and for two steps."""
    variant = find_study(name).budgets["paper"].variants[0].label
    assert main(["study", name, "--budget", "paper", "--seeds", "1", "--variants", variant, "--dry_run"]) == 0
    _, fit, *options = shlex.split(capsys.readouterr().out)
    options = [option for option in options if not option.startswith(("--data=", "--data.root="))]
    short = "--model.backbone resnet20 --model.backbone_args {} --trainer.limit_train_batches 2 --trainer.max_steps 2"
    assert main([fit, "--data", "DigitsDataModule", *options, *short.split()]) == 0


@pytest.mark.parametrize("name", STUDIES)
def test_every_order_compares_two_variants_of_one_budget(name):
    study = find_study(name)
    for order in study.orders:
        assert any(order in orders_of(study, budget) for budget in study.budgets.values()), order.claim


def study_lines(capsys, *arguments: str) -> str:
    assert main(["study", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_study_trains_writes_its_results_and_reads_them_back(capsys):
    """One run of a study, and what the same command does afterwards."""
    command = ["degradation", "--variants", "ResNet-20", "--seeds", "1"]
    assert "ResNet-20, seed 0: finished, 2/2 epochs" in study_lines(capsys, *command)
    folder = Path("runs/studies/degradation-smoke")
    (row,) = read_results(folder).rows
    (run,) = find_runs(folder / "runs")
    assert (row.variant, row.seed, row.steps, row.data, row.device) == ("ResNet-20", 0, 44, "digits", "1 x cpu")
    assert row.error == pytest.approx(100 * (1 - run.last("test/acc")), abs=1e-3)
    assert row.train_error == pytest.approx(100 * (1 - run.last("train/acc")), abs=1e-3)
    page = (folder / "page.md").read_text()
    assert f"| ResNet-20 | 8.75 | 8.51 ± 0.22 (n = 5) | {row.error:.2f} | 1 |" in page
    assert "    lightning study degradation --variants ResNet-20 --seeds 1" in page
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")

    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert "ResNet-20" in study_lines(capsys, *command)  # nothing is trained again
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == files

    line = error_line(capsys, *command, "--trainer.max_epochs", "3")
    assert line.startswith(
        f"error: the results in '{folder}' are of another config: options is not set there, and --tr"
    )
    line = error_line(capsys, "shortcuts", "--folder", str(folder))
    assert line.startswith(f"error: the results in '{folder}' are of study 'degradation', not 'shortcuts'")
    results = folder / "results.csv"
    results.write_text(results.read_text().replace(f"{row.error:.6g}", "0.5"))
    assert "results.csv' was edited" in error_line(capsys, *command)
    results.unlink()  # as the message says
    study_lines(capsys, *command)
    assert read_results(folder).rows == (row,)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_the_smoke_budget_of_every_study(name, capsys):
    printed = study_lines(capsys, name, "--jobs", "2")
    assert "failed" not in printed
    budget = find_study(name).budgets["smoke"]
    folder = Path("runs/studies", f"{name}-smoke")
    results = read_results(folder)
    assert [row.variant for row in results.rows] == [variant.label for variant in budget.variants]
    assert all(row.steps and 0 < row.error <= 100 and not row.note for row in results.rows)
    page = (folder / "page.md").read_text()
    assert all(f"| {variant.label} | " in page for variant in budget.variants)
    assert all(f"| {order.claim} | not resolved | " in page for order in orders_of(find_study(name), budget))


@pytest.mark.slow
def test_a_study_that_is_stopped_goes_on_and_more_seeds_add_to_it(capsys):
    command = ["degradation", "--variants", "ResNet-20", "--seeds"]
    process = subprocess.Popen([sys.executable, "-m", "resnet_lightning", "study", *command, "2"])
    folder = Path("runs/studies/degradation-smoke")
    while not any(run.state == "finished" for run in find_runs(folder)):
        assert process.poll() is None
        time.sleep(0.1)
    ended = list(folder.glob("runs/*seed_0/*/*/evaluation.json"))
    process.terminate()
    assert process.wait() == 143
    before = ended[0].stat().st_mtime_ns
    study_lines(capsys, *command, "2")
    assert [row.seed for row in read_results(folder).rows] == [0, 1]
    study_lines(capsys, *command, "3")
    assert [row.seed for row in read_results(folder).rows] == [0, 1, 2]
    study_lines(capsys, *command, "1")  # fewer seeds take nothing away
    assert [row.seed for row in read_results(folder).rows] == [0, 1, 2]
    assert ended[0].stat().st_mtime_ns == before
