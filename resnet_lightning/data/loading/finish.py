"""The last step of a batch: from raw pixels to augmented and normalized images, on the batch's device."""

from dataclasses import dataclass

from torch import Tensor

from ..augmentation import Augmentation
from ..augmentation.draws import Draws
from ..augmentation.transform import Transform
from ..corruptions import Corruption
from ..normalization import Normalization
from .resident import RawBatch

_NOTHING = Augmentation()


@dataclass(frozen=True)
class Finish:
    """Augments training batches and normalizes all batches.

    Args:
        augment: the augmentation of training batches.
        normalization: mean and standard deviation; they have to be set.
        seed: the seed of the run.
        num_classes: the number of classes; with mixup, targets are probabilities of these.
        transform: the augmentation's transform of one's own, if it has one.
        corruption: corrupts the images of an evaluation; None leaves them as they are.
    """

    augment: Augmentation
    normalization: Normalization
    seed: int
    num_classes: int
    transform: Transform | None = None
    corruption: Corruption | None = None

    def __call__(self, batch: RawBatch) -> tuple[Tensor, Tensor]:
        """Returns images (B, C, H, W) float32, and targets: (B,) int64 or, if images are mixed, (B, K) float32."""
        to_do = self.augment.without(batch.done)
        if batch.epoch is None and self.corruption is not None:
            return self.normalization.normalize(self.corruption(batch.images, batch.indices, self.seed)), batch.targets
        if batch.epoch is None or to_do == _NOTHING:
            return self.normalization.normalize(batch.images), batch.targets
        return to_do(
            batch.images,
            batch.targets,
            Draws(batch.indices, self.seed, batch.epoch),
            self.normalization.normalize,
            others=batch.others,
            num_classes=self.num_classes,
            transform=self.transform,
        )
