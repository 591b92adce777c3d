"""The JSON Schema with which editors complete and check configs."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import yaml

from repository import CONFIGS, ROOT
from resnet_lightning.cli.main import main

SCHEMA = CONFIGS / "schema.json"
CHECKED = sorted(path for folder in (".", "speed", "overlays") for path in (CONFIGS / folder).glob("*.yaml"))
DIGITS = (CONFIGS / "digits.yaml").read_text()


def printed_schema(capsys, *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments, "--print_schema"])
    assert not stopped.value.code
    return capsys.readouterr().out


def mistakes(config: object, schema: str | None = None) -> list[str]:
    """Where a config does not fit the schema, as in ``model.lr``."""
    checker = jsonschema.Draft7Validator(json.loads(schema or SCHEMA.read_text()))
    return [".".join(map(str, error.absolute_path)) for error in checker.iter_errors(config)]


@pytest.mark.slow
def test_the_file_is_what_the_command_prints():
    """In a process of its own: type hints depend on the modules that other tests import."""
    locked = (ROOT / "requirements.lock").read_text()
    for package in "torch", "lightning":
        if f"\n{package}=={version(package)} " not in locked:
            pytest.skip(f"{package} {version(package)} is not the locked release, which configs/schema.json describes")
    command = [sys.executable, "-m", "resnet_lightning", "fit", "--print_schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == SCHEMA.read_text(), "run `make schema`"
    jsonschema.Draft7Validator.check_schema(json.loads(SCHEMA.read_text()))
    assert SCHEMA.stat().st_size < 200_000


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.stem)
def test_every_config_fits_and_names_the_schema(path):
    (named,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", path.read_text(), re.MULTILINE)
    assert (path.parent / named).resolve() == SCHEMA
    assert not mistakes(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("seed_everything:", "seed:", ""),
        ("batch_size:", "batchsize:", "data.init_args"),
        ("init_args:", "init_arg:", "data"),
        ("crop:", "crops:", "data.init_args.augment"),
        ("rotate: 10", "rotate: ten", "data.init_args.augment.rotate"),
        ("lr:", "learning_rate:", "model"),
        ("resnet20", "resnet21", "model.backbone"),
        ("SGD", "SDG", "model.optimizer"),
        ("OneCycleLR", "OneCycle", "model.scheduler"),
        ("max_epochs: 30", "max_epochs: many", "trainer.max_epochs"),
        ("max_epochs:", "epochs:", "trainer"),
        ("DigitsDataModule", "DigitDataModule", "data.class_path"),
    ],
)
def test_a_mistake_is_found_where_it_is(right, wrong, place):
    assert DIGITS.count(right) == 1
    assert place in mistakes(yaml.safe_load(DIGITS.replace(right, wrong)))


def test_options_of_callbacks_and_loggers_are_checked():
    callback = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}}
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": "mine"}}
    trainer = {"callbacks": [callback], "callbacks+": [callback], "logger": [logger]}
    assert not mistakes({"trainer": trainer})
    for name in trainer:
        wrong = {"class_path": trainer[name][0]["class_path"], "init_args": {"x": 1}}
        assert mistakes({"trainer": {name: [wrong]}}) == [f"trainer.{name}"]


def test_a_model_is_flat_or_an_object():
    own = {"class_path": "my_model.Net", "init_args": {"depth": 3}}
    assert not mistakes({"model": own})
    assert not mistakes({"model": "my_model.Net"})
    assert not mistakes({"model": {"class_path": "ImageClassifier", "init_args": {"lr": 0.1}}})
    assert mistakes({"model": {"class_path": "ImageClassifier", "init_args": {"lrr": 0.1}}}) == ["model.init_args"]
    assert mistakes({"model": {**own, "lr": 0.1}}) == ["model"]


OWN = """\
from resnet_lightning import DigitsDataModule

class Digits(DigitsDataModule):
    '''Digits.

    Args:
        noise: how much of it. No unit.
    '''
    def __init__(self, noise: float = 0.5, **options):
        super().__init__(**options)
"""


def test_the_options_of_ones_own_classes_are_checked_with_a_schema_of_the_config(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("own_digits.py").write_text(OWN)
    config = yaml.safe_load(DIGITS.replace("DigitsDataModule", "own_digits.Digits"))
    config["data"]["init_args"]["noise"] = 0.1
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    schema = printed_schema(capsys, "--config", "mine.yaml")
    assert not mistakes(config, schema)
    noise = json.loads(schema)["definitions"]["Digits"]["properties"]["noise"]
    assert noise == {"type": "number", "default": 0.5, "description": "how much of it."}
    config["data"]["init_args"]["noises"] = 0.1
    assert mistakes(config, schema) == ["data.init_args"]
    assert not mistakes(config)  # in the schema of the package, the class is not known
    assert list(Path().glob("runs*")) == []
