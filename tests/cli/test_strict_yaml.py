"""Configs whose YAML does not mean what it looks like."""

import re

import pytest

from resnet_lightning import InputError
from resnet_lightning.cli.command_line import run
from resnet_lightning.cli.strict_yaml import StrictError, check_yaml

CONFIG = """
model: {backbone: resnet20}
data:
  class_path: DigitsDataModule
  init_args:
    batch_size: 32
trainer: {max_epochs: 1, fast_dev_run: true}
"""


def refusal(tmp_path, monkeypatch, text, *options):
    """The error for a config of this text, in whose folder no run starts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        run(["fit", "--config", "mine.yaml", *options])
    assert set(tmp_path.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: {a: 1}\ndata: a\ntrainer: {a: 2}", "trainer is given twice, in line 1 and in line 3"),
        ("a:\n  - b:\n      c: 1\n      d: 2\n      c: 1", "a.0.b.c is given twice, in line 3 and in line 5"),
        ("{a: 1, a: 2}", "a is given twice, both in line 1"),
        ("a: 1\n'a': 2", "a is given twice, in line 1 and in line 2"),
        ("x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}", "y.b is given twice, both in line 2"),
        ("a: [1, 010]", "YAML reads 010 as 8 (a.1, line 1); write '010' in quotes for the text, or 8 for the value"),
        ("a: -0_7", "YAML reads -0_7 as -7 (a, line 1)"),
        ("a: 12:30:45", "YAML reads 12:30:45 as 45045 (a, line 1)"),
        ("a: 1:30.5", "YAML reads 1:30.5 as 90.5 (a, line 1)"),
        ("a: {no: 1}", "YAML reads no as false (a.no, line 1); write 'no' in quotes for the text"),
        ("a: {~: 1}", "YAML reads ~ as null (a.~, line 1)"),
        ("a: &x\n  b: *x", "a.b contains itself (line 1); remove the alias"),
    ],
)  # fmt: skip
def test_what_yaml_changes_is_named(text, message):
    with pytest.raises(StrictError) as caught:
        check_yaml(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(("yes", "true"), ("NO", "false"), ("on", "true"), ("Off", "false"), ("true", "true"), ("null", "null")),
        *(("~", "null"), ("1.0", "1.0"), ("1_000", "1000"), ("0x1F", "31"), ("+1", "1"), (".inf", "inf"), ("007", "7")),
    ],
)
def test_class_names_that_yaml_reads_as_values_are_named(word, value):
    with pytest.raises(
        StrictError, match=re.escape(f"YAML reads {word} as {value} (data.init_args.classes.1, line 1)")
    ):
        check_yaml(f"data: {{init_args: {{classes: [cat, {word}]}}}}")


def test_what_yaml_keeps_is_accepted():
    check_yaml("data: {init_args: {classes: [cat, 1, 0, -3, 'no', \"010\", y, 08, 2024-01-01, 1e3x]}}")
    check_yaml("a: [0, 10, 1_000, 0.1, 1e-3, 00:12:00, 2024-01-01, yes, off, null, .inf, 0x1F]")
    check_yaml("a: {0: 8, 4: 4}\nb: &b {c: 1}\nd: [*b, *b]\ne: {<<: *b, f: 1}")
    check_yaml("")
    check_yaml("12:30:45")


def test_a_config_with_a_key_given_twice_does_not_run(tmp_path, monkeypatch):
    text = CONFIG + "trainer: {max_epochs: 2}\n"
    assert refusal(tmp_path, monkeypatch, text) == (
        "the config 'mine.yaml': trainer is given twice, in line 7 and in line 8; keep one of them"
    )


def test_overlays_and_files_that_a_config_names_are_checked_too(tmp_path, monkeypatch):
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "twice.yaml").write_text("trainer:\n  max_epochs: 1\n  max_epochs: 2\n")
    found = refusal(tmp_path, monkeypatch, CONFIG, "--overlay", "twice")
    assert "twice.yaml': trainer.max_epochs is given twice, in line 2 and in line 3" in found
    (tmp_path / "data.yaml").write_text("class_path: DigitsDataModule\ninit_args: {fold: 0, fold: 1}\n")
    assert "init_args.fold is given twice, both in line 2" in refusal(
        tmp_path, monkeypatch, CONFIG, "--data", "data.yaml"
    )


def test_values_on_the_command_line_are_checked_too(tmp_path, monkeypatch):
    for options, message in (
        (("--model.optimizer_args", "{momentum: 0.9, momentum: 0.8}"), "momentum is given twice, both in line 1"),
        (("--data.classes", "[1, 010]"), "YAML reads 010 as 8"),
        (("--data.classes", "[yes, no]"), "Given value: True; write a word that YAML reads as a value, such as no"),
        (("--data.classes", "[1e3, 2]"), "Given value: 1000.0; write a word that YAML reads as a value, such as no"),
    ):
        assert message in refusal(tmp_path, monkeypatch, CONFIG, *options)
    assert "in quotes" in refusal(tmp_path, monkeypatch, CONFIG + "checkpoint: {filename: no}\n")


def test_quoted_class_names_that_look_like_values_are_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CONFIG.replace("batch_size: 32", "classes: [1, '0', \"2\"]"))
    assert run(["fit", "--config", "mine.yaml"]) == 0
    assert "One batch was trained" in capsys.readouterr().out
