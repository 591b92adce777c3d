"""AlexNet, VGG and ResNet on the same images for the same number of epochs: error, parameters and cost."""

from typing import Any

import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from .costs import measure_cost
from .recipes import SMOKE_NOTE
from .study import Budget, Study, Variant, expect

_SIDE = 64  # pixels; AlexNet needs at least 63

_LABELS = {
    "alexnet": "AlexNet (2012)",
    "vgg11": "VGG-11 (2014)",
    "vgg11_bn": "VGG-11 with batch norm",
    "resnet18": "ResNet-18 (2015)",
}


class Enlarged(nn.Module):
    """A network of torchvision for small images: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        model: the name of a model of torchvision, such as ``"alexnet"``.
        num_classes: the size of the logits.
        in_chans: the number of image channels; grey images become RGB.
        side: the side in pixels to which images are enlarged.
    """

    def __init__(self, model: str, num_classes: int = 10, in_chans: int = 3, side: int = _SIDE) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.side = side
        self.model: nn.Module = torchvision.models.get_model(model, num_classes=num_classes)

    def forward(self, x: Tensor) -> Any:
        x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        return self.model(x.expand(-1, 3, -1, -1))


def _variants(*models: str) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            _LABELS[model],
            {
                "model.backbone": "resnet_lightning.experiments.studies.history.Enlarged",
                "model.backbone_args": f"{{model: {model}}}",
            },
        )
        for model in models
    )


def _settings(epochs: int, train_fraction: float) -> dict[str, str]:
    return {
        "data.batch_size": "64",
        "data.val_split": "0",
        "data.train_fraction": str(train_fraction),
        "model.optimizer": "Adam",
        "model.lr": "1.0e-4",
        "model.scheduler": "CosineAnnealingLR",
        "trainer.max_epochs": str(epochs),
        "trainer.enable_checkpointing": "false",  # those of VGG have more than a gigabyte
    }


_NOTE = (
    "There is no published table: the networks of torchvision are trained from scratch on images enlarged to 64x64 "
    "pixels, with Adam, a rate of 0.0001 that falls along a cosine, and batches of 64."
)


STUDY = Study(
    name="history",
    title="From AlexNet to ResNet: error, parameters and cost",
    source="Krizhevsky et al. 2012, Simonyan & Zisserman 2014 and He et al. 2015, as told by the worked example",
    summary="ResNet-18 has a fraction of the parameters of AlexNet and VGG, since it has no large fully connected "
    "layers, and a fraction of the cost of VGG.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=_settings(epochs=1, train_fraction=0.2),
            variants=_variants("alexnet", "resnet18"),
            note=f"{SMOKE_NOTE} {_NOTE}",
            cost="a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings=_settings(epochs=3, train_fraction=0.1),
            variants=_variants("alexnet", "vgg11", "resnet18"),
            note=f"{_NOTE} They see 5,000 images for 3 epochs.",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=_settings(epochs=30, train_fraction=1.0),
            variants=_variants("alexnet", "vgg11", "vgg11_bn", "resnet18"),
            note=f"{_NOTE} They see all 50,000 images for 30 epochs.",
            cost="30 epochs a run; use a GPU",
        ),
    },
    orders=(
        expect(_LABELS["alexnet"], _LABELS["resnet18"]),
        expect(_LABELS["vgg11"], _LABELS["resnet18"]),
        expect(_LABELS["alexnet"], _LABELS["vgg11"]),
        expect(_LABELS["vgg11_bn"], _LABELS["resnet18"]),
    ),
    measure=measure_cost,
    quantities={
        "train_error": "training error",
        "parameters": "parameters",
        "multiply_adds": "multiply-adds, millions",
    },
)
