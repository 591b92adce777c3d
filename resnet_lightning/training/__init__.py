"""Training a backbone with Lightning: the module, its callbacks, and what a run checks before it starts."""

from .classifier import ImageClassifier

__all__ = ["ImageClassifier"]
