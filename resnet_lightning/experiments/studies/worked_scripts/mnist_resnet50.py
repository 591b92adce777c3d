"""ResNet-50 on MNIST in plain PyTorch: Adam 1e-4, batches of 128, 20 epochs, no augmentation.

    python mnist_resnet50.py root=data epochs=20 seed=0

Needs torch and torchvision. The folder ``root`` is that of torchvision's MNIST, or has ``train/<class>/*`` and
``test/<class>/*``. ``images`` limits the number of training images.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, models, transforms


def load(root: str, train: bool) -> Any:
    """Images (1, H, W) with mean 0 and deviation 1, and their labels."""
    steps = [transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)]
    part = Path(root, "train" if train else "test")
    if part.is_dir():
        return datasets.ImageFolder(part, transforms.Compose(steps))
    return datasets.MNIST(root, train, transforms.Compose(steps), download=True)


@torch.no_grad()
def accuracy(net: nn.Module, loader: Any, device: str) -> float:
    net.eval()
    correct = sum((net(images.to(device)).argmax(1).cpu() == labels).sum().item() for images, labels in loader)
    return correct / len(loader.dataset)


def main(root: str = "data", epochs: int = 20, seed: int = 0, images: int = 0) -> None:
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_set, test_set = load(root, train=True), load(root, train=False)
    if images:
        train_set = Subset(train_set, torch.randperm(len(train_set))[:images].tolist())
    train_loader = DataLoader(train_set, batch_size=128, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=128)

    net = models.resnet50(num_classes=10)
    net.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)  # one channel in place of three
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    loss_function = nn.CrossEntropyLoss()

    start = time.perf_counter()
    correct = 0
    for epoch in range(epochs):
        net.train()
        correct = 0
        for batch, labels in train_loader:
            logits = net(batch.to(device))
            loss = loss_function(logits, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            correct += (logits.argmax(1).cpu() == labels).sum().item()
        print(f"epoch {epoch + 1}: training accuracy {correct / len(train_set):.2%}")
    seconds = time.perf_counter() - start
    result = {
        "test_accuracy": accuracy(net, test_loader, device),
        "train_accuracy": correct / len(train_set),
        "parameters": sum(p.numel() for p in net.parameters()),
        "steps": epochs * len(train_loader),
        "seconds": round(seconds, 3),
        "device": f"1 x {torch.cuda.get_device_name() if device == 'cuda' else device}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    main(**{name: value if name == "root" else int(value) for name, value in given.items()})  # type: ignore[arg-type]
