import os
import sys

# Before torch is imported, and for the processes that tests start: the nets are tiny, and threads that wait for each
# other on a busy machine make them ten times slower.
os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

import pytest

# Else every process would compile the tests and the package again, which takes seconds.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Processes that tests start import classes of the tests, and the package from here.
_TESTS = Path(__file__).parent
_folders = _TESTS.parent, _TESTS, *sorted(_TESTS.glob("[a-z]*/"))
os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, _folders), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(autouse=True)
def environment_of_its_own(monkeypatch):
    """Undoes changes of the environment: ``seed_everything`` leaves its seed there, wandb its mode."""
    before = dict(os.environ)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory):
    """Decoded images are cached in a temporary folder, not in the home of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """The test works in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def without_figures(monkeypatch):
    """Runs in the test's process draw no figures, which take longer than the training of most tests."""
    from runs_alike import draw_no_figures

    draw_no_figures(monkeypatch)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """The folder of a run of ``configs/digits.yaml``, a resnet20 that has seen some digits. Tests only read it."""
    from resnet_lightning.cli.main import main
    from runs_alike import DIGITS, working_in

    with working_in(tmp_path_factory.mktemp("digits_run")):
        short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "8", "--trainer.accelerator", "cpu"]
        assert main(["fit", "--config", DIGITS, *short]) == 0
        (folder,) = Path("runs/digits").resolve().iterdir()
    return folder


@pytest.fixture
def real_data() -> Path:
    """The folder with the real images, ``MNIST/raw`` and ``cifar10-jpeg``."""
    root = os.environ.get("RESNET_LIGHTNING_DATA")
    if root is None:
        pytest.skip("needs real images: set RESNET_LIGHTNING_DATA to a data root with MNIST/raw and cifar10-jpeg")
    return Path(root)


@pytest.fixture
def commands():
    """Starts runs in processes of their own, as people start them, and ends those that are left."""
    from runs_alike import Commands  # imports torch, which not every test needs

    started = Commands()
    yield started
    started.close()


@pytest.fixture
def warm():
    """Starts runs in processes forked from one that has imported everything, and ends those that are left."""
    from runs_alike import WarmCommands

    started = WarmCommands()
    yield started
    started.close()
