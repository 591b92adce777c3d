"""Puts the network of a run among the weights that come with the package, with its card.

    .venv/bin/python .github/ship_weights.py CHECKPOINT NAME

``NAME`` is ``digits``, ``mnist`` or ``cifar10``. Train with the command of the card first; paths in the checkpoint's
config must be right from the current folder. The accuracy in the card is that of the weights as they are stored.
"""

import datetime
import hashlib
import importlib
import json
import platform
import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import save

import resnet_lightning
from resnet_lightning.atomic_write import atomic_write, atomic_write_text
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.runs.readable import read_record

FOLDER = Path(resnet_lightning.__file__).parent / "models" / "shipped"

DATA = {
    "digits": {
        "data": "1,797 handwritten digits of 8x8 pixels, in the package itself (DigitsDataModule)",
        "source": "Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository",
        "license of the data": "CC BY 4.0",
    },
    "mnist": {
        "data": "MNIST, 60,000 + 10,000 handwritten digits of 28x28 pixels (MNISTDataModule)",
        "source": "LeCun, Bottou, Bengio & Haffner 1998",
        "license of the data": "CC BY-SA 3.0",
    },
    "cifar10": {
        "data": "a copy of CIFAR-10 in JPEG files, which is lossy: 50,000 + 10,000 photographs of 32x32 pixels "
        "(ImageFolderDataModule)",
        "source": "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        "license of the data": "none stated; its page asks for a citation of the report",
    },
}


def accuracy_of(trained, config) -> tuple[float, int]:
    """The accuracy on the test images of the run's data, and their number."""
    module, _, name = config["class_path"].rpartition(".")
    options = {key: value for key, value in config["init_args"].items() if key not in ("augment", "predict_folder")}
    data = getattr(importlib.import_module(module), name)(**options)
    test = data.split("test")
    right = 0
    for numbers in test.indices.split(500):
        pixels = test.images[numbers].permute(0, 3, 1, 2)
        right += int((trained.probabilities(pixels).argmax(1) == test.targets[numbers]).sum())
    return right / len(test), len(test)


def main(checkpoint: str, name: str) -> None:
    trained = load_model(checkpoint)
    backbone = trained.classifier.backbone
    halves = {key: value.half() if value.is_floating_point() else value for key, value in backbone.state_dict().items()}
    assert all(value.isfinite().all() for value in halves.values())
    backbone.load_state_dict(halves)
    content = save({key: value.contiguous() for key, value in halves.items()})
    config, record = yaml.safe_load(trained.config), read_record(Path(checkpoint).resolve().parent.parent)
    accuracy, images = accuracy_of(trained, config["data"])
    trainer = config["trainer"]
    card = {
        "model": trained.classifier.hparams["backbone"],
        "name": name,
        **DATA[name],
        "license of the weights": "MIT, as the package",
        "test": {"accuracy": round(accuracy, 6), "images": images},
        "command": record.get("first_command", record["command"]).replace(" --resume auto", ""),
        "epochs": trainer["max_epochs"],
        "seed": config["seed_everything"],
        "training seconds": record["training_seconds"],
        "machine": f"one core of a shared machine, {platform.machine()}, {platform.system()}",
        "versions": {"resnet_lightning": resnet_lightning.__version__, "torch": torch.__version__},
        "date": str(datetime.date.today()),
        "number format": "float16; the accuracy is that of these numbers",
        "images": trained.data.image_spec.to_dict(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    file = FOLDER / f"{card['model']}.{name}"
    with atomic_write(f"{file}.safetensors") as opened:
        opened.write(content)
    atomic_write_text(f"{file}.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    print(f"{file}.safetensors: {len(content):,} bytes, accuracy {accuracy:.4%} on {images:,} images")


if __name__ == "__main__":
    main(*sys.argv[1:])
