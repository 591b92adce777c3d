"""The parts of my_project. A config names each of them by its dotted path, such as ``my_project.losses.FocalLoss``."""
