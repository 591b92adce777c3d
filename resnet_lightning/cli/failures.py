"""Explains exceptions of other libraries that come from what a user chose, and not from the user's own code."""

import errno
import os
from collections.abc import Iterator
from types import FrameType, TracebackType

import torch
from lightning import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from torch.optim.lr_scheduler import LRScheduler

from ..errors import InputError
from ..trust import LIBRARIES

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The parts of a run that a config may name, and where.
_PARTS = {
    Callback: "trainer.callbacks",
    Logger: "trainer.logger",
    Profiler: "trainer.profiler",
    LRScheduler: "model.scheduler",
}
_LONGEST_REASON = 120
_LAST_WORDS = "(--debug shows where)"

_RESTORING = {"load_state_dict", "on_load_checkpoint", "check_checkpoint", "check_resumable"}

# In the message of an error that comes from another process, whose frames are unknown here.
_TRACEBACK = "Traceback (most recent call last)"


def as_input_error(error: Exception) -> InputError | None:
    """Returns an error of bad input for an exception that a library raised with the options of the run.

    Returns:
        None if the exception comes from the user's own code or from this package: they need the traceback.
    """
    frames = list(_frames(error.__traceback__))
    of_causes = [frame for cause in _causes(error) for frame in _frames(cause.__traceback__)]
    if not frames or any(_is_own(frame) for frame in [*frames, *of_causes]) or _TRACEBACK in str(error):
        return None
    if isinstance(error, OSError) and error.strerror:
        where = repr(error.filename) if error.filename else "a file of the run"
        what = "written" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "used"
        return InputError(f"{where} cannot be {what}: {error.strerror}")
    reason = f"{_reason(error)} {_LAST_WORDS}"
    is_restored = any(_restores(frame) for frame in frames)
    if _is_of_package(frames[-1]) and not is_restored and not isinstance(error, RecursionError | UnicodeError):
        return None
    for frame in frames:
        acting = frame.f_locals.get("self")
        kind = next((kind for kind in _PARTS if isinstance(acting, kind)), None)
        if (
            kind is not None
            and not (kind is LRScheduler and is_restored)
            and not type(acting).__module__.startswith("resnet_lightning.")
        ):
            name = type(acting).__name__
            return InputError(f"{name} in {_PARTS[kind]} failed: {reason}; change its options, or leave it out")
    if is_restored:
        return InputError(f"the checkpoint does not fit this run, or is malformed: {reason}")
    return InputError(reason)


def _reason(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "the device has too little memory for this batch; give a smaller data.batch_size"
    if "Expected more than 1 value per channel" in str(error):
        return (
            "a batch of one image is too small for batch normalization: give a larger data.batch_size, or a norm_layer "
            "such as group in model.backbone_args"
        )
    if isinstance(error, RecursionError):
        return "the options are nested too deeply"
    message = " ".join(str(error).split())
    if len(message) > _LONGEST_REASON:
        message = f"{message[:_LONGEST_REASON]}..."
    kind = type(error).__name__
    return f"{kind}: {message}" if message else kind


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _causes(error: BaseException) -> Iterator[BaseException]:
    while cause := error.__cause__ or error.__context__:
        yield cause
        error = cause


def _restores(frame: FrameType) -> bool:
    """Whether a frame restores a checkpoint: a function of that purpose, or Lightning's connector."""
    code = frame.f_code
    return code.co_name in _RESTORING or os.path.basename(code.co_filename) == "checkpoint_connector.py"


def _is_of_package(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE + os.sep)


def _is_own(frame: FrameType) -> bool:
    """Whether a frame is in the user's code: neither in a library nor in this package nor made by Python itself."""
    file = frame.f_code.co_filename
    if file.endswith(".pyx"):  # compiled, with the path that it had where it was built
        return False
    return not (file.startswith(("<frozen", "<string>", *LIBRARIES)) or _is_of_package(frame))
