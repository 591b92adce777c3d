"""The precision ``auto``, and a remark where a precision is slower than float32."""

from jsonargparse import Namespace

from ..training.hardware import bf16_in_words, device_of, has_fast_bf16, precision_for


def settle_precision(trainer: Namespace) -> str:
    """Replaces the precision ``auto`` by that in which this machine is fastest.

    Args:
        trainer: the options of the trainer.

    Returns:
        A line for the user if a precision was asked for by name, and is slow on this machine; else an empty one.
    """
    device = device_of(trainer.accelerator)
    if trainer.precision == "auto":
        trainer.precision = precision_for(device)
        return ""
    if device != "cpu" or "bf16" not in str(trainer.precision) or has_fast_bf16(device):
        return ""
    return f"{bf16_in_words(device)}: {trainer.precision} is slower here than 32-true"
