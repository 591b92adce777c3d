"""The launcher: what it starts, what it reads back, and how it ends."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_lightning import InputError
from resnet_lightning.experiments.launcher import command_of, has_overrides, read_outcome, run_trials
from resnet_lightning.experiments.trials import Trial, labelled
from resnet_lightning.runs.lock import Lock
from resnet_lightning.runs.reader import read_run

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_the_command_of_a_trial_resumes_its_run_in_its_folder():
    trial = labelled({"model.lr": "0.1", "seed_everything": "2"})
    assert command_of(["--config", "digits"], trial, Path("runs/x")) == [
        *("fit", "--config", "digits", "--model.lr=0.1", "--seed_everything=2"),
        *("--trainer.default_root_dir=runs/x/model.lr_0.1,seed_2", "--resume=auto"),
    ]


@pytest.mark.parametrize(
    ("overrides", "agree"),
    [
        ({"model.lr": "0.1"}, True),
        ({"model.lr": "1e-1"}, True),
        ({"model.lr": "0.2"}, False),
        ({"trainer.max_epochs": "2"}, True),
        ({"trainer.max_epochs": "2.0"}, True),
        ({"model.backbone": "resnet20"}, True),
        ({"model.backbone": "resnet32"}, False),
        ({"data": "DigitsDataModule"}, True),
        ({"data": "MNISTDataModule"}, False),
        ({"data.augment.rotate": "10"}, True),
        ({"data.augment.rotate": "5"}, False),
        ({"model.optimizer_args": "{momentum: 0.9}"}, True),
        ({"model.optimizer_args": "{momentum: 0.8}"}, False),
        ({"trainer.precision": "null"}, True),
        ({"trainer.precision": "32"}, False),
        ({"data.num_folds": "5"}, False),
        ({"of.another.version": "1"}, True),
    ],
    ids=str,
)
def test_a_run_is_that_of_its_overrides(digits_run, overrides, agree):
    assert has_overrides(read_run(digits_run), overrides) == agree


def test_a_finished_run_is_read_back_and_nothing_is_started(digits_run, tmp_path):
    trial = Trial("one", {"model.lr": "0.1"})
    place = tmp_path / "folder" / "one" / "digits"
    place.mkdir(parents=True)
    shutil.copytree(digits_run, place / digits_run.name)
    seen = []
    (outcome,) = run_trials(["--no_such_option"], [trial], tmp_path / "folder", show=seen.append)
    assert seen == [outcome]
    assert outcome.is_old
    assert outcome.run is not None
    assert outcome.run.last("test/acc") == read_run(digits_run).last("test/acc")
    assert read_outcome(Trial("one", {"model.lr": "0.3"}), tmp_path / "folder").run is None


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_go_on():
    trials = [Trial(name, {"model.lr": "1", name: "1"}) for name in ("a", "b")]
    outcomes = run_trials(["--config", "digits"], trials, Path("folder"), jobs=2)
    assert [(outcome.run, outcome.reason.partition(";")[0]) for outcome in outcomes] == [
        (None, "unknown option '--a'"),
        (None, "unknown option '--b'"),
    ]
    assert sorted(path.name for path in Path("folder").iterdir()) == ["a", "b"]


@pytest.mark.slow
def test_after_a_failure_nothing_more_is_started_if_that_is_wanted():
    trials = [Trial(name, {name: "1"}) for name in ("a", "b")]
    (outcome,) = run_trials(["--config", "digits"], trials, Path("folder"), stop_at_failure=True)
    assert outcome.trial is trials[0]


@pytest.mark.slow
def test_two_experiments_do_not_share_a_folder():
    code = (
        "import sys; from pathlib import Path; from resnet_lightning.runs.lock import Lock\n"
        "lock = Lock.of_a_run(Path('folder')); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(InputError, match="another process is writing"):
        run_trials([], [Trial("a", {})], Path("folder"))
    holder.communicate("")
    Lock(Path("folder")).release()


def test_two_trials_need_two_labels():
    with pytest.raises(InputError, match="two trials are labelled 'a'; give each its own label"):
        run_trials([], [Trial("a", {"x": "1"}), Trial("a", {"x": "2"})], Path("folder"))
