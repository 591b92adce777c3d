"""Muon for the filters of convolutions, beside SGD for all other parameters."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Jordan et al. 2024, *Muon: An optimizer for hidden layers in neural networks*, section "Design": the quintic whose
# slope at zero is the largest. Singular values end between 0.7 and 1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """Returns about the nearest matrix with orthonormal rows or columns, by a Newton-Schulz iteration.

    Jordan et al. 2024, *Muon: An optimizer for hidden layers in neural networks*. On a GPU it is computed in bfloat16.

    Args:
        matrix: (R, C).
        steps: number of iterations.
    """
    a, b, c = _QUINTIC
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    is_tall = x.shape[0] > x.shape[1]
    x = x.mT if is_tall else x
    x = x / x.norm().clamp(min=1e-7)  # no singular value is above 1 then
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(matrix.dtype)


class FilterMuon(Optimizer):
    """Trains the filters of convolutions with Muon, and all other parameters with Nesterov SGD.

    ``torch.optim.Muon`` refuses parameters that are no matrices. As in Jordan 2024, *94% on CIFAR-10 in 2.59 Seconds*,
    filters (O, I, h, w) are matrices (O, I h w) here: the update is their momentum, made orthogonal. In a config:
    ``optimizer: resnet_lightning.training.muon.FilterMuon``, with ``optimizer_args: {filter_lr: 0.1}``.

    Args:
        params: parameters or groups of them.
        lr: the learning rate of the parameters that are no filters.
        filter_lr: the learning rate of the filters, as a multiple of ``lr``, so that one schedule applies to both.
        momentum: that of both.
        weight_decay: of the parameters that are no filters, added to the gradient; of filters, times their rate, taken
            from the weights.
        steps: number of iterations that make the momentum orthogonal.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        filter_lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        steps: int = 5,
    ) -> None:
        numbers = {"lr": lr, "filter_lr": filter_lr, "momentum": momentum, "weight_decay": weight_decay}
        for name, value in numbers.items():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} is {value}; give a number of at least 0")
        if not 0 < steps < 100:
            raise ValueError(f"steps is {steps}; give a number from 1 to 99")
        super().__init__(params, {**numbers, "steps": steps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        is_filter, decay = parameter.ndim == 4, group["weight_decay"]
        assert parameter.grad is not None
        gradient = parameter.grad if is_filter or not decay else parameter.grad.add(parameter, alpha=decay)
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        update = gradient.add(velocity, alpha=group["momentum"])
        if not is_filter:
            parameter.add_(update, alpha=-group["lr"])
            return
        rate = group["lr"] * group["filter_lr"]
        matrix = update.reshape(len(update), -1)
        scale = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
        parameter.mul_(1 - rate * decay)
        parameter.add_(orthogonalized(matrix, group["steps"]).view(update.shape), alpha=-rate * scale)
