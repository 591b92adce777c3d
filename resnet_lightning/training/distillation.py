"""Knowledge distillation: a network also learns the class probabilities of a trained one (Hinton et al. 2015)."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from lightning import Trainer
from torch import Tensor
from torch.nn import functional as F

from ..build import build, importable_from, option_names
from ..checkpoint_file import read_checkpoint
from ..data import ImageDataModule
from ..errors import InputError, did_you_mean
from ..trust import Trust, names_from_checkpoint
from .data_protocol import class_names

_DEFAULTS = {"temperature": 4.0, "alpha": 0.9}


@dataclass
class Distillation:
    """How the loss of the targets and that of the teacher are combined: ``(1 - alpha) * loss + alpha * soft loss``.

    Args:
        temperature: divides the logits of both networks; a higher one shows more of the smaller probabilities.
        alpha: the share of the soft loss.
        path: the checkpoint of the teacher; None if there is none, and the loss is that of the targets.
        teacher: loaded when training starts: an evaluation needs none.
    """

    temperature: float
    alpha: float
    path: str | None = None
    teacher: "Teacher | None" = None

    @classmethod
    def of(cls, teacher: str | None, options: Mapping[str, Any] | None) -> Self:
        """Reads the options in a config.

        Raises:
            InputError: if there is no such option, a value is out of range, or there is no teacher.
        """
        options = options or {}
        if teacher is None and options:
            raise InputError("model.teacher_args is given without model.teacher; give the path of a checkpoint")
        for name, value in options.items():
            if name not in _DEFAULTS:
                raise InputError(f"model.teacher_args has no {name!r}; {did_you_mean(name, _DEFAULTS)}")
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or not (value > 0 if name == "temperature" else 0 <= value <= 1):
                allowed = "a number above 0" if name == "temperature" else "a number from 0 to 1"
                raise InputError(f"model.teacher_args.{name} is {value!r}; give {allowed}")
        return cls(**{**_DEFAULTS, **options}, path=teacher)

    def soft_losses(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Returns, for each image, T^2 times the divergence of the student's from the teacher's probabilities, (B,).

        The factor keeps the size of the gradients as the temperature changes (Hinton et al. 2015, section 2).
        """
        dtype = torch.promote_types(logits.dtype, torch.float32)
        student, teacher = ((values.to(dtype) / self.temperature).log_softmax(1) for values in (logits, teacher_logits))
        return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1) * self.temperature**2

    def load(self, factory: type[Any], trust: Iterable[str] = ()) -> None:
        """Loads the teacher, if there is one; see ``Teacher.load``."""
        if self.path is not None and self.teacher is None:
            self.teacher = Teacher.load(self.path, factory, trust)

    def prepare(self, trainer: Trainer, hparams: Mapping[str, Any]) -> None:
        """Checks that the teacher fits the student and its data, and prepares the scaling of the images.

        Args:
            trainer: the trainer of the run.
            hparams: the options of the student.

        Raises:
            InputError: if it does not fit.
        """
        if self.teacher is None:
            return
        data = getattr(trainer, "datamodule", None)
        self.teacher.check(hparams["num_classes"], hparams["in_chans"], class_names(trainer), hparams["multilabel"])
        self.teacher.match(data.statistics() if isinstance(data, ImageDataModule) else None)

    def combine(
        self, losses: Tensor, weights: Tensor | None, logits: Tensor, images: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Returns the losses (B,) with the share of the teacher, if there is one.

        Args:
            losses: those of the targets, (B,), multiplied by the weights.
            weights: of the images, (B,); None if they are equal.
            logits: of the student, (B, num_classes).
            images: (B, C, H, W), normalized for the student.
            dtype: that of the student's weights.
        """
        if self.teacher is None:
            return losses
        soft = self.soft_losses(logits, self.teacher.logits(images, dtype))
        return (1 - self.alpha) * losses + self.alpha * (soft if weights is None else soft * weights)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Stores which file the teacher is."""
        if self.teacher is not None:
            checkpoint["teacher"] = {"path": self.teacher.path, "sha256": self.teacher.digest}

    def check_resumes(self, checkpoint: Mapping[str, Any]) -> None:
        """Checks that a resumed run has the teacher it began with; see ``Teacher.check_is_the_same``."""
        if self.teacher is not None:
            self.teacher.check_is_the_same(checkpoint.get("teacher"))


class Teacher:
    """A trained network in eval mode, whose weights are neither trained nor stored.

    It is no ``Module``, so it belongs to no optimizer, checkpoint, moving average or wrapper of DDP. It computes in the
    precision of the student's weights, and gets the images as it was trained on: if its mean and deviation are others
    than the student's, the images are scaled.

    Args:
        path: the checkpoint.
        digest: the SHA-256 of the file.
        model: the ``ImageClassifier``.
        class_names: of its data; none if they are unknown.
        statistics: mean and standard deviation of its data for pixels in [0, 1]; None if they are unknown.
    """

    def __init__(
        self,
        path: str,
        digest: str,
        model: Any,
        class_names: Sequence[str],
        statistics: tuple[Tensor, Tensor] | None,
    ) -> None:
        self.path = path
        self.digest = digest
        self.model = model.requires_grad_(False).eval()
        self.class_names = tuple(class_names)
        self._statistics = statistics
        self._scale: tuple[Tensor, Tensor] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Returns itself: a moving average copies the student."""
        return self

    @classmethod
    def load(cls, path: str, factory: type[Any], trust: Iterable[str] = ()) -> Self:
        """Builds the network of a checkpoint of ``lightning fit``; its names run no code that is not trusted.

        Args:
            path: the file.
            factory: ``ImageClassifier``.
            trust: see ``trust.py``.

        Raises:
            InputError: if the file is missing, damaged or no such checkpoint.
        """
        if not Path(path).is_file():
            raise InputError(f"model.teacher is {path!r}, and there is no such file; give the path of a checkpoint")
        checkpoint = read_checkpoint(path)
        hparams, weights = checkpoint.get("hyper_parameters"), checkpoint.get("state_dict")
        if not isinstance(hparams, Mapping) or not isinstance(weights, dict) or "backbone" not in hparams:
            raise InputError(f"model.teacher is {path!r}, which is not a checkpoint of `lightning fit`; give one")
        options = {name: value for name, value in hparams.items() if name in option_names(factory)}
        with importable_from(["."]), names_from_checkpoint(Trust(trust)):
            model = build(f"teacher {path!r}", factory, **{**options, "compile": False})
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"model.teacher is {path!r}, whose weights do not fit its options; give another"
            ) from error
        run = checkpoint.get("run")
        data: Mapping[str, Any] = run.get("data", {}) if isinstance(run, Mapping) else {}
        statistics = None
        if {"mean", "std"} <= data.keys():
            statistics = torch.tensor(data["mean"]).float(), torch.tensor(data["std"]).float()
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return cls(path, digest, model, data.get("class_names", ()), statistics)

    def check(self, num_classes: int, in_chans: int, class_names: Sequence[str], multilabel: bool) -> None:
        """Checks that the teacher knows the student's classes and images.

        Raises:
            InputError: if it does not.
        """
        hparams = self.model.hparams
        if multilabel or hparams.get("multilabel"):
            raise InputError(
                "model.teacher teaches the probabilities of one label an image; leave it out with model.multilabel"
            )
        if class_names and self.class_names and tuple(class_names) != self.class_names:
            theirs, ours = (", ".join(map(str, names)) for names in (self.class_names, class_names))
            raise InputError(
                f"model.teacher is {self.path!r}, which knows the classes {theirs}, but this data has {ours}; give a "
                "teacher of the same classes in the same order"
            )
        for name, number in (("num_classes", num_classes), ("in_chans", in_chans)):
            if hparams[name] != number:
                raise InputError(
                    f"model.teacher is {self.path!r} with {name} {hparams[name]}, but this model has {number}; give a "
                    "teacher that was trained on the same classes and kind of images"
                )

    def check_is_the_same(self, stored: Any) -> None:
        """Checks that a resumed run has the teacher it began with: its file may have been overwritten.

        Args:
            stored: what the checkpoint stores of its teacher; None if it had none.

        Raises:
            InputError: if the same path holds another file. Another path is the user's choice.
        """
        if isinstance(stored, Mapping) and stored.get("path") == self.path and stored.get("sha256") != self.digest:
            raise InputError(
                f"model.teacher is {self.path!r}, which has changed since the checkpoint was written, so the run "
                "cannot resume exactly; bring back the old file, or start a new run"
            )

    def match(self, statistics: tuple[Tensor, Tensor] | None) -> None:
        """Prepares the scaling from the student's images to the teacher's.

        Args:
            statistics: mean and standard deviation of the student's data; None if they are unknown.
        """
        self._scale = None
        if statistics is None or self._statistics is None:
            return
        (mean, std), (own_mean, own_std) = ([v.double().cpu() for v in pair] for pair in (statistics, self._statistics))
        factor, shift = std / own_std, (mean - own_mean) / own_std
        if not (torch.equal(mean, own_mean) and torch.equal(std, own_std)):
            self._scale = factor.float().view(-1, 1, 1), shift.float().view(-1, 1, 1)

    @torch.no_grad()
    def logits(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns logits (B, num_classes) of the student's normalized images (B, C, H, W).

        Args:
            images: (B, C, H, W).
            dtype: that of the student's weights.
        """
        self.model.to(images.device, dtype)
        if self._scale is not None:
            factor, shift = (part.to(images.device) for part in self._scale)
            images = images * factor.to(images.dtype) + shift.to(images.dtype)
        logits: Tensor = self.model.one_view(images)
        return logits
