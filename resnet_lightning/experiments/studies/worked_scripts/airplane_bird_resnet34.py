"""ResNet-34 that tells airplanes from birds of CIFAR-10, in plain PyTorch: Adam 1e-3, batches of 64, 5 epochs.

    python airplane_bird_resnet34.py root=data epochs=5 seed=0

Needs torch and torchvision. The folder ``root`` is that of torchvision's CIFAR-10, or has ``train/<class>/*`` and
``test/<class>/*``. ``classes`` names other two classes, and ``images`` limits the number of training images.
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


def load(root: str, train: bool, classes: list[str]) -> Any:
    """Images (3, H, W) between -1 and 1 of the chosen classes, with labels 0 and 1."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    part = Path(root, "train" if train else "test")
    data: Any
    if part.is_dir():
        data = datasets.ImageFolder(part, transform)
    else:
        data = datasets.CIFAR10(root, train, transform, download=True)
    chosen = [data.classes.index(name) for name in classes]
    kept = [number for number, label in enumerate(data.targets) if label in chosen]
    data.target_transform = chosen.index
    return Subset(data, kept)


@torch.no_grad()
def accuracy(net: nn.Module, loader: Any, device: str) -> float:
    net.eval()
    correct = sum((net(images.to(device)).argmax(1).cpu() == labels).sum().item() for images, labels in loader)
    return correct / len(loader.dataset)


def main(root: str = "data", epochs: int = 5, seed: int = 0, images: int = 0, classes: str = "airplane,bird") -> None:
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_set, test_set = load(root, True, classes.split(",")), load(root, False, classes.split(","))
    if images:
        train_set = Subset(train_set, torch.randperm(len(train_set))[:images].tolist())
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=64)

    net = models.resnet34(num_classes=2).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
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
    words = "root", "classes"
    main(**{name: value if name in words else int(value) for name, value in given.items()})  # type: ignore[arg-type]
