"""The parser of the commands that need no trainer, whose errors are one line."""

import argparse
import re
from typing import NoReturn

from ..errors import InputError, did_you_mean, nearest

_OPTION = re.compile(r"(?<![\w-])--?\w[\w-]*")  # in a line that shows the usage
_CHOICE = re.compile(r"argument ([\w-]+): invalid choice: '?(.*?)'? \(choose from (.*)\)$", re.DOTALL)


class ToolParser(argparse.ArgumentParser):
    """argparse's parser, which raises ``InputError`` instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise InputError(self._line(message))

    def _line(self, message: str) -> str:
        if message.startswith("unrecognized arguments: "):
            return self._unknown(message.removeprefix("unrecognized arguments: ").split(" ", 1)[0])
        if found := _CHOICE.match(message):
            choices = [choice.strip(" '") for choice in found[3].split(",")]
            return f"{found[1]} is {found[2]!r}; {did_you_mean(found[2], choices)}"
        return f"{message}; `{self._command}` shows how"

    def _unknown(self, word: str) -> str:
        name = word.partition("=")[0]
        if not word.startswith("-"):
            return f"{word!r} is one argument too many; `{self._command}` lists them"
        known = _OPTION.findall(self.format_usage())
        meant = nearest(name, known)
        return f"unknown option {name!r}; " + (f"did you mean {meant[0]}?" if meant else f"`{self._command}` lists all")

    @property
    def _command(self) -> str:
        return f"{self.prog.replace('resnet-lightning', 'lightning')} --help"
