"""Builds optimizers and schedules by their names in torch."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from lightning import Trainer
from torch import nn, optim
from torch.optim import lr_scheduler

from ..build import build, import_by_path
from ..errors import InputError, did_you_mean
from .optimizer_modes import has_modes
from .value_ranges import check_optimizer_options, check_scheduler_options

# The arguments of torch's schedules, and of those of transformers, that set the length of the run.
_LENGTH_ARGUMENTS = ("total_steps", "T_max", "total_iters", "num_training_steps")

# What is used of a schedule.
_PARTS_OF_A_SCHEDULE = ("step", "state_dict", "load_state_dict", "last_epoch", "get_last_lr", "optimizer")

# The arguments of torch's schedules that are learning rates, and may be lists with one for each parameter group.
_RATE_ARGUMENTS = ("max_lr", "base_lr", "min_lr")


def _find(what: str, name: str, home: ModuleType, base: type) -> Callable[..., Any]:
    """Returns a class of ``home`` by its name, or any callable by its dotted path."""
    if "." in name:
        return import_by_path(what, name)
    known = {n for n, c in vars(home).items() if inspect.isclass(c) and issubclass(c, base) and c is not base}
    if name not in known:
        raise InputError(f"unknown {what} {name!r}; {did_you_mean(name, known)}")
    return getattr(home, name)


def parameter_groups(
    module: nn.Module, factors: Mapping[str, float] | None = None, *, decay_all: bool = False
) -> list[dict[str, Any]]:
    """Returns two groups: the weights, and the norms and biases, without weight decay.

    He et al. 2018, *Bag of Tricks for Image Classification*, section 3.1: "no bias decay".

    Args:
        module: its parameters that require a gradient are grouped.
        factors: the factors of the learning rate that are not 1, by parameter name. Each group then has one factor, as
            its ``lr_factor``.
        decay_all: decay norms and biases too, as He et al. 2015 did.
    """
    spared: dict[str, Any] = {} if decay_all else {"weight_decay": 0.0}
    parameters: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            parameters.setdefault((factors or {}).get(name, 1.0), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for factor, some in parameters.items():
        own: list[dict[str, Any]] = [
            {"params": [p for p in some if p.ndim > 1]},
            {"params": [p for p in some if p.ndim <= 1], **spared},
        ]
        if factors:
            own = [{**group, "lr_factor": factor} for group in own if group["params"]]
        groups += own
    return groups


def make_optimizer(name: str, groups: Iterable[Any], lr: float, options: Mapping[str, Any]) -> optim.Optimizer:
    """Builds an optimizer, such as ``make_optimizer("SGD", groups, 0.1, {"momentum": 0.9})``.

    Args:
        name: a class of ``torch.optim``, or a dotted path.
        groups: parameters or parameter groups. The learning rate of a group with an ``lr_factor`` is multiplied by it.
        lr: the learning rate.
        options: its other arguments.

    Raises:
        InputError: if the name or an option is unknown, or the optimizer rejects a value.
    """
    if "lr" in options:
        raise InputError("the learning rate belongs in model.lr, not in model.optimizer_args")
    groups = [
        {"lr": lr * group["lr_factor"], **group} if isinstance(group, dict) and "lr_factor" in group else group
        for group in groups
    ]
    factory = _find("optimizer", name, optim, optim.Optimizer)
    _check_numbers(f"optimizer {name!r}", factory, options)
    try:
        optimizer = build(f"optimizer {name!r}", factory, groups, lr=lr, **options)
    except InputError as error:
        if "takes no option 'lr'" not in str(error):
            raise
        raise InputError(
            f"optimizer {name!r} has no argument lr, which gets model.lr; give a class or a function that has"
        ) from error
    if not isinstance(optimizer, optim.Optimizer):
        raise InputError(f"optimizer {name!r} returned a {type(optimizer).__name__}, which is no torch.optim.Optimizer")
    check_optimizer_options(options)
    return optimizer


def _check_numbers(what: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Rejects options that are no mapping of names, and wrong numbers now.

    Torch would fail only when it uses a number, perhaps at a milestone hours into the run.
    """
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InputError(f"{what}: its arguments are {options!r}; give a mapping of their names")
    for name, parameter in inspect.signature(factory).parameters.items():
        default, value = parameter.default, options.get(name, parameter.default)
        if not isinstance(default, int | float) or (isinstance(value, list) and "list" in str(parameter.annotation)):
            continue
        is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 63)
        if not is_number or isinstance(value, bool) != isinstance(default, bool):
            hint = f"{name} is {value!r}; give a value such as {default!r}"
            raise InputError(f"{what} cannot be built from {dict(options)}: {hint}")


