"""A residual block with squeeze-and-excitation, and a network of such blocks."""

from typing import Any

from torch import Tensor, nn

from resnet_lightning import BasicBlock, ResNet


class SqueezeExcitation(nn.Module):
    """Scales each channel by a factor that depends on the whole image (Hu et al. 2018).

    Args:
        channels: C, the number of channels.
        reduction: the hidden layer has ``channels / reduction`` units.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = channels // reduction
        layers = nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        self.gate = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


def se_block(in_planes: int, planes: int, stride: int = 1, **options: Any) -> BasicBlock:
    """A basic block with squeeze-and-excitation at the end of its residual branch."""
    block = BasicBlock(in_planes, planes, stride, **options)
    block.bn2 = nn.Sequential(block.get_submodule("bn2"), SqueezeExcitation(planes))
    return block


def se_resnet(num_classes: int, in_chans: int, depth: int = 20) -> ResNet:
    """A network for small images, of 6n + 2 layers (He et al. 2015, section 4.2)."""
    blocks = (depth - 2) // 6
    return ResNet(
        se_block, (blocks, blocks, blocks), (16, 32, 64), stem="cifar", num_classes=num_classes, in_chans=in_chans
    )
