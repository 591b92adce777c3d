"""The loss around trained weights, along random directions that are normalized for each filter.

Li et al. 2018, *Visualizing the Loss Landscape of Neural Nets*, section 4. Each filter of a direction has the norm of
that filter of the network, so that the scale of the weights, which batch norms make arbitrary, has no influence. Scales
and biases of norms, and all other biases, are not changed, as in the authors' code. Nor are the running statistics of
batch norms: the network is in evaluation mode with those of its training.

Example::

    net = load_model("best.ckpt").classifier.backbone
    losses, errors = slice_1d(net, batches_of(data, "train", 1000), random_direction(net), torch.linspace(-1, 1, 51))
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.linalg import vector_norm

from .evaluation import Batches, device_of, evaluating, loss_and_error, on_device

Direction = Mapping[str, Tensor]
"""What is added to parameters, by their names; other parameters stay as they are."""


def random_direction(net: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Draws a direction from a normal distribution and normalizes it for each filter (Li et al. 2018, section 4).

    A filter is the part of a weight that makes one output channel; in a linear layer it is a row. The direction depends
    only on the seed and on the shapes of the parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, parameter in net.named_parameters():
        if parameter.ndim < 2:
            continue
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        direction[name] = normalize_filters(drawn, parameter.detach())
    return direction


def normalize_filters(drawn: Tensor, weight: Tensor) -> Tensor:
    """Scales each filter of a tensor to the norm of the filter of a weight: (N, ...), (N, ...) -> (N, ...)."""
    norm, drawn_norm = (vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True) for x in (weight, drawn))
    return drawn * (norm / drawn_norm)


def slice_1d(
    net: nn.Module, batches: Batches, direction: Direction, positions: Iterable[float]
) -> tuple[Tensor, Tensor]:
    """Returns loss and error in percent, each (n,), with the direction added to the weights n times.

    Args:
        net: a trained network, which stays as it is.
        batches: normalized images and labels.
        direction: see ``random_direction``.
        positions: factors (n,) of the direction; 0 is the trained network.
    """
    losses, errors = slice_2d(net, batches, direction, {}, positions, [0.0])
    return losses[:, 0], errors[:, 0]


def slice_2d(
    net: nn.Module,
    batches: Batches,
    first: Direction,
    second: Direction,
    first_positions: Iterable[float],
    second_positions: Iterable[float],
) -> tuple[Tensor, Tensor]:
    """Returns loss and error in percent, each (n, m), on a grid of two directions that are added to the weights.

    Args:
        net: a trained network, which stays as it is.
        batches: normalized images and labels.
        first: a direction; see ``random_direction``.
        second: another one.
        first_positions: factors (n,) of the first direction.
        second_positions: factors (m,) of the second direction.
    """
    batches = on_device(batches, device_of(net))
    second_positions = list(second_positions)
    with evaluating(net):
        found = torch.tensor(
            [
                [_measure(net, batches, [(first, float(a)), (second, float(b))]) for b in second_positions]
                for a in first_positions
            ],
            dtype=torch.float64,
        )
    return found[..., 0], found[..., 1]


def _measure(net: nn.Module, batches: Batches, steps: Iterable[tuple[Direction, float]]) -> tuple[float, float]:
    """Returns loss and error of the network with several directions, each times a factor, added to its weights."""
    moved: dict[str, Tensor] = {}
    parameters = dict(net.named_parameters())
    for direction, factor in steps:
        for name, value in direction.items():
            moved[name] = moved.get(name, parameters[name]) + factor * value
    return loss_and_error(lambda images: functional_call(net, moved, images), batches)


def nonconvexity(losses: Tensor) -> float:
    """Returns which share of the curvature of a slice (n,), at equal distances, is negative: 0 for a convex one.

    It is the sum of the negative second differences over the sum of all, without their signs. Infinite losses are left
    out, together with their neighbors.
    """
    second = losses[:-2] - 2 * losses[1:-1] + losses[2:]
    second = second[second.isfinite()]
    total = second.abs().sum()
    return (second.clamp(max=0).abs().sum() / total).item() if total else 0.0
