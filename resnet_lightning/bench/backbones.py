"""Compares our networks with torchvision's and with a typical hand-written CIFAR ResNet, in training and inference."""

from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import create_model
from .comparison import Comparison, interleaved, timed


class HandWrittenBlock(nn.Module):
    """A typical hand-written basic block with a shortcut of option A."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.new_planes = planes - in_planes

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new_planes)) if self.new_planes else x
        return F.relu(out)


class HandWrittenResNet20(nn.Module):
    """A typical hand-written ResNet-20, with our state-dict keys: (B, 3, H, W) -> logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(HandWrittenBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(HandWrittenBlock(16, 32, 2), *(HandWrittenBlock(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(HandWrittenBlock(32, 64, 2), *(HandWrittenBlock(64, 64, 1) for _ in range(2)))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.shape[3])
        return self.fc(out.flatten(1))


# The network to compare with, batch size and image size. A training step takes about a second on two cores.
CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "resnet18": (torchvision.models.resnet18, 16, 224),
    "resnet50": (torchvision.models.resnet50, 8, 224),
    "resnet20": (HandWrittenResNet20, 128, 32),
}


def backbones(*, rounds: int) -> Iterator[Comparison]:
    """Times each pair of networks with the same weights and images, in eager mode and NCHW format."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, (make_theirs, batch, size) in CASES.items():
        torch.manual_seed(0)
        theirs = make_theirs().to(device)
        ours = create_model(name).to(device)
        ours.load_state_dict(theirs.state_dict())
        images = torch.randn(batch, 3, size, size, device=device)
        targets = torch.arange(batch, device=device) % 10
        work = f"{name}, {batch} images of {size}x{size}"
        steps = (timed(_training_step(net, images, targets)) for net in (ours, theirs))
        yield interleaved(f"{work}, training step", batch, *steps, rounds=rounds)
        passes = (timed(_inference(net, images)) for net in (ours, theirs))
        yield interleaved(f"{work}, inference", batch, *passes, rounds=rounds)


def _training_step(net: nn.Module, images: Tensor, targets: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        net.train()
        F.cross_entropy(net(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _inference(net: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def infer() -> Tensor:
        return net.eval()(images)

    return infer