def make_scheduler(
    name: str, optimizer: optim.Optimizer, total_steps: int, options: Mapping[str, Any]
) -> lr_scheduler.LRScheduler:
    """Builds a schedule that is stepped after each optimizer step and sized to a run of ``total_steps``.

    Options that are left out are filled in: the length (``total_steps``, ``T_max``, ``total_iters`` or
    ``num_training_steps``) and, for ``OneCycleLR``, the peak, which is the optimizer's learning rate. Milestones below
    1 are fractions of the run. The momentum stays constant unless ``cycle_momentum`` is set. The ``lr_lambda`` of
    ``LambdaLR`` is the dotted path of a function of the step.

    ``SequentialLR`` and ``ChainedScheduler`` take other schedules, each as ``{name: {argument: value}}``. A warm-up is
    ``{schedulers: [{ConstantLR: {factor: 0.1, total_iters: 400}}, {MultiStepLR: {milestones: [32000, 48000]}}]}`` of a
    ``ChainedScheduler``.

    Args:
        name: a class of ``torch.optim.lr_scheduler``, or a dotted path.
        optimizer: the optimizer whose learning rate it sets.
        total_steps: the optimizer steps of the whole run.
        options: its other arguments; durations are in optimizer steps.

    Raises:
        InputError: if the name or an option is unknown, or the schedule rejects a value.
    """
    factory = _find("scheduler", name, lr_scheduler, lr_scheduler.LRScheduler)
    accepted = inspect.signature(factory).parameters
    _check_numbers(f"scheduler {name!r}", factory, options)
    # A schedule among several may have changed the rate already.
    rates = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    check_scheduler_options(options, max(rates))
    filled: dict[str, Any] = {argument: total_steps for argument in _LENGTH_ARGUMENTS if argument in accepted}
    if "max_lr" in accepted:
        filled["max_lr"] = rates
    if "cycle_momentum" in accepted:
        filled["cycle_momentum"] = False
    filled.update(options)
    for argument in _RATE_ARGUMENTS:
        filled.update(_for_each_group(optimizer, argument, filled))
    if "milestones" in filled:
        filled["milestones"] = _in_steps(filled["milestones"], total_steps)
    if "pct_start" in accepted:
        filled["pct_start"] = _safe_pct_start(
            filled.get("pct_start", accepted["pct_start"].default), filled["total_steps"]
        )
    if "schedulers" in accepted:
        filled["schedulers"] = _make_schedulers(name, optimizer, total_steps, filled.get("schedulers"))
        return build(f"scheduler {name!r}", factory, optimizer=optimizer, **filled)
    if "lr_lambda" in accepted:
        filled["lr_lambda"] = _functions(filled.get("lr_lambda"))
    scheduler = build(f"scheduler {name!r}", factory, optimizer, **filled)
    if missing := [part for part in _PARTS_OF_A_SCHEDULE if not hasattr(scheduler, part)]:
        raise InputError(
            f"scheduler {name!r} returned a {type(scheduler).__name__} without {missing[0]}; give a "
            "torch.optim.lr_scheduler.LRScheduler, which is stepped after each optimizer step"
        )
    return scheduler


def _functions(value: Any) -> Any:
    """Returns the functions of ``LambdaLR``, which a config names by their dotted paths: one, or one for each group."""
    if isinstance(value, list):
        return [_functions(item) for item in value]
    if not isinstance(value, str):
        if value is None:
            raise InputError("lr_lambda is missing; give the dotted path of a function of the step, my_module.function")
        return value
    found = import_by_path("lr_lambda", value)
    # LambdaLR stores the attributes of what is no plain function, and a function in C has none.
    if not inspect.isfunction(found) and not hasattr(found, "__dict__"):

        def of_step(step: int) -> Any:
            return found(step)

        return of_step
    return found


def _make_schedulers(
    name: str, optimizer: optim.Optimizer, total_steps: int, schedulers: Any
) -> list[lr_scheduler.LRScheduler]:
    """Builds the schedules of which another one consists."""
    one_each = isinstance(schedulers, list) and all(isinstance(s, Mapping) and len(s) == 1 for s in schedulers)
    if not one_each or not schedulers:
        raise InputError(
            f"scheduler {name!r}: schedulers is {schedulers!r}; give a list of schedules, each as "
            "{name: {argument: value}}, such as {ConstantLR: {factor: 0.1, total_iters: 400}}"
        )
    parts = [next(iter(scheduler.items())) for scheduler in schedulers]
    return [make_scheduler(str(part), optimizer, total_steps, options or {}) for part, options in parts]


