"""``lightning calibrate``: fits a temperature to the probabilities of a trained model, on its validation images."""

import argparse
import warnings
from pathlib import Path

from rich.markup import escape

from ..errors import InputError
from .console import console
from .tool_parser import ToolParser
from .trust_option import add_trust_option

_FEW = 10  # mistakes


def command(arguments: list[str]) -> None:
    options, validate_options = _parser().parse_known_args(arguments)
    source, target = options.checkpoint, options.output or _beside(options.checkpoint)
    _check_target(source, target)
    from .validation_logits import write_calibrated  # imported here, since importing Lightning takes seconds

    trust = [f"--trust={','.join(options.trust)}"] if options.trust else []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run")
        found = write_calibrated(source, target, [*trust, *validate_options])
    lines = {
        "temperature": f"{found.temperature:.4f}, fitted on {found.images:,} validation images, {found.mistakes:,} of "
        "them classified wrongly",
        "calibration": f"error {found.error[0]:.2%} before, {found.error[1]:.2%} after (ECE, 15 bins)",
        "log-loss": f"{found.loss[0]:.4f} before, {found.loss[1]:.4f} after",
        "checkpoint": str(target),
    }
    if found.mistakes < _FEW:
        lines["note"] = "so few mistakes leave the temperature uncertain; a larger --data.val_split in training helps"
    if found.error[0] <= found.error_by_chance:
        lines["note"] = (
            f"the model may be calibrated already: on so few images, its error would be up to "
            f"{found.error_by_chance:.2%} by chance"
        )
    for name, text in lines.items():
        console().print(f"[dim]{name:11}[/] {escape(text)}", highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser(
        prog="resnet-lightning calibrate",
        description="Fits a temperature that divides the logits of a model, on its validation images (Guo et al. "
        "2017), and writes a checkpoint with it. Labels and accuracy stay the same; predict, test, explain and export "
        "then use calibrated probabilities.",
        epilog="All other options are those of `lightning validate`, such as --data.root or --trainer.accelerator.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path)
    add_trust_option(parser)
    parser.add_argument(
        "--output",
        type=Path,
        help="file to write; that of the checkpoint itself replaces it (default: next to it, as NAME-calibrated.ckpt)",
    )
    return parser


def _beside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.stem.removesuffix('-calibrated')}-calibrated{checkpoint.suffix}")


def _check_target(source: Path, target: Path) -> None:
    """Checks that the output replaces nothing but a checkpoint of this kind.

    Raises:
        InputError: if it does.
    """
    if target.suffix != ".ckpt":
        raise InputError(f"--output is {str(target)!r}; its name must end in .ckpt")
    if target.is_dir():
        raise InputError(f"--output is {str(target)!r}, a folder; give a file")
    is_ours = target.stem.endswith("-calibrated") or (source.exists() and target.exists() and target.samefile(source))
    if target.exists() and not is_ours:
        raise InputError(f"--output is {str(target)!r}, which exists; give another name")
