"""Training a backbone with Lightning: the module, its callbacks, and the checks before a run starts."""

from .classifier import ImageClassifier

__all__ = ["ImageClassifier"]
