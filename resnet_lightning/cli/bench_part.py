"""Runs one part of ``lightning bench all``, in the process that is started for it."""

import sys
from pathlib import Path

import torch

from ..bench.suite import run_part
from ..bench.work import Work
from .main import main

if __name__ == "__main__":
    name, root = sys.argv[1:]
    run_part(name, Work(main, Path(root), torch.cuda.is_available()))
