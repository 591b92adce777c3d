"""Who may import whom, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "resnet_lightning"

# Rooms that a room may use, besides itself and the ground floor.
GROUND = {"errors", "build"}
ALLOWED = {
    "errors": set(),
    "build": set(),
    "models": set(),
    "data": set(),
    "optim": set(),
    "tracking": set(),
    "catalogue": {"models"},
    "classifier": {"models", "optim"},
    "callbacks": {"checkpoints", "pictures", "provenance"},
    "parser": {"callbacks", "classifier", "data"},
    "bench": {"callbacks", "classifier", "data", "models"},
    "checkpoints": set(),
    "pictures": set(),
    "provenance": set(),
    "trained": {"classifier", "data", "models"},
    "finding": {"classifier", "data", "pictures"},
    "combinations": {"classifier", "data"},
    "resuming": set(),
    "runs": {"checkpoints"},
    "cross_validation": set(),
    "terminal": set(),
    "run_folders": {"terminal"},
    "comparing": {"run_folders"},
    "report": {"comparing", "pictures", "run_folders", "terminal"},
    "explain": {"trained"},
    "deployable": {"trained"},
    "export": {"classifier", "data", "deployable", "model_card", "models", "trained"},
    "model_card": {"trained"},
    "completion": {"data", "models"},
    "tools": {
        "bench",
        "callbacks",
        "catalogue",
        "completion",
        "cross_validation",
        "data",
        "explain",
        "export",
        "pictures",
        "report",
        "run_folders",
        "terminal",
        "trained",
    },
    "cli": {
        "callbacks",
        "checkpoints",
        "classifier",
        "combinations",
        "data",
        "finding",
        "models",
        "parser",
        "pictures",
        "resuming",
        "run_folders",
        "runs",
        "tools",
        "tracking",
    },
    "__main__": {"cli"},
    "__init__": {"models", "data", "classifier"},
}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    depth = len(file.relative_to(PACKAGE).parts)  # how many dots reach the package itself
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            rooms |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resnet_lightning"):
            raise AssertionError(f"{file} imports the package by its absolute name")
    return rooms - {"__version__"}


def test_every_room_is_listed():
    assert {room_of(file) for file in PACKAGE.rglob("*.py")} == set(ALLOWED)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_stay_within_their_rooms(file):
    room = room_of(file)
    assert imported_rooms(file) - {room} <= ALLOWED[room] | GROUND


@pytest.mark.parametrize("room", ["models", "data", "classifier", "callbacks", "optim"])
def test_the_library_does_not_know_the_command_line(room):
    for file in PACKAGE.rglob("*.py"):
        if room_of(file) == room:
            assert "jsonargparse" not in file.read_text()


def loaded_modules(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()}


def test_importing_the_package_loads_torch_and_nothing_heavier():
    modules = loaded_modules("import resnet_lightning as r; r.resnet18(num_classes=2)")
    assert "torch" in modules
    assert not modules & {"lightning", "torchvision", "torchmetrics", "wandb", "matplotlib", "rich", "jsonargparse"}


def test_names_that_need_lightning_load_it_on_first_use():
    modules = loaded_modules("import resnet_lightning as r; r.ImageClassifier, r.DigitsDataModule")
    assert "lightning" in modules
    assert not modules & {"wandb", "jsonargparse"}


def test_every_public_name_exists_and_has_a_docstring():
    import resnet_lightning

    for name in resnet_lightning.__all__:
        assert getattr(resnet_lightning, name).__doc__, name
    assert set(resnet_lightning.__all__) <= set(dir(resnet_lightning))