def check_schedule_length(name: str | None, options: Mapping[str, Any], total_steps: float) -> None:
    """Checks that a schedule whose length is given is not shorter than the run: it would fail after its last step.

    Raises:
        InputError: if it is.
    """
    length = options.get("total_steps")
    if isinstance(length, int) and length < total_steps:
        raise InputError(
            f"model.scheduler_args.total_steps is {length}, but the run has {total_steps:.0f} steps; leave it out: "
            f"{name} then has the length of the run"
        )


def _for_each_group(optimizer: optim.Optimizer, argument: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a learning rate among the options as a list, multiplied by the factor of each group."""
    factors = [group.get("lr_factor", 1.0) for group in optimizer.param_groups]
    rate = options.get(argument)
    if not isinstance(rate, int | float) or set(factors) == {1.0}:
        return {}
    return {argument: [rate * factor for factor in factors]}


def _in_steps(milestones: Any, total_steps: int) -> list[int]:
    try:
        return [round(m * total_steps) if m < 1 else m for m in milestones]
    except (TypeError, OverflowError) as error:
        raise InputError(f"milestones is {milestones!r}; give a list of steps, or of fractions of the run") from error


def _safe_pct_start(pct_start: Any, total_steps: int) -> Any:
    """Reduces ``pct_start`` slightly if the rate would rise for exactly one step: OneCycleLR would divide by zero."""
    is_number = isinstance(pct_start, float) and isinstance(total_steps, int)
    is_one_step = is_number and abs(pct_start * total_steps - 1) < 1e-9
    return pct_start * (1 - 1e-6) if is_one_step else pct_start


def copy_settings(restored: optim.Optimizer, new: optim.Optimizer) -> None:
    """Gives a restored optimizer the settings of a new one, whose groups are in the same order.

    Groups that a callback has added after them keep their settings. Some optimizers also keep a state in their groups,
    such as a number of steps; it stays as it was restored.
    """
    arguments = inspect.signature(type(new)).parameters
    takes_any = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
    state = set() if takes_any else new.defaults.keys() - arguments.keys()
    for group, new_group in zip(restored.param_groups[: len(new.param_groups)], new.param_groups, strict=True):
        group.update({name: value for name, value in new_group.items() if name not in {"params", *state}})


def fast_forward(
    restored: lr_scheduler.LRScheduler, optimizer: optim.Optimizer, schedule: lr_scheduler.LRScheduler, steps: int
) -> None:
    """Gives a restored schedule and its optimizer the settings that a new schedule has after ``steps`` steps.

    A checkpoint restores the settings of the run that wrote it. If the learning rate or the run's length has changed,
    they are wrong, and so is every later step: torch's schedules compute each learning rate from the previous one.

    Args:
        restored: the schedule of the resumed run.
        optimizer: built from the config, with groups in the same order. It is stepped and must not be used afterwards.
        schedule: that of ``optimizer``, at its start. It is stepped too.
        steps: the number of optimizer steps already made.
    """
    if has_modes(optimizer):
        optimizer.train()  # type: ignore[attr-defined]
    optimizer.step()  # torch warns if a schedule is stepped before its optimizer
    for _ in range(steps):
        schedule.step()
    restored.load_state_dict(schedule.state_dict())
    copy_settings(restored.optimizer, optimizer)


def continue_schedule(
    trainer: Trainer, dummy: optim.Optimizer, schedule: lr_scheduler.LRScheduler | None, factor: float
) -> None:
    """Gives the optimizer and the schedule of a resumed run the settings of this run's config.

    The checkpoint determines the position in the schedule; the config determines its shape.

    Args:
        trainer: the trainer of the resumed run.
        dummy: an optimizer as configured, of parameters that belong to no model.
        schedule: the configured schedule of ``dummy``.
        factor: the learning rate of the config, divided by that in the checkpoint.
    """
    steps = trainer.global_step
    current = next((config.scheduler for config in trainer.lr_scheduler_configs), None)
    if type(current) is not type(schedule):
        return  # that of a callback, such as Lightning's learning-rate finder
    if steps and isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        # Apply the reduction so far to the learning rate of the config.
        for group, restored in zip(dummy.param_groups, trainer.optimizers[0].param_groups, strict=False):
            group["lr"] = restored["lr"] * factor
    if schedule is None or isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        copy_settings(trainer.optimizers[0], dummy)
    else:
        fast_forward(trainer.lr_scheduler_configs[0].scheduler, dummy, schedule, steps)
