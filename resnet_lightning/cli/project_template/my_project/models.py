"""Two LightningModules: one changes a part of the package's, the other is written from scratch."""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F

from resnet_lightning import ImageClassifier, create_model


class SparseClassifier(ImageClassifier):
    """The package's classifier with an L1 penalty on all weights.

    Args:
        penalty: the factor of the penalty.
        options: those of ``ImageClassifier``.
    """

    def __init__(self, *, penalty: float = 1.0e-5, **options: Any) -> None:
        super().__init__(**options)
        self.save_hyperparameters({"penalty": penalty}, logger=False)
        self.penalty = penalty

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        norms = [weight.abs().sum() for weight in self.backbone.parameters()]
        return loss + self.penalty * torch.stack(norms).sum()


class PlainClassifier(LightningModule):
    """Any LightningModule trains, resumes and is reported too; nothing of it needs this package.

    Args:
        num_classes: the number of classes; filled in from the data.
        in_chans: the number of image channels; filled in from the data.
        backbone: a network of the package.
        lr: the learning rate.
    """

    def __init__(self, num_classes: int = 2, in_chans: int = 1, backbone: str = "resnet20", lr: float = 1.0e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = create_model(backbone, num_classes=num_classes, in_chans=in_chans)
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch  # (B, C, H, W) float32, augmented and normalized, and (B,) int64
        loss = F.cross_entropy(self.backbone(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Returns the logits (B, num_classes), of which the package draws the confusion matrix."""
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        logits: Tensor = self.backbone(images)
        accuracy = (logits.argmax(1) == labels).float().mean()
        values = {f"{stage}/loss": F.cross_entropy(logits, labels), f"{stage}/acc": accuracy}
        self.log_dict(values, batch_size=len(labels))
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)
