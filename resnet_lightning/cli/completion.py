"""Completion of command lines in bash and zsh, by a script that needs no Python while one types."""

import argparse
import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterable, Mapping

from ..data import Augmentation, ImageDataModule, ImageFolderDataModule
from ..models import list_models
from .main import SUBCOMMANDS, main

_SCRIPT = """\
_resnet_lightning() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
  if ((COMP_CWORD == 1)); then
    words="{commands}"
  elif [[ $current == -* ]]; then
    case ${{COMP_WORDS[1]}} in
{options}
    esac
  else
    case $previous in
{values}
      --overlay) words=$(cd configs/overlays 2>/dev/null && printf '%s ' *.yaml) words=${{words//.yaml/}} ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _resnet_lightning lightning resnet-lightning
"""


def command(arguments: list[str]) -> None:
    description = "Prints a script for bash, and zsh with bashcompinit, that completes commands and options."
    parser = argparse.ArgumentParser(prog="resnet-lightning completion", description=description)
    parser.parse_args(arguments)
    print(bash_script(["fit", "validate", "test", "predict", *SUBCOMMANDS], main), end="")


def bash_script(commands: Iterable[str], show: Callable[[list[str]], int]) -> str:
    """The script; where it knows nothing, the shell completes files.

    Args:
        commands: such as ``fit``.
        show: runs a command line, for its ``--help``.
    """
    options = {command: _options(command, show) for command in commands}
    values = {"--model.backbone": list_models(), "--find": ["lr", "batch_size"]}
    return _SCRIPT.format(commands=" ".join(options), options=_cases(options), values=_cases(values))


def _options(command: str, show: Callable[[list[str]], int]) -> list[str]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        show([command, "--help"])
    found = re.findall(r"^  (?:-\w, |-\w \w+, )?(--[\w.]+)", text.getvalue(), re.MULTILINE)
    if "--data" in found:  # whose help is that of each data module
        found += [
            f"--data.{name}" for module in (ImageDataModule, ImageFolderDataModule) for name in _arguments(module)
        ]
        found += [f"--data.augment.{name}" for name in _arguments(Augmentation)]
    return sorted(set(found))


def _arguments(factory: Callable[..., object]) -> list[str]:
    parameters = inspect.signature(factory).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]


def _cases(words: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(f'      {name}) words="{" ".join(of_it)}" ;;' for name, of_it in words.items())
