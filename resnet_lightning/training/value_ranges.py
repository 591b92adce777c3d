"""The sensible ranges of numbers that torch and Lightning accept, and that would train nothing or nonsense."""

import math
import re
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from torch import optim
from torch.optim import lr_scheduler

from ..errors import InputError

MAX_RATE = 1e30
"""The largest learning rate: beyond it, float32 weights overflow at once. Below it, ``FiniteLoss`` watches."""

_LONGEST = 100 * 366 * 24 * 3600.0  # seconds

_STEPS = 1000  # of a schedule that are tried


class Range(NamedTuple):
    """The numbers from ``low`` to ``high``.

    Args:
        low: the smallest allowed number.
        high: the largest.
        open_low: ``low`` itself is not allowed.
        open_high: likewise.
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return (self.low < value if self.open_low else self.low <= value) and (
            value < self.high if self.open_high else value <= self.high
        )

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}, or leave it out"
        low = f"larger than {self.low:g}" if self.open_low else f"of at least {self.low:g}"
        if math.isinf(self.high):
            return f"a number {low}"
        return f"a number {low} and {'below' if self.open_high else 'at most'} {self.high:g}"


_SHARE, _BELOW_ONE, _POSITIVE = Range(0, 1), Range(0, 1, open_high=True), Range(0, open_low=True)
_MOST = 1e12  # of anything that is counted: no training has as many steps
_COUNT, _AT_LEAST_ONE = Range(0, _MOST), Range(1, _MOST)

_OPTIMIZER = {
    **dict.fromkeys(("momentum", "betas"), _BELOW_ONE),
    **dict.fromkeys(("dampening", "alpha", "rho"), _SHARE),
    "weight_decay": Range(0, 10),
    "eps": Range(0, 10),
}
_SCHEDULER = {
    "gamma": _POSITIVE,
    **dict.fromkeys(("step_size", "T_max", "T_0", "T_mult", "step_size_up", "step_size_down"), _AT_LEAST_ONE),
    **dict.fromkeys(("total_iters", "total_steps", "milestones", "patience", "cooldown"), _COUNT),
    **dict.fromkeys(("threshold", "power"), Range(0, 1e6)),
    "last_epoch": Range(-1, -1),
    "base_lr": Range(0, MAX_RATE),
    "max_lr": Range(0, MAX_RATE, open_low=True),
    "factor": _SHARE,
    "div_factor": _AT_LEAST_ONE,
    "final_div_factor": _POSITIVE,
    **dict.fromkeys(("base_momentum", "max_momentum"), _BELOW_ONE),
}
_TRAINER = {
    **dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes"), _AT_LEAST_ONE),
    **dict.fromkeys(("min_epochs", "min_steps", "log_every_n_steps", "reload_dataloaders_every_n_epochs"), _COUNT),
    "num_sanity_val_steps": Range(-1, _MOST),
    "gradient_clip_val": Range(0),
    "val_check_interval": Range(0, _MOST, open_low=True),
}
_WHOLE = {"step_size", "T_max", "T_0", "T_mult", "total_iters", "total_steps", "patience", "cooldown"}
"""The options of schedules that count steps. ``CyclicLR`` also takes fractions of them."""
_CALLBACK = {
    **dict.fromkeys(("patience", "every_n_epochs", "every_n_train_steps", "annealing_epochs", "amount"), _COUNT),
    **dict.fromkeys(("update_starting_at_step", "update_starting_at_epoch", "refresh_rate", "swa_epoch_start"), _COUNT),
    "update_every_n_steps": _COUNT,  # 0 averages the epochs alone
    **dict.fromkeys(("steps_per_trial", "init_val", "max_trials"), _AT_LEAST_ONE),
    **dict.fromkeys(("num_training_steps", "window_size", "every_n_steps"), _AT_LEAST_ONE),
    **dict.fromkeys(("min_lr", "max_lr", "swa_lrs"), Range(0, MAX_RATE, open_low=True)),
    "decay": _SHARE,
    "save_top_k": Range(-1, _MOST),
}
"""By argument; a callback of Lightning or of this package that has the argument means the same by it."""
_BATCHES = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
)


def check_range(option: str, value: Any, allowed: Range) -> None:
    """Checks a number, or each number of a list. Other values are left to whoever takes them.

    Raises:
        InputError: if it is out of range.
    """
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int | float) and not isinstance(number, bool) and number not in allowed:
            raise InputError(f"{option} is {value}; give {allowed}")


def check_truth_value(option: str, value: object, or_else: str = "") -> None:
    """Rejects anything but true and false: Python takes the string ``'no'`` for true.

    Args:
        option: its name, for the message.
        value: its value.
        or_else: what else the option accepts, for the message.

    Raises:
        InputError: for another value.
    """
    if not isinstance(value, bool):
        raise InputError(f"{option} is {value!r}; give true or false{or_else}")


def check_optimizer_options(options: Mapping[str, Any]) -> None:
    """Checks the options of an optimizer that most optimizers have.

    Raises:
        InputError: for a number out of range.
    """
    for name in options.keys() & _OPTIMIZER.keys():
        check_range(f"model.optimizer_args.{name}", options[name], _OPTIMIZER[name])


def check_scheduler_options(options: Mapping[str, Any], lr: float) -> None:
    """Checks the options of a schedule that several schedules have.

    Args:
        options: its arguments.
        lr: the optimizer's learning rate, which the lowest rate of the schedule must not exceed.

    Raises:
        InputError: for a number out of range.
    """
    for name in options.keys() & _SCHEDULER.keys():
        check_range(f"model.scheduler_args.{name}", options[name], _SCHEDULER[name])
    for name in options.keys() & _WHOLE:
        if isinstance(options[name], float) and not options[name].is_integer():
            raise InputError(f"model.scheduler_args.{name} is {options[name]}; give a whole number of steps")
    for step in options["milestones"] if isinstance(options.get("milestones"), list) else ():
        if isinstance(step, bool) or (isinstance(step, float) and step > 1 and not step.is_integer()):
            raise InputError(
                f"model.scheduler_args.milestones is {options['milestones']}; give whole numbers of steps, or "
                "fractions of the run below 1"
            )
    low, high = options.get("base_lr"), options.get("max_lr")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise InputError(f"model.scheduler_args.base_lr is {low}, larger than max_lr {high}; give less")
    for name in "eta_min", "min_lr", "eps":
        check_range(f"model.scheduler_args.{name}", options.get(name), Range(0, lr))


def check_rates(optimizer: optim.Optimizer, schedule: object) -> None:
    """Steps a new schedule and checks each learning rate. The optimizer and the schedule must not be used afterwards.

    Raises:
        InputError: if a learning rate becomes negative, infinite or absurdly large.
    """
    if not isinstance(schedule, lr_scheduler.LRScheduler) or isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        return
    name = type(schedule).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer makes no step: it may need gradients
        for step in range(_STEPS):
            for group in optimizer.param_groups:
                if group["lr"] not in Range(0, MAX_RATE):
                    raise InputError(
                        f"with model.scheduler {name} and its model.scheduler_args, the learning rate becomes "
                        f"{float(group['lr']):g} in step {step}; it must stay between 0 and {MAX_RATE:g}"
                    )
            try:
                schedule.step()
            except (ArithmeticError, ValueError) as error:
                if step + 1 >= getattr(schedule, "total_steps", math.inf):  # the end of the schedule
                    return
                raise InputError(f"model.scheduler {name} fails in step {step}: {error}; change its args") from error


def check_trainer_options(options: Mapping[str, Any], training: bool) -> None:
    """Checks the arguments of ``Trainer`` that it would accept, or reject without naming the option.

    Args:
        options: the arguments, as far as they are given.
        training: whether the run trains.

    Raises:
        InputError: for a number out of range.
    """
    for name, allowed in _TRAINER.items():
        check_range(f"trainer.{name}", options.get(name), allowed)
    for name in "max_epochs", "max_steps":
        if (value := options.get(name)) is not None and value != -1 and value not in _AT_LEAST_ONE:
            most = f" and at most {_MOST:g}" if value > _MOST else ""
            raise InputError(f"trainer.{name} is {value}; give at least 1{most}, or -1 for no limit")
    for name in "max_time", "val_check_interval":
        check_duration(f"trainer.{name}", options.get(name))
    for name in _BATCHES:
        value = options.get(name)
        allowed = _SHARE if isinstance(value, float) else _COUNT
        if value is not None and value not in allowed:
            raise InputError(f"trainer.{name} is {value}; give a number of batches, or a share of them from 0.0 to 1.0")
    if training and options.get("limit_train_batches") == 0 and not options.get("fast_dev_run"):
        raise InputError("trainer.limit_train_batches is 0; give at least one batch to train on")
    for unit in "epochs", "steps":
        at_least, at_most = options.get(f"min_{unit}") or 0, options.get(f"max_{unit}")
        if at_most is not None and 0 < at_most < at_least:
            raise InputError(
                f"trainer.min_{unit} is {at_least}, but trainer.max_{unit} is {at_most}; give at most that"
            )
    if (batches := options.get("fast_dev_run")) and not isinstance(batches, bool):
        check_range("trainer.fast_dev_run", batches, _COUNT)
    if isinstance(value := options.get("val_check_interval"), float) and value > 1:
        raise InputError(
            f"trainer.val_check_interval is {value}; give a share of the epoch up to 1.0, or a whole number"
        )


def check_callback_options(name: str, options: Mapping[str, Any]) -> None:
    """Checks the options that callbacks of Lightning and of this package have.

    Args:
        name: the callback's, for the message.
        options: its arguments.

    Raises:
        InputError: for a number that is not finite or is out of range.
    """
    for option, value in options.items():
        place = f"{name}.{option}"
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{place} is {value}; give a number")
        if option in _CALLBACK:
            check_range(place, value, _CALLBACK[option])
    if isinstance(share := options.get("amount"), float) and share > 1:
        raise InputError(f"{name}.amount is {share}; give a share up to 1.0, or a whole number of weights")
    check_duration(f"{name}.duration", options.get("duration"))
    low, high = options.get("min_lr"), options.get("max_lr")
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        raise InputError(f"{name}.min_lr is {low}, and max_lr is {high}; give a larger max_lr")


def check_duration(option: str, value: Any) -> None:
    """Checks an option that may be a length of time, as Lightning reads it.

    Raises:
        InputError: if it is no time, no time at all, or longer than any training.
    """
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", value.strip())
        if parts is None:
            raise InputError(f"{option} is {value!r}; give a time as DD:HH:MM:SS")
        days, hours, minutes, seconds = map(float, parts.groups())
        seconds += 60 * (minutes + 60 * (hours + 24 * days))
    elif isinstance(value, Mapping):
        try:
            seconds = timedelta(**value).total_seconds()
        except (TypeError, OverflowError) as error:
            raise InputError(f"{option} is {dict(value)}; give a time, such as {{hours: 2}}") from error
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        return
    if not 0 < seconds <= _LONGEST:
        raise InputError(f"{option} is {value}; give more than no time and at most a century, as DD:HH:MM:SS")
