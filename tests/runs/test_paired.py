"""Comparisons of settings: the order by validation, differences by seed, and how sure they are."""

import itertools
import json
import math
import shutil

import pytest
import yaml
from rich.console import Console

from resnet_lightning.cli.differences_by_seed import print_differences
from resnet_lightning.cli.table_by_setting import table_by_setting
from resnet_lightning.errors import InputError
from resnet_lightning.runs.certainty import certainty_of_best
from resnet_lightning.runs.comparison import by_seed
from resnet_lightning.runs.paired import compare_with_best, sign_test
from resnet_lightning.runs.ranking import best_first, smaller_is_better
from resnet_lightning.runs.reader import Run, read_run
from resnet_lightning.runs.student_t import t_probability, t_quantile


@pytest.fixture
def make_run(digits_run, tmp_path):
    """Makes runs with a learning rate, a seed, a validation loss (which the config monitors) and a test accuracy."""

    def make(lr: float, seed: int | bool, validation: float, test: float, **data) -> Run:
        folder = tmp_path / f"{lr}_{seed}_{data}"
        shutil.copytree(digits_run, folder, ignore=shutil.ignore_patterns("*.ckpt", "pictures", "evaluation.json"))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config.update(seed_everything=seed)
        config["checkpoint"].update(monitor="val/loss", mode="min")
        config["model"]["lr"] = lr
        config["data"]["init_args"].update(data)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "metrics.csv").write_text(f"epoch,val/loss,test/acc\n0,{validation},\n1,{2 * validation},{test}\n")
        return read_run(folder)

    return make


@pytest.mark.parametrize(
    ("probability", "freedom", "published"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 4, 2.7764), (0.995, 9, 3.2498), (0.9995, 2, 31.5991)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(probability, freedom, published):
    assert t_quantile(probability, freedom) == pytest.approx(published, abs=6e-5)
    assert t_quantile(1 - probability, freedom) == pytest.approx(-published, abs=6e-5)


def test_students_t_with_one_and_two_degrees_of_freedom_has_closed_forms():
    for t in (-3.0, -0.2, 0.5, 7.0):
        assert t_probability(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi)
        assert t_probability(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)))


def test_the_sign_test_counts_all_outcomes():
    for n in range(1, 8):
        outcomes = [sum(signs) for signs in itertools.product((0, 1), repeat=n)]
        for better in range(n + 1):
            as_far = [count for count in outcomes if abs(count - n / 2) >= abs(better - n / 2)]
            assert sign_test(better, n - better) == pytest.approx(len(as_far) / len(outcomes))
    assert sign_test(0, 5) == 0.0625
    assert sign_test(0, 0) == 1


def test_settings_are_sorted_by_validation_not_by_the_test(make_run):
    runs = [make_run(0.1, seed, 0.5, 0.99) for seed in (0, 1)] + [make_run(0.2, seed, 0.3, 0.9) for seed in (0, 1)]
    groups = by_seed(runs)
    assert [group[0].setting("model.lr") for group in best_first(groups)] == [0.2, 0.1]  # the smaller loss
    assert [group[0].setting("model.lr") for group in best_first(groups, "test/acc")] == [0.1, 0.2]
    assert smaller_is_better(runs, "val/loss")
    assert not smaller_is_better(runs, "test/acc")


def test_the_interval_is_that_of_the_paired_t_test(make_run):
    tests = {0: (0.90, 0.95), 1: (0.80, 0.86), 2: (0.70, 0.74)}
    runs = [make_run(0.1, seed, 0.5, test[0]) for seed, test in tests.items()]
    runs += [make_run(0.2, seed, 0.3, test[1]) for seed, test in tests.items()]
    comparison = compare_with_best(by_seed(runs))
    (pair,) = comparison.differences
    # Differences of -0.05, -0.06 and -0.04: their deviation is 0.01, and the quantile for two degrees is 4.3027.
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert comparison.metric == "test/acc"
    assert (pair.n, pair.mean, pair.better, pair.worse) == (3, pytest.approx(-0.05), 0, 3)
    assert pair.interval == pytest.approx((-0.05 - half, -0.05 + half), rel=1e-6)
    assert pair.verdict == "worse"
    assert pair.sign_probability == 0.25


def test_more_comparisons_have_wider_intervals(make_run):
    tests = {0: 0.05, 1: 0.06, 2: 0.04}
    runs = [
        make_run(lr, seed, validation, 0.9 - difference)
        for lr, validation in ((0.1, 0.5), (0.2, 0.6), (0.3, 0.7), (0.4, 0.8), (0.5, 0.9))
        for seed, difference in tests.items()
    ]
    runs += [make_run(0.9, seed, 0.1, 0.9) for seed in tests]
    comparison = compare_with_best(by_seed(runs))
    assert comparison.level == pytest.approx(0.99)
    half = 9.924843 * 0.01 / math.sqrt(3)  # 0.995, two degrees
    assert all(
        pair.interval == pytest.approx((-0.05 - half, -0.05 + half), rel=1e-6) for pair in comparison.differences
    )
    assert {pair.verdict for pair in comparison.differences} == {"not resolved"}


