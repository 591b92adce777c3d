"""Warnings of the libraries below that appear in correct runs, and that the command line does not show."""

import logging
import warnings

# The beginning of each message, as a regular expression, and why it needs no attention.
KNOWN_WARNINGS = {
    r"LightningCLI's args parameter is intended to run": "main() passes the arguments on; nothing is given twice",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated": "Lightning calls this function of torch, we do not",
    r"Experiment logs directory .* exists and is not empty": "a resumed run continues in its own folder",
    r"Checkpoint directory .* exists and is not empty": "a resumed run continues in its own folder",
    r"Be aware that when using `ckpt_path`, callbacks used to create": "a test needs no ModelCheckpoint",
    r".*your dataloader is not resumable": "our loader is: it is given the step to start at",
    r"You're using the WeightAveraging callback with a model that overrides": (
        "configure_model only acts on sharded models, which config_checks.py does not allow with an average"
    ),
    r"Found \d+ module\(s\) in eval mode at the start of training": "frozen stages stay in eval mode",
    r"Total length of `list` across ranks is zero": "with data.val_split 0 there are no validation images",
    r"The number of training batches .* is smaller than the logging interval Trainer": "we log by the epoch",
}


def silence_known_warnings() -> None:
    """Hides the known warnings, and what Lightning logs below the level of a warning."""
    for name in "lightning.pytorch", "lightning.fabric":
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
