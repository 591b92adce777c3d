"""What was meant by a word on the command line that is neither a command nor an option."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from ..errors import InputError, nearest
from .shipped_configs import shipped_configs

TRAINER_COMMANDS = "fit", "validate", "test", "predict"

# Words by which other programs call the commands and options of this one.
_OTHER_COMMANDS = {
    **dict.fromkeys(("train", "run", "resume"), "fit"),
    **dict.fromkeys(("grid", "search", "tune", "hpo"), "sweep"),
    **dict.fromkeys(("eval", "evaluate"), "test"),
    **dict.fromkeys(("infer", "inference", "classify"), "predict"),
    **dict.fromkeys(("list", "ls", "compare"), "runs"),
    **dict.fromkeys(("init", "create"), "new"),
    **dict.fromkeys(("benchmark", "profile"), "bench"),
    **dict.fromkeys(("cv", "folds"), "cross_validate"),
    "convert": "export",
    "temperature": "calibrate",
    "plot": "report",
}
OTHER_OPTIONS = {
    **dict.fromkeys(("learning_rate", "base_lr"), "model.lr"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("steps", "iterations", "max_iters"), "trainer.max_steps"),
    **dict.fromkeys(("wd", "weight_decay"), "model.optimizer_args.weight_decay"),
    **dict.fromkeys(("momentum", "nesterov"), "model.optimizer_args.{}"),
    **dict.fromkeys(("warmup", "warmup_steps", "milestones", "gamma", "step_size"), "model.scheduler_args"),
    **dict.fromkeys(("arch", "architecture", "net", "network", "model_name"), "model.backbone"),
    **dict.fromkeys(("stem", "drop_rate", "dropout", "frozen_stages", "pretrained"), "model.backbone_args.{}"),
    **dict.fromkeys(("gpus", "gpu", "num_gpus"), "trainer.devices"),
    **dict.fromkeys(("amp", "fp16", "bf16"), "trainer.precision"),
    **dict.fromkeys(("workers", "num_worker"), "data.num_workers"),
    **dict.fromkeys(("output", "output_dir", "out", "save_dir", "log_dir"), "trainer.default_root_dir"),
    **dict.fromkeys(("checkpoint_path", "ckpt", "weights", "load"), "ckpt_path"),
    **dict.fromkeys(("data_dir", "data_root", "data_path", "dataset"), "data.root"),
    **dict.fromkeys(("seed", "random_seed"), "seed_everything"),
    **dict.fromkeys(("clip", "grad_clip", "clip_grad"), "trainer.gradient_clip_val"),
    **dict.fromkeys(("smoothing", "label_smooth"), "model.label_smoothing"),
    "bs": "data.batch_size",
    "random_crop": "data.augment.crop",
    **dict.fromkeys(("horizontal_flip", "hflip", "random_flip"), "data.augment.flip"),
}

# The options of one command only.
_OF_COMMAND = {"resume": "fit", "find": "fit", "stop_after": "fit", "top_k": "predict"}


def check_command(arguments: Sequence[str], tools: Collection[str]) -> None:
    """Checks that a command line starts with a command or an option.

    Args:
        arguments: the command line without the program's name.
        tools: the commands that need no trainer.

    Raises:
        InputError: if it does not, with the nearest command.
    """
    known = (*TRAINER_COMMANDS, *tools)
    word = next(iter(arguments), "")
    if word in TRAINER_COMMANDS or (word.startswith("-") and {"-h", "--help", "--version"} & set(arguments)):
        return
    everything = f"the commands are {', '.join(known)}"
    if word.lower() == "help":
        command = next((other for other in arguments[1:] if other in known), "")
        raise InputError(f"unknown command {word!r}; did you mean `lightning {command}{' ' * bool(command)}--help`?")
    if word.startswith("-") or not word:
        raise InputError(f"give a command first, such as `lightning fit --config digits`; {everything}")
    if meant := nearest(word, known) or [_OTHER_COMMANDS[key] for key in [word.lower()] if key in _OTHER_COMMANDS]:
        raise InputError(f"unknown command {word!r}; did you mean {' or '.join(map(repr, meant))}?")
    raise InputError(f"unknown command {word!r}; {everything}")


def unknown_argument(text: str, options: Mapping[str, Collection[str]]) -> str:
    """Returns the line for arguments that the parser does not accept.

    Args:
        text: the arguments, joined by spaces.
        options: the names of the options by their group, such as ``model`` or ``data.augment``; see ``meant_option``.
    """
    word = text.split(" ", 1)[0]
    name = word.lstrip("-").partition("=")[0]
    if word.startswith("--") and name in _OF_COMMAND:
        return f"--{name} is an option of `lightning {_OF_COMMAND[name]}` only; leave it out"
    if word.startswith("--"):
        return f"unknown option '--{name}'{meant_option(name, options)}"
    return f"{word!r} belongs to no option; {_meant_by_value(word, name, options)}"


def _meant_by_value(word: str, name: str, options: Mapping[str, Collection[str]]) -> str:
    shown = shlex.quote(word)
    if word.startswith("-"):
        meant = meant_option(name, options) if len(name) > 1 else ", as --config or --model.lr"
        return f"options begin with two dashes{meant}"
    if word.endswith((".yaml", ".yml")) or word in shipped_configs():
        return f"did you mean --config {shown}?"
    if word.endswith((".ckpt", ".safetensors")):
        return f"did you mean --ckpt_path {shown}?"
    group, _, leaf = name.rpartition(".")
    if leaf in options.get(group.replace(".init_args", ""), ()):
        return f"did you mean --{shown}?"
    if "=" in word:
        return f"options begin with two dashes{meant_option(name, options, word.partition('=')[2])}"
    return "options are given as --name value, such as --trainer.max_epochs 3"


def meant_option(key: str, options: Mapping[str, Collection[str]], value: str = "") -> str:
    """Returns the end of the message for an unknown option: the options of a similar name, or where to find them all.

    Args:
        key: the option, such as ``model.learning_rate``.
        options: the names of the options by their group; those without a group are under the empty string.
        value: the value that was given with it, if there is one.
    """
    value = f"={shlex.quote(value)}" if value else ""
    key = re.sub(r"\.init_args|\+$", "", key)
    group, _, leaf = key.rpartition(".")
    first, _, rest = key.partition(".")
    if rest and first not in options:
        groups = [name for name in options if name and "." not in name]
        if meant := [name for name in nearest(first, groups) if rest.partition(".")[0] in options[name]]:
            return f"; did you mean {' or '.join(f'--{name}.{rest}{value}' for name in meant)}?"
    own = [f"{group}.{name}" for name in nearest(leaf, options.get(group, ()))] if group else []
    is_listed = leaf in OTHER_OPTIONS
    listed = [OTHER_OPTIONS[leaf].format(leaf)] if is_listed else []
    same_name = [_full_name(place, leaf) for place, names in options.items() if leaf in names]
    similar = [_full_name(place, name) for place, names in options.items() for name in nearest(leaf, names)]
    best = own or same_name or listed or _most_similar(leaf, similar)
    if best:
        return f"; did you mean {' or '.join(f'--{name}{value}' for name in dict.fromkeys(best[:3]))}?"
    return "; `lightning fit --help` lists all options"


def _full_name(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name


def _most_similar(leaf: str, names: Sequence[str]) -> list[str]:
    order = nearest(leaf, {name.rpartition(".")[2] for name in names})
    return [name for key in order for name in names if name.rpartition(".")[2] == key]
