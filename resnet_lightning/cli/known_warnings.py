"""Hides warnings of other libraries that appear in correct runs."""

import logging
import warnings

# The beginning of each message, as a regular expression, and the reason to ignore it.
KNOWN_WARNINGS = {
    r"LightningCLI's args parameter is intended to run": "main() passes the arguments on purpose",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated": "Lightning calls it, this package does not",
    r"Experiment logs directory .* exists and is not empty": "a resumed run continues in its own folder",
    r"Checkpoint directory .* exists and is not empty": "a resumed run continues in its own folder",
    r"Be aware that when using `ckpt_path`, callbacks used to create": "a test needs no ModelCheckpoint",
    r".*your dataloader is not resumable": "the package's loaders are: they get the step to start at",
    r"You're using the WeightAveraging callback with a model that overrides": (
        "configure_model only acts on sharded models, which config_checks.py does not allow with an average"
    ),
    r"`\.fit\(ckpt_path=None\)` was called without a model": "with OnExceptionCheckpoint, Lightning looks for its file",
    r"\.fit\(ckpt_path=\"last\"\) is set, but there is no last checkpoint": "checkpoint_checks.py makes sure of that",
    r"Found \d+ module\(s\) in eval mode at the start of training": "frozen stages stay in eval mode",
    r"Total length of `list` across ranks is zero": "with data.val_split 0 there are no validation images",
    r"The number of training batches .* is smaller than the logging interval Trainer": "metrics are logged by epoch",
    r"You passed in a `val_dataloader` but have no `validation_step`": "a module need not validate",
    r"ReduceLROnPlateau conditioned on metric val/loss which is not available but strict": (
        "with check_val_every_n_epoch null, an epoch may end before the first validation"
    ),
    r"You defined a `validation_step` but have no `val_dataloader`": "a module need not validate",
}


def silence_known_warnings() -> None:
    """Hides the known warnings, and what Lightning logs below the level of a warning."""
    for name in "lightning.pytorch", "lightning.fabric":
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
