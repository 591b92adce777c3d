"""An integer stays an integer, whatever other libraries have put into the cache of ``typing``."""

from typing import Any, get_args

import pytest

from resnet_lightning.cli.number_types import integers_first
from resnet_lightning.cli.parser import Parser

FLOAT_FIRST = float | int | None


class Limits:
    """Its annotations are those that ``Trainer`` has if a library with the other order was imported before."""

    def __init__(self, batches: float | int | None = None, sizes: tuple[float | int, ...] = ()) -> None:
        self.batches, self.sizes = batches, sizes


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (FLOAT_FIRST, (int, float, type(None))),
        (str | float | int, (str, int, float)),
        (int | float, (int, float)),
        (float | None, (float, type(None))),
    ],
    ids=str,
)
def test_integers_are_tried_before_other_numbers(annotation, expected):
    assert get_args(integers_first(annotation)) == expected


def test_annotations_without_both_stay_what_they_are():
    for annotation in (float, str | None, list[int], dict[str, Any], Any, None, "Trainer"):
        assert integers_first(annotation) is annotation
    (value,) = get_args(integers_first(list[float | int]))
    assert get_args(value) == (int, float)


@pytest.mark.parametrize(("typed", "number"), [("1", 1), ("1.0", 1.0), ("null", None)])
def test_options_keep_the_kind_of_number_that_was_typed(typed, number):
    parser = Parser()
    parser.add_argument("--alone", type=FLOAT_FIRST)
    parser.add_class_arguments(Limits, "group")
    parser.add_subclass_arguments(Limits, "own")
    given = ["--alone", typed, "--group.batches", typed, "--group.sizes", "[2, 0.5]"]
    found = parser.parse_args([*given, "--own", f"{__name__}.Limits", "--own.batches", typed])
    values = found.alone, found.group.batches, found.own.init_args.batches
    assert [(value, type(value)) for value in values] == [(number, type(number))] * 3
    assert [type(size) for size in found.group.sizes] == [int, float]
