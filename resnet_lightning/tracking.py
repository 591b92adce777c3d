"""Weights & Biases without surprises."""

import os


def wandb_is_usable() -> bool:
    """Whether W&B can be written to without asking: someone is logged in, or ``WANDB_MODE`` already has the say."""
    if "WANDB_MODE" in os.environ:
        return True
    import wandb

    return wandb.login(prompt=False)
