"""Explains exceptions of other libraries that come from what a user chose, and not from the user's own code."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType

import torch
from lightning import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import LRScheduler

from ..errors import InputError
from ..trust import LIBRARIES
from .error_line import LONGEST

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The parts of a run that a config may name, and where.
_PARTS = {
    Callback: "trainer.callbacks",
    Logger: "trainer.logger",
    Profiler: "trainer.profiler",
    LRScheduler: "model.scheduler",
}
_LAST_WORDS = "(--debug shows where)"

_RESTORING = {"load_state_dict", "on_load_checkpoint", "check_checkpoint", "check_resumable"}

_CHANNELS = re.compile(r"expected input\[[\d, ]+\] to have (\d+) channels, but got (\d+) channels")

# In the message of an error that comes from another process, whose frames are unknown here.
_TRACEBACK = "Traceback (most recent call last)"


def as_input_error(error: Exception) -> InputError | None:
    """Returns an error of bad input for an exception that a library raised with the options of the run.

    Returns:
        None if the exception comes from the user's own code or from this package: they need the traceback.
    """
    frames = list(_frames(error.__traceback__))
    of_causes = [frame for cause in _causes(error) for frame in _frames(cause.__traceback__)]
    if known := _known_reason(error):  # also in code of the user's
        return InputError(known)
    if any(_is_own(frame) for frame in [*frames, *of_causes]) or _TRACEBACK in str(error):
        return None
    if isinstance(error, OSError) and error.strerror:
        where = repr(error.filename) if error.filename else "a file of the run"
        what = "written" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "used"
        return InputError(f"{where} cannot be {what}: {error.strerror}")
    is_restored = any(_restores(frame) for frame in frames)
    is_bug = not is_restored and not isinstance(error, RecursionError | UnicodeError)
    if not frames or (is_bug and _is_of_package(frames[-1])):
        return None
    if part := _failed_part(frames, is_restored):
        return _line(f"{part} failed: ", error, "; change its options, or leave it out")
    return _line("the checkpoint does not fit this run, or is malformed: " if is_restored else "", error)


def has_one_line(error: Exception) -> bool:
    """Whether an exception comes from the options and files of a run, and is reported in one line."""
    return isinstance(error, InputError | MisconfigurationException) or as_input_error(error) is not None


def misconfiguration(error: MisconfigurationException) -> InputError:
    """Returns an error of bad input for one of Lightning's own, which are written for people, with a few exceptions."""
    if "more than one `__init__` argument can be passed to its parent's `batch_size" in str(error):
        return InputError("Lightning needs batch_size by its name in the loaders: DataLoader(data, batch_size=...)")
    return InputError(str(error))


def _failed_part(frames: Iterable[FrameType], is_restored: bool) -> str | None:
    """Returns the first part of the run in whose method the error was raised, with its option; None if none was."""
    for frame in frames:
        acting = frame.f_locals.get("self")
        kind = next((kind for kind in _PARTS if isinstance(acting, kind)), None)
        is_own = type(acting).__module__.startswith("resnet_lightning.")
        if kind is not None and not (kind is LRScheduler and is_restored) and not is_own:
            return f"{type(acting).__name__} in {_PARTS[kind]}"
    return None


def _line(what: str, error: Exception, fix: str = "") -> InputError:
    """Returns an error with as much of the library's reason as the line has room for: whole sentences, if one fits."""
    reason, fix = _reason(error), f" {_LAST_WORDS}{fix}"
    room = LONGEST - len(what) - len(fix)
    if len(reason) > room:
        end = reason.rfind(". ", room // 3, room)
        reason = reason[:end] if end > 0 else f"{reason[: room - 3]}..."
    return InputError(f"{what}{reason}{fix}")


def _known_reason(error: Exception) -> str | None:
    """Returns the line for an error that comes from the size of a batch, whoever wrote the network."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the device has too little memory for this batch; give a smaller data.batch_size"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "this machine has too little memory for that; give smaller images, a smaller batch or a smaller network"
    if "Expected more than 1 value per channel" in str(error):
        return (
            "a batch of one image, perhaps the last of an epoch, is too small for batch normalization: give another "
            "data.batch_size, or a norm_layer such as group in model.backbone_args"
        )
    return None


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError | AttributeError | IndexError) and error.__context__ and error.__cause__ is None:
        return _reason(error.__context__)  # the first error, of which this one is a consequence
    if found := _CHANNELS.search(str(error)):
        return (
            f"the network takes images with {found[1]} channels, and got {found[2]}; choose a network whose number of "
            "channels can be set, such as those of this package or of timm"
        )
    if isinstance(error, RecursionError):
        return "the options are nested too deeply"
    message = " ".join(str(error).split())
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
