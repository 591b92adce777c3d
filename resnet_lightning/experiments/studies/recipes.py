"""The recipes of the papers as options of ``lightning fit``, in full length and shortened."""

HE_2015 = {
    "data.batch_size": "128",
    "data.val_split": "0.1",
    "model.optimizer": "SGD",
    "model.optimizer_args": "{momentum: 0.9, weight_decay: 1.0e-4}",
    "model.lr": "0.1",
    "model.scheduler": "MultiStepLR",
    "model.scheduler_args": "{milestones: [32000, 48000], gamma: 0.1}",
    "trainer.max_steps": "64000",
}
"""He et al. 2015, section 4.2."""


def shortened(epochs: int, train_fraction: float = 1.0) -> dict[str, str]:
    """The recipe of He et al. 2015 for fewer epochs and images, with the steps of the rate at the same shares.

    All training images are trained on, none are held out.

    Args:
        epochs: the number of epochs.
        train_fraction: the share of the training images.
    """
    return {
        **HE_2015,
        "data.val_split": "0",
        "data.train_fraction": str(train_fraction),
        "model.scheduler_args": "{milestones: [0.5, 0.75], gamma: 0.1}",
        "trainer.max_steps": "-1",
        "trainer.max_epochs": str(epochs),
    }
