"""``lightning completion``: a script that completes command lines in bash and zsh.

The alternatives do not work for these options: the script that jsonargparse writes with shtab has 230 MB, and
argcomplete takes five seconds per key press, since it starts Python.
"""

import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterable, Mapping

from ..data import Augmentation, ImageDataModule, ImageFolderDataModule
from ..models import list_models
from .main import SUBCOMMANDS, main
from .shipped_configs import complete_configs, shipped_configs
from .tool_parser import ToolParser

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
      --overlay)
        words=$(cd configs/overlays 2>/dev/null && printf '%s\\n' *.yaml)
        words=$(printf '%s\\n' {overlays} ${{words//.yaml/}} | sort -u) ;;
      --config|-c) words="{configs}" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _resnet_lightning lightning resnet-lightning
"""


def command(arguments: list[str]) -> None:
    description = "Prints a script that completes commands and options in bash, and in zsh with bashcompinit."
    parser = ToolParser(prog="resnet-lightning completion", description=description)
    parser.parse_args(arguments)
    print(bash_script(["fit", "validate", "test", "predict", *SUBCOMMANDS], main), end="")


def bash_script(commands: Iterable[str], show: Callable[[list[str]], int]) -> str:
    """Returns the script. For other words, the shell completes file names.

    Args:
        commands: the subcommands, such as ``fit``.
        show: runs a command line; it is called with ``--help``.
    """
    options = {command: _options(command, show) for command in commands}
    values = {"--model.backbone": list_models(), "--find": ["lr", "batch_size"]}
    overlays = [name.removeprefix("overlays/") for name in shipped_configs() if name.startswith("overlays/")]
    return _SCRIPT.format(
        commands=" ".join(options),
        options=_cases(options),
        values=_cases(values),
        configs=" ".join(complete_configs()),
        overlays=" ".join(overlays),
    )


def _options(command: str, show: Callable[[list[str]], int]) -> list[str]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        show([command, "--help"])
    found = re.findall(r"^  (?:-\w, |-\w \w+, )?(--[\w.]+)", text.getvalue(), re.MULTILINE)
    if "--data" in found:  # --help lists the options of a data module only if --data is given
        found += [
            f"--data.{name}" for module in (ImageDataModule, ImageFolderDataModule) for name in _arguments(module)
        ]
        found += [f"--data.augment.{name}" for name in _arguments(Augmentation)]
    return sorted(set(found))


def _arguments(factory: Callable[..., object]) -> list[str]:
    parameters = inspect.signature(factory).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]


def _cases(words: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(f'      {name}) words="{" ".join(choices)}" ;;' for name, choices in words.items())
