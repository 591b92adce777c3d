"""Which rooms may import which, and what an import loads."""

import ast
import subprocess
import sys
from itertools import pairwise

import pytest

from repository import ROOT

PACKAGE = ROOT / "resnet_lightning"

# From the ground up. A room imports from the floors below its own, and nothing from its neighbours.
FLOORS = (
    {"errors", "trust", "build", "atomic_write", "checkpoint_file", "signals", "threads"},
    {"models", "data", "runs"},
    {"training"},
    {"inference", "experiments"},
    {"bench"},
    {"cli"},
    {"__init__", "__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PROJECT_TEMPLATE = PACKAGE / "cli" / "project_template"
NOT_OUTSIDE_CLI = {"argparse", "jsonargparse"}
NOT_IN_MODELS = {"lightning", "torchmetrics"}


def imports(file):
    """The absolute names of what a file imports, each with its line."""
    package = ["resnet_lightning", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def offences():
    for file in sorted(PACKAGE.rglob("*.py")):
        if PROJECT_TEMPLATE in file.parents:  # a project of a user, which imports the public names
            continue
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for line, name in imports(file):
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            where = f"{file.relative_to(ROOT)}:{line} imports {name}"
            if top in NOT_OUTSIDE_CLI and room != "cli":
                yield f"{where}: command lines are parsed in cli/"
            if top in NOT_IN_MODELS and room == "models":
                yield f"{where}: models/ needs torch alone"
            if top != "resnet_lightning" or other in (room, "__version__"):
                continue
            if other not in FLOOR:
                yield f"{where}: no such room"
            elif FLOOR[other] > FLOOR[room] or (FLOOR[other] == FLOOR[room] > 0):
                yield f"{where}: {other} is not below {room}"


def test_rooms_import_from_the_floors_below():
    found = list(offences())
    assert not found, "\n".join(["", *found])


def test_every_room_has_a_floor_and_no_file_lies_outside():
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in PACKAGE.rglob("*.py")}
    assert rooms == set(FLOOR)


def test_tests_stand_in_the_rooms_of_what_they_test():
    rooms = {folder.name for folder in (ROOT / "tests").glob("[a-z]*/")}
    assert rooms == {room for floor, _ in pairwise(FLOORS) for room in floor if (PACKAGE / room).is_dir()}


def loaded_modules(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "needed", "unwanted"),
    [
        (
            "import resnet_lightning as r; r.resnet18(num_classes=2)",
            "torch",
            "lightning torchvision torchmetrics wandb matplotlib rich jsonargparse",
        ),
        ("import resnet_lightning as r; r.ImageClassifier, r.DigitsDataModule", "lightning", "wandb jsonargparse"),
    ],
    ids=["models", "training"],
)
def test_a_fresh_process_loads_no_more_than_it_uses(code, needed, unwanted):
    modules = loaded_modules(code)
    assert needed in modules
    assert not modules & set(unwanted.split())


def test_every_public_name_exists_and_has_a_docstring():
    import resnet_lightning

    for name in resnet_lightning.__all__:
        assert getattr(resnet_lightning, name).__doc__, name
    assert set(resnet_lightning.__all__) <= set(dir(resnet_lightning))
