"""``--trainer.callbacks.help EarlyStopping``: the options of one class. What else ends in ``.help`` gets one line."""

from collections.abc import Sequence

from ..errors import InputError

# The options that name classes, with an example of each.
_EXAMPLES = {
    "data": "DigitsDataModule",
    "trainer.callbacks": "EarlyStopping",
    "trainer.logger": "WandbLogger",
    "trainer.plugins": "MixedPrecision",
    "trainer.profiler": "SimpleProfiler",
    "trainer.strategy": "DDPStrategy",
    "trainer.accelerator": "CPUAccelerator",
}


def check_help(arguments: Sequence[str], is_flat: bool) -> None:
    """Checks that the help of a class names the class.

    Args:
        arguments: the command line.
        is_flat: whether the options of the model are those of ``ImageClassifier``, which the whole help lists.

    Raises:
        InputError: if it does not, or if there are no classes to choose from. The help of ``data`` lists the options
            that all data modules have if it names none.
    """
    for number, word in enumerate(arguments):
        name, _, value = word.partition("=")
        if not name.startswith("--") or not name.endswith(".help"):
            continue
        option = name.removeprefix("--").removesuffix(".help")
        following = value or next(iter(arguments[number + 1 : number + 2]), "-")
        names_class = not following.startswith("-")
        if option not in _EXAMPLES and (option != "model" or is_flat):
            place = "--data.help" if option.partition(".")[0] == "data" else "--help"
            of_model = "; with --model my_module.Net, those of that module" if option == "model" else ""
            raise InputError(f"there is no {name}; `lightning {arguments[0]} {place}` lists the options{of_model}")
        if not names_class and option != "data":
            raise InputError(f"{name} needs the name of a class, as {name} {_EXAMPLES.get(option, 'my_module.Net')}")
