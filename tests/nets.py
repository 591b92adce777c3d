"""What several tests do to nets."""

from torch import nn


def randomise_norms(net: nn.Module) -> nn.Module:
    """Statistics and scales as after training: of a fresh net, two norms that were mixed up would go unnoticed."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.0),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(tensor, low, high)
    return net
