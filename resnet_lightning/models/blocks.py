"""The two residual blocks of He et al. 2015, *Deep Residual Learning for Image Recognition*."""

from torch import Tensor, nn

from .layers import NormLayer, conv
from .shortcuts import ShortcutLayer


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, Figure 5, left).

    Maps (B, in_planes, H, W) to (B, planes, H / stride, W / stride). The first convolution carries the stride.

    Args:
        in_planes: channels of the input.
        planes: channels of both convolutions.
        stride: 2 where a stage halves the map, else 1.
        shortcut: makes the module that carries x past the residual branch.
        norm_layer: makes the norm after each convolution.
    """

    expansion = 1  # output channels / planes

    def __init__(
        self, in_planes: int, planes: int, stride: int, shortcut: ShortcutLayer, norm_layer: NormLayer
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_planes, planes, kernel_size=3, stride=stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(planes, planes, kernel_size=3)
        self.bn2 = norm_layer(planes)
        self.downsample = shortcut(in_planes, planes, stride, norm_layer)  # torchvision's name for it

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu(residual + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2015, Figure 5, right).

    Maps (B, in_planes, H, W) to (B, 4 * planes, H / stride, W / stride). The 3x3 convolution carries the stride, as in
    torchvision and in every later reproduction ("v1.5"); the paper has it on the first 1x1, which throws away three
    quarters of the map unseen.

    Args:
        in_planes: channels of the input.
        planes: channels of the 3x3 convolution.
        stride: 2 where a stage halves the map, else 1.
        shortcut: makes the module that carries x past the residual branch.
        norm_layer: makes the norm after each convolution.
    """

    expansion = 4  # output channels / planes

    def __init__(
        self, in_planes: int, planes: int, stride: int, shortcut: ShortcutLayer, norm_layer: NormLayer
    ) -> None:
        super().__init__()
        out_planes = planes * self.expansion
        self.conv1 = conv(in_planes, planes, kernel_size=1)
        self.bn1 = norm_layer(planes)
        self.conv2 = conv(planes, planes, kernel_size=3, stride=stride)
        self.bn2 = norm_layer(planes)
        self.conv3 = conv(planes, out_planes, kernel_size=1)
        self.bn3 = norm_layer(out_planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_planes, out_planes, stride, norm_layer)  # torchvision's name for it

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu(residual + self.downsample(x))