@pytest.mark.parametrize(
    ("seeds", "verdict"), [(1, "not resolved"), (2, "not resolved"), (5, "not resolved"), (6, "worse")]
)
def test_equal_differences_are_resolved_by_the_sign_test_alone(make_run, seeds, verdict):
    runs = [make_run(0.1, seed, 0.5, 0.75) for seed in range(seeds)] + [
        make_run(0.2, s, 0.3, 0.875) for s in range(seeds)
    ]
    (pair,) = compare_with_best(by_seed(runs)).differences
    assert (pair.n, pair.interval, pair.verdict) == (seeds, None, verdict)


def test_only_shared_seeds_are_compared(make_run):
    runs = [make_run(0.1, seed, 0.5, 0.5) for seed in (0, 1)] + [make_run(0.2, seed, 0.3, 0.6) for seed in (1, 2)]
    (pair,) = compare_with_best(by_seed(runs)).differences
    assert pair.n == 1
    assert compare_with_best(by_seed([*runs[:1], runs[3]])) is None
    without = [make_run(0.1, False, 0.5, 0.5), make_run(0.2, False, 0.3, 0.6)]  # a seed that is not set is not shared
    assert compare_with_best(by_seed(without)) is None


def test_folds_of_one_setting_are_one_group_whose_variance_is_corrected(make_run):
    tests = [(0.90, 0.95), (0.80, 0.86), (0.70, 0.74)]
    runs = [make_run(0.1, 0, 0.5, test[0], num_folds=3, fold=fold) for fold, test in enumerate(tests)]
    runs += [make_run(0.2, 0, 0.3, test[1], num_folds=3, fold=fold) for fold, test in enumerate(tests)]
    groups = by_seed(runs)
    assert [len(group) for group in groups] == [3, 3]
    (pair,) = compare_with_best(groups).differences
    half = 4.302653 * 0.01 * math.sqrt(1 / 3 + 1 / 2)  # test images by training images of three folds: 1 to 2
    assert pair.interval == pytest.approx((-0.05 - half, -0.05 + half), rel=1e-6)


# On the terminal.


@pytest.mark.parametrize("width", [120, 80, 60])
def test_the_tables_fit_the_terminal(make_run, width, capsys):
    runs = [make_run(lr, s, lr, 1 - lr, root="a/long/path" * 9 + str(lr)) for lr in (0.1, 0.2) for s in (0, 1)]
    out = Console(width=width)
    out.print(table_by_setting(runs, width=width))
    print_differences(out, runs)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert [word for line in lines for word in ("test/acc", "best val/loss") if word in line][:1] == ["test/acc"]


def test_the_table_by_setting_is_sorted_and_counts_runs(make_run, capsys):
    runs = [make_run(0.1, s, 0.5, 0.9 + s / 10) for s in (0, 1)] + [make_run(0.2, 0, 0.3, 0.5)]
    record = json.loads((runs[2].folder / "run.json").read_text())

    def printed(*arguments) -> list[str]:
        Console(width=100).print(table_by_setting(*arguments))
        return [line.strip() for line in capsys.readouterr().out.splitlines()[2:]]

    first, second = printed(runs)
    assert first.split() == ["model.lr", "0.2", "50.00%", "0.3000", "1"]
    assert second.split()[1:6] == ["0.1", "95.00%", "±", "7.07%", "0.5000"]
    assert second.endswith("2")
    assert printed(runs, "test/acc")[0].startswith("model.lr 0.1")
    (runs[2].folder / "run.json").write_text(json.dumps({**record, "state": "failed"}))
    assert printed([*runs[:2], read_run(runs[2].folder)])[1].split() == ["model.lr", "0.2", "-", "-", "0"]
    with pytest.raises(InputError, match=r"--sort is 'test/ac', a metric that no run has; did you mean 'test/acc'"):
        table_by_setting(runs, "test/ac")


# What a sweep says of its best setting.


def certainty(make_run, tests: dict[float, list[float]]) -> str:
    """Of settings by learning rate, each with a test accuracy for each seed; the smallest rate is the best."""
    runs = [make_run(lr, seed, lr, test) for lr, values in tests.items() for seed, test in enumerate(values)]
    return certainty_of_best(by_seed(runs))


def test_one_seed_resolves_nothing(make_run):
    sentence = certainty(make_run, {0.1: [0.99], 0.2: [0.5]})
    assert sentence.startswith("with one seed each, no difference in test/acc is resolved")


def test_the_best_setting_is_better_only_than_those_whose_interval_says_so(make_run):
    tests = {0.1: [0.95, 0.96, 0.97], 0.2: [0.90, 0.911, 0.92], 0.3: [0.94, 0.97, 0.965], 0.4: [0.97, 0.981, 0.99]}
    how = " (by test/acc of runs with the same seed; all intervals together 95%)"
    first_two = {lr: tests[lr] for lr in (0.1, 0.2)}
    assert certainty(make_run, first_two) == f"it is measurably better than the other setting{how}"
    counts = "measurably better than 1 of 3 other settings, not told apart from 1, measurably worse than 1"
    assert certainty(make_run, {lr + 1: values for lr, values in tests.items()}) == f"it is {counts}{how}"
