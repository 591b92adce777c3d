"""Saves and restores the states of all random number generators of a process."""

import random
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """Returns the states of the generators of torch, NumPy and Python, as plain values and tensors.

    Args:
        device: the state of its generator is included if it is a CUDA device.
    """
    kind, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),  # plain values, which torch.load(weights_only=True) accepts
        "python": random.getstate(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restores what ``random_states`` returned."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
