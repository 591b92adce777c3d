"""The config that a command line trains with, without building anything of it."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console

from ..build import importable_from
from ..errors import InputError
from ..runs.configs import flatten
from ..runs.readable import parse_yaml
from .arguments import resolve
from .command_line import CommandLine
from .known_warnings import silence_known_warnings
from .run_session import RunSession


def parsed_config(options: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Returns the name and the flat config of the run that ``lightning fit`` would start.

    Args:
        options: the command line after ``lightning fit``.

    Raises:
        InputError: if an option, its value or a config is wrong, as ``lightning fit`` reports it.
    """
    silence_known_warnings()
    arguments = ["fit", *options]
    resolved = resolve(arguments, lambda folder: None)
    with importable_from(resolved.code_folders):
        try:
            _OnlyParsed(arguments, resolved, RunSession(), Console(quiet=True))
        except _Parsed as parsed:
            return resolved.run_name, flatten(parse_yaml(parsed.config))
        except SystemExit as end:  # after --help or --print_config
            raise InputError("leave out options that only print something; `lightning fit` has them") from end
    raise AssertionError("unreachable")


class _Parsed(Exception):
    """Raised when the command line is parsed.

    Args:
        config: the config as YAML.
        trains: whether the run would save anything.
    """

    def __init__(self, config: str) -> None:
        self.config = config


class _OnlyParsed(CommandLine):
    """Parses the command line and goes no further."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        assert isinstance(self.options, Namespace)
        raise _Parsed(self.config_as_yaml())
