"""The recipes of the papers as options of ``lightning fit``, in full length and shortened."""

from collections.abc import Mapping

_SGD = {
    "data.batch_size": "128",
    "model.optimizer": "SGD",
    "model.optimizer_args": "{momentum: 0.9, weight_decay: 1.0e-4}",
    "model.decay_norms_and_biases": "true",
    "model.lr": "0.1",
}

_LAST_WEIGHTS = {"data.val_split": "0.1", "checkpoint.monitor": "null", "trainer.limit_val_batches": "0"}
"""Trains on 45,000 of 50,000 images, as the papers do, and tests the weights after the last step, not the best ones."""

HE_2015 = {
    **_SGD,
    **_LAST_WEIGHTS,
    "model.scheduler": "MultiStepLR",
    "model.scheduler_args": "{milestones: [32000, 48000], gamma: 0.1}",
    "trainer.max_steps": "64000",
    "trainer.max_epochs": "-1",
}
"""He et al. 2015, section 4.2."""

WARM_UP = {
    "model.scheduler": "ChainedScheduler",
    "model.scheduler_args": "{schedulers: [{ConstantLR: {factor: 0.1, total_iters: 400}}, "
    "{MultiStepLR: {milestones: [32000, 48000], gamma: 0.1}}]}",
}
"""A tenth of the learning rate for the first 400 steps, in place of the schedule of ``HE_2015``."""

HE_2016 = {**HE_2015, **WARM_UP}
"""He et al. 2016, appendix."""

WIDE = {
    **_LAST_WEIGHTS,
    "data.val_split": "0",
    "data.batch_size": "128",
    "model.optimizer": "SGD",
    "model.optimizer_args": "{momentum: 0.9, nesterov: true, weight_decay: 5.0e-4}",
    "model.decay_norms_and_biases": "true",
    "model.lr": "0.1",
    "model.scheduler": "MultiStepLR",
    "model.scheduler_args": "{milestones: [0.3, 0.6, 0.8], gamma: 0.2}",
    "trainer.max_epochs": "200",
}
"""Zagoruyko & Komodakis 2016, section 3: steps at epochs 60, 120 and 160 of 200, on all training images."""

STOCHASTIC = {
    **_SGD,
    **_LAST_WEIGHTS,
    "model.scheduler": "MultiStepLR",
    "model.scheduler_args": "{milestones: [0.5, 0.75], gamma: 0.1}",
    "trainer.max_epochs": "500",
}
"""Huang et al. 2016, section 4: 500 epochs, with steps after half and three quarters of them."""

ADAM = {
    "model.optimizer": "Adam",
    "model.optimizer_args": "{}",
    "model.lr": "1.0e-3",
    "model.scheduler": "CosineAnnealingLR",
    "model.scheduler_args": "{}",
}
"""Adam with a cosine schedule, for networks without norms, which SGD with a rate of 0.1 does not train."""


def shortened(epochs: int, train_fraction: float = 1.0, recipe: Mapping[str, str] | None = None) -> dict[str, str]:
    """The recipe of He et al. 2015 for fewer epochs and images, with the steps of the rate at the same shares.

    All training images are trained on, none are held out.

    Args:
        epochs: the number of epochs.
        train_fraction: the share of the training images.
        recipe: options that replace those of the recipe, such as ``ADAM``.
    """
    return {
        **_SGD,
        "data.val_split": "0",
        "data.train_fraction": str(train_fraction),
        "model.scheduler": "MultiStepLR",
        "model.scheduler_args": "{milestones: [0.5, 0.75], gamma: 0.1}",
        "trainer.max_epochs": str(epochs),
        **(recipe or {}),
    }


def smoke(epochs: int = 2) -> dict[str, str]:
    """The shortened recipe for the digits."""
    return {**shortened(epochs), "data.batch_size": "64"}


SMOKE_NOTE = (
    "A few epochs of digits in place of the source's training on CIFAR-10: this shows that the study runs, not what it "
    "finds."
)

QUICK_IMAGES = 0.2
"""The share of the training images of CIFAR-10 in quick budgets: 10,000."""


def quick_note(epochs: int) -> str:
    """Returns what differs in a quick budget on CIFAR-10, for its page."""
    return (
        f"{epochs} epochs of 10,000 training images ({epochs * 78:,} steps) in place of 64,000 steps on 45,000 images. "
        "The learning rate falls after half and three quarters of them, as in the source. There is no warm-up. The "
        "mean of each channel is subtracted, not that of each pixel."
    )


PAPER_NOTE = (
    "The recipe is that of the source, save that the mean of each channel is subtracted, not that of each pixel."
)
