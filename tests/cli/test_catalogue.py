"""The table of the models."""

import fnmatch
import subprocess
import sys

import pytest
import torch
import torchvision

from resnet_lightning import InputError, create_model, list_models
from resnet_lightning.cli.main import main
from resnet_lightning.cli.models import catalogue, measured, stored_rows
from resnet_lightning.models.cost import multiply_adds
from resnet_lightning.models.registry import MODELS
from resnet_lightning.models.shipped_weights import shipped_weights


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    ],
)
def test_costs_are_those_that_torchvision_publishes(name):
    with torch.device("meta"):
        model = create_model(name)
    published = torchvision.models.get_model_weights(name).DEFAULT.meta
    assert multiply_adds(model, 224) / 1e9 == pytest.approx(published["_ops"], abs=6e-4)
    assert sum(parameter.numel() for parameter in model.parameters()) == published["num_params"]


def test_the_cost_of_a_small_model_is_counted_by_hand():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(5 * 8 * 8, 7))
    assert multiply_adds(model, 8) == 3 * 5 * 3 * 3 * 8 * 8 + 5 * 8 * 8 * 7


@pytest.mark.parametrize("pattern", ["resnet[1-5]?", pytest.param("*", marks=pytest.mark.slow)])
def test_it_has_a_row_with_a_source_for_every_model(pattern):
    table = catalogue(pattern)
    assert list(table.columns[0].cells) == list_models(pattern)
    assert all(source for source in table.columns[-1].cells)


def test_the_stored_table_has_every_shipped_model():
    shipped = [name for name in list_models() if MODELS[name].factory.__module__.startswith("resnet_lightning.")]
    assert [row.name for row in stored_rows()] == shipped


@pytest.mark.parametrize("part", ["resnet[1-5]?", pytest.param("*", marks=pytest.mark.slow)])
def test_the_stored_table_is_that_of_the_networks(part):
    rows = [row for row in stored_rows() if fnmatch.fnmatch(row.name, part)]
    assert rows
    assert rows == [measured(row.name) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["models"], [], ["configs"]])
def test_a_list_is_printed_without_importing_torch(words):
    code = (
        "import sys; sys.argv = ['lightning']; from resnet_lightning.cli.main import main\n"
        f"assert main({words}) == 0; assert 'torch' not in sys.modules\n"
        "from resnet_lightning import *; resnet20(num_classes=2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_command_prints_the_models_that_match(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["models", "resnet2*"]) == 0
    printed = capsys.readouterr().out
    assert "resnet20" in printed
    assert "269,722" in printed
    assert "41 M" in printed
    assert "He et al. 2015, Table 6" in printed
    assert "resnet18" not in printed


def test_the_cards_of_the_weights_are_printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["models", "--weights", "resnet20"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for weights in shipped_weights():
        assert f'create_model("{weights.model}", pretrained="{weights.name}")' in printed
        assert f"{weights.accuracy:.2%} of {weights.card['test']['images']:,} test images" in printed
        assert weights.card["command"] in printed
    assert main(["models", "--weights", "resnet18"]) == 2
    assert "no weights of 'resnet18' come with the package; there are resnet20." in capsys.readouterr().err


def test_a_pattern_that_no_model_matches_is_named(capsys):
    with pytest.raises(InputError, match=r"no model matches 'resnet21'; did you mean .*'resnet20'"):
        catalogue("resnet21")
    assert main(["models", "resnet21"]) == 2
    assert capsys.readouterr().err.startswith("error: no model matches 'resnet21'")


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A file in the current folder that registers two models."""
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n"
        "from resnet_lightning import BasicBlock, ResNet, register_model\n"
        "@register_model('Doe 2026', image_size=16)\n"
        "def thin_resnet(**options) -> ResNet:\n"
        "    return ResNet(BasicBlock, (1, 1), (4, 8), stem='cifar', **options)\n"
        "@register_model('nobody', image_size=8)\n"
        "class Pixels(nn.Sequential):\n"
        "    def __init__(self, num_classes=10, in_chans=1):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(in_chans * 64, num_classes))\n"
        "        self.in_chans = in_chans\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    before = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(before)
    sys.modules.pop("own_models", None)


@pytest.mark.usefixtures("own_models")
def test_models_of_ones_own_are_listed(capsys):
    assert main(["models", "own_models.*"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()[1:]]
    assert [row[0] for row in rows] == ["Pixels", "thin_resnet"]
    assert rows[0][1] == f"{64 * 10 + 10}"
    assert rows[1][4:] == ["16", "Doe", "2026"]

    assert main(["models", "own_models.thin*"]) == 0
    assert "Pixels" not in capsys.readouterr().out
    assert list(catalogue("*hin_resnet").columns[0].cells) == ["thin_resnet"]


@pytest.mark.usefixtures("own_models")
def test_a_module_without_models_is_named(capsys, tmp_path):
    (tmp_path / "broken_models.py").write_text("\nimport torhc\n")
    for pattern, message in (
        ("nowhere.*", "the models of 'nowhere' cannot be imported: there is no module 'nowhere'"),
        ("json.*", "the module 'json' registers no model; decorate a function in it with register_model"),
        (
            "broken_models.*",
            "the models of 'broken_models' cannot be imported: No module named 'torhc' (broken_models.py, ",
        ),
        ("own_models.thick", "no model matches 'own_models.thick'; known: Pixels, thin_resnet"),
    ):
        assert main(["models", pattern]) == 2
        assert message in capsys.readouterr().err
