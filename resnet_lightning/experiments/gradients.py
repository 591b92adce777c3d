"""Gradients of networks: their norm in each layer, and how fast they change from image to image.

Balduzzi et al. 2017, *The Shattered Gradients Problem*: in deep plain networks the gradient with respect to the input
resembles white noise; in residual networks it does not. ``gradient_paths.py`` is about the paths that gradients take.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import Optimizer

from ..atomic_write import atomic_write_csv
from ..errors import check_int
from ..training.callbacks import RunRecord
from ..training.model_protocol import backbone_of
from ..training.state_checks import restoring
from ..training.trainer import find_callback
from .evaluation import Batches, device_of, evaluating, on_device


def layer_weights(net: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of each convolution and linear layer, by the name of the layer, in their order."""
    layers = [(name, module) for name, module in net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return {name: module.weight for name, module in layers if module.weight.requires_grad}


def layer_gradient_norms(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> dict[str, float]:
    """Returns the norm of the gradient of the loss with respect to the weights of each layer, by its name.

    The network is in the mode that it is in: in training mode, batch norms use the statistics of these images. Their
    running statistics and the gradients of the parameters stay as they are.

    Args:
        net: the network.
        images: (B, C, H, W), normalized.
        labels: (B,).
        loss: maps logits (B, num_classes) and labels to a scalar.
    """
    weights = layer_weights(net)
    device = device_of(net)
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}  # a forward pass moves statistics
    value = loss(functional_call(net, buffers, images.to(device)), labels.to(device))
    gradients = torch.autograd.grad(value, list(weights.values()))
    return {name: gradient.norm().item() for name, gradient in zip(weights, gradients, strict=True)}


class LayerGradients(Callback):
    """Writes the norm of the gradient of each layer's weights to ``layer_gradients.csv`` in the run's folder.

    There is a row for the first step and for every ``every_n_steps`` steps after it. The gradient is that of the step,
    before clipping. The option of ``lightning fit`` for it is
    ``--trainer.callbacks+=resnet_lightning.experiments.gradients.LayerGradients``.

    Args:
        every_n_steps: the number of optimizer steps between two rows.

    Raises:
        InputError: if ``every_n_steps`` is less than 1.
    """

    FILE = "layer_gradients.csv"

    def __init__(self, every_n_steps: int = 50) -> None:
        check_int("every_n_steps", every_n_steps, at_least=1)
        self.every_n_steps = every_n_steps
        self.norms: dict[int, dict[str, float]] = {}
        """By optimizer step, the norm of each layer, by its name in the backbone."""

    def state_dict(self) -> dict[str, Any]:
        return {"norms": self.norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        with restoring("record of the gradients"):
            rows = {int(step): row.items() for step, row in state_dict["norms"].items()}
            self.norms = {step: {str(name): float(norm) for name, norm in row} for step, row in rows.items()}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.global_step % self.every_n_steps:
            return
        gradients = {name: weight.grad for name, weight in layer_weights(backbone_of(pl_module) or pl_module).items()}
        norms = {name: gradient.norm() for name, gradient in gradients.items() if gradient is not None}
        whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms.values()]
        self.norms[trainer.global_step] = dict(zip(norms, torch.stack(whole).tolist(), strict=True))
        if trainer.is_global_zero:
            self._write(self._folder(trainer) / self.FILE)

    def _write(self, path: Path) -> None:
        layers = list(dict.fromkeys(name for norms in self.norms.values() for name in norms))
        rows = [[step, *(norms.get(name, "") for name in layers)] for step, norms in sorted(self.norms.items())]
        atomic_write_csv(path, [["step", *layers], *rows])

    def _folder(self, trainer: Trainer) -> Path:
        record = find_callback(trainer, RunRecord)
        return record.folder if record else Path(trainer.log_dir or trainer.default_root_dir)


def images_between(first: Tensor, last: Tensor, count: int = 256) -> Tensor:
    """Returns images at equal distances on the line between two: (C, H, W), (C, H, W) -> (count, C, H, W)."""
    return torch.stack([torch.lerp(first, last, i / (count - 1)) for i in range(count)])


def input_gradients(net: nn.Module, images: Tensor, logit: int = 0, batch_size: int = 64) -> Tensor:
    """Returns the gradient of one logit with respect to each image, in evaluation mode: (B, C, H, W) -> (B, C * H * W).

    In training mode, batch norms would make the logit of an image depend on the others. Before training, the running
    statistics are not yet those of any images; see ``measured_statistics``.

    Args:
        net: the network.
        images: normalized images.
        logit: the number of the logit.
        batch_size: images in a batch.
    """
    gradients = []
    with evaluating(net), torch.enable_grad():
        for part in images.to(device_of(net)).split(batch_size):
            leaf = part.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(net(leaf)[:, logit].sum(), leaf)
            gradients.append(gradient.flatten(1))
    return torch.cat(gradients)


def autocorrelation(series: Tensor, max_lag: int) -> Tensor:
    """Returns the autocorrelation of a series of vectors at the lags from 0 to ``max_lag``: (N, D) -> (max_lag + 1,).

    ``sum_t <g_t - m, g_{t + lag} - m> / sum_t |g_t - m|^2`` with the mean m: 1 at lag 0, near 0 for white noise, and
    slowly falling for a smooth series (Balduzzi et al. 2017, Figure 2, for D = 1).
    """
    check_int("max_lag", max_lag, at_least=0)
    centered = (series - series.mean(0)).double()
    sums = [(centered[: len(series) - lag] * centered[lag:]).sum() for lag in range(max_lag + 1)]
    return torch.stack(sums) / sums[0]


@contextmanager
def measured_statistics(net: nn.Module, batches: Batches) -> Iterator[None]:
    """Gives batch norms the mean statistics of these batches, until the end of the ``with`` statement."""
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    norms: list[Any] = [module for module in net.modules() if getattr(module, "track_running_stats", False)]
    modes = [(module, module.training) for module in net.modules()]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # an equal mean over all batches
        net.train()
        with torch.no_grad():
            for images, _ in on_device(batches, device_of(net)):
                net(images)
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                buffer.copy_(before[name])
