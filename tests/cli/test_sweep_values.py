"""The values of a sweep's options on the command line and in files."""

from pathlib import Path

import pytest
import yaml

from repository import CONFIGS
from resnet_lightning import InputError
from resnet_lightning.cli.sweep_values import read_space, read_values
from resnet_lightning.experiments.drawing import Range


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.05,0.1", ["0.05", "0.1"]),
        ("0.05, 0.1 ", ["0.05", "0.1"]),
        ("0.1,1e-1,0.10", ["0.1"]),
        ("[0.9,0.99]", ["[0.9,0.99]"]),
        ("[0.9,0.99],[0.8,0.9]", ["[0.9,0.99]", "[0.8,0.9]"]),
        ("{depth: 8},{depth: 14, width: 2}", ["{depth: 8}", "{depth: 14, width: 2}"]),
        ("{a: [1,2], b: {c: 3, d: 4}}", ["{a: [1,2], b: {c: 3, d: 4}}"]),
        ("torch.optim.SGD,my.Lion", ["torch.optim.SGD", "my.Lion"]),
        ("'a,b',c", ["a,b", "c"]),
        ('"a,b"', ["a,b"]),
        ("'10',11", ["'10'", "11"]),
        ("['a,]',b],c", ["['a,]',b]", "c"]),
        ("it's,x", ["it's", "x"]),
        ("(1,2),3", ["(1,2)", "3"]),
        ("-1,-2", ["-1", "-2"]),
        ("null,true", ["null", "true"]),
        ("[]", ["[]"]),
        ("../data,/tmp", ["../data", "/tmp"]),
    ],
)
def test_commas_separate_values_unless_brackets_or_quotes_hold_them_together(text, values):
    assert read_values("--x", text) == values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1..5", Range(1, 5, is_int=True)),
        ("0.0..0.2", Range(0, 0.2)),
        ("log:1e-3..1", Range(0.001, 1, is_log=True)),
        ("-1..1", Range(-1, 1, is_int=True)),
    ],
)
def test_a_range(text, expected):
    assert read_values("--x", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--x is '', a list with an empty value"),
        (",", "--x is ',', a list with an empty value"),
        ("1,,2", "an empty value"),
        ("1,", "an empty value"),
        ("[1,2", "in which a bracket is not closed"),
        ("1,'a", "in which a quote is not closed"),
        ("5..1", "give the smaller end first"),
        ("1..1", "give the smaller end first"),
        ("log:0..1", "its ends must be greater than 0"),
        ("1..2,5", "either a range or a list"),
    ],
)
def test_what_is_no_list_of_values(text, message):
    with pytest.raises(InputError) as error:
        read_values("--x", text)
    assert message in str(error.value)


def test_options_with_one_value_are_shared_by_all_runs():
    words = "--config digits --model.lr 0.1,0.2 --trainer.max_epochs=3 --model.optimizer Adam --overlay ema".split()
    space = read_space([*words, "--data.augment.rotate", "-5,5", "--seed_everything", "7"], None)
    assert space.options == [
        *("--config", "digits", "--trainer.max_epochs=3", "--model.optimizer", "Adam", "--overlay", "ema"),
    ]
    assert space.axes == {"model.lr": ["0.1", "0.2"], "data.augment.rotate": ["-5", "5"], "seed_everything": ["7"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "auto"], "--resume does not belong to a sweep"),
        (["--ckpt_path=x.ckpt"], "--ckpt_path does not belong to a sweep"),
        (["--model.lr", "1,2", "--model.lr", "3"], "--model.lr is given twice"),
        (["--model.lr", "3", "--model.lr", "1,2"], "--model.lr is given twice"),
    ],
)
def test_options_that_a_sweep_cannot_have(words, message):
    with pytest.raises(InputError, match=message):
        read_space(words, None)


# Files.


def sweep_file(folder: Path, content) -> str:
    path = folder / "own.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize("name", ["digits", "sweeps/digits", str(CONFIGS / "sweeps" / "digits.yaml")])
def test_a_file_of_wandb_is_read(name):
    space = read_space([], name)
    assert space.options == ["--config", "digits", "--overlay", "wandb"]
    assert space.axes == {
        "model.lr": Range(0.01, 1.0, is_log=True),
        "model.optimizer_args.weight_decay": Range(1e-5, 1e-2, is_log=True),
        "data.augment.rotate": ["0", "5", "10", "20"],
    }


def test_what_is_typed_wins_over_the_file(tmp_path):
    file = sweep_file(
        tmp_path, "config: digits\nmodel.lr: [0.1, 1e-2]\nmodel.optimizer: Adam\nseed_everything: [0, 1]\n"
    )
    assert read_space([], file).axes == {"model.lr": ["0.1", "1e-2"], "seed_everything": ["0", "1"]}
    assert read_space([], file).options == ["--config=digits", "--model.optimizer=Adam"]
    space = read_space(["--config", "mnist_resnet18", "--model.lr", "0.3", "--model.optimizer", "SGD,Adam"], file)
    assert space.options == ["--model.optimizer=Adam", "--config", "mnist_resnet18", "--model.lr", "0.3"]
    assert space.axes == {"seed_everything": ["0", "1"], "model.optimizer": ["SGD", "Adam"]}


def test_values_of_a_file_keep_their_types(tmp_path):
    values = [None, True, "010", "a,b", [1, 2], {"depth": 8}, 0.5]
    assert read_space([], sweep_file(tmp_path, {"x": values})).axes["x"] == [
        *("null", "true", '"010"', "a,b", "[1, 2]", '{"depth": 8}', "0.5"),
    ]


def test_a_list_of_settings(tmp_path):
    file = sweep_file(tmp_path, [{"model.lr": 0.1, "model.optimizer": "SGD"}, {"model.lr": 0.001}])
    space = read_space(["--seed_everything", "0,1"], file)
    assert space.settings == [{"model.lr": "0.1", "model.optimizer": "SGD"}, {"model.lr": "0.001"}]
    assert space.axes == {"seed_everything": ["0", "1"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model.lr": []}, "the list of model.lr is empty"),
        ({"parameters": {"model.lr": {"values": []}}}, "the list of model.lr is empty"),
        ({"parameters": {}}, "parameters is empty"),
        ({"parameters": {"model.lr": {"distribution": "beta", "min": 0, "max": 1}}}, "unknown distribution"),
        ({"parameters": {"model.lr": {"min": 0.1}}}, "give two numbers"),
        ({"parameters": {"model.lr": {"min": 1.0, "max": 0.1}}}, "give the smaller end first"),
        ({"parameters": {"model.lr": 3}}, "give a mapping such as {values: [1, 2]}"),
        ({"model": {"lr": [1, 2]}}, "model is a mapping"),
        ({"parameters": {"a": {"value": 1}}, "command": ["python", "train.py"]}, "does not run `lightning fit`"),
        ("- 1\n- 2\n", "has no values"),
        ("", "has no values"),
        ("a: [1", "is not YAML"),
        ("a: [1]\na: [2]\n", "a"),
        ({"resume": ["auto"]}, "resume cannot be varied"),
    ],
)
def test_a_file_that_is_no_sweep(tmp_path, content, message):
    with pytest.raises(InputError) as error:
        read_space([], sweep_file(tmp_path, content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_sweep_that_does_not_exist():
    with pytest.raises(InputError, match=r"there is no sweep 'digts'; did you mean 'digits'"):
        read_space([], "digts")
