"""The LightningModule that trains any backbone to classify images."""

import logging
import math
import os
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, Literal, Self

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelPruning, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..errors import InputError
from ..trust import Trust, current_trust, names_from_checkpoint
from .backbones import make_backbone
from .batches import images_and_targets, images_of
from .calibration import KEY, Calibration
from .classifier_checkpoint import check_checkpoint, stored_options
from .configured_metrics import ConfiguredMetrics
from .data_protocol import class_names
from .distillation import Distillation
from .fast_step import FastStep
from .finetuning import frozen_of, has_finetuning, restore_frozen, save_frozen, step_schedule, unfreeze_head
from .fsdp import broadcast_buffers, shard
from .length import has_validated_in_epoch, optimizer_steps
from .loader_metrics import LoaderMetrics
from .losses import BALANCED, ClassifierLoss, balanced_weights
from .lr_factors import find_factors, freeze
from .metrics import EpochMetrics
from .multilabel import NEUTRAL, LabelScores, balanced_positive_weights, best_thresholds, check_thresholds
from .optim import (
    check_schedule_length,
    continue_schedule,
    make_optimizer,
    make_scheduler,
    parameter_groups,
)
from .optimizer_modes import OptimizerModes, has_modes
from .state_checks import malformed
from .unfreezing import Unfreezing, check_trainer, wrap_again
from .value_ranges import MAX_RATE, Range, check_range, check_rates, check_truth_value
from .views import ViewName, check_views, mean_logits

_log = logging.getLogger(__name__)


class ImageClassifier(LightningModule):
    """Trains a backbone to classify images: (B, C, H, W) -> logits (B, num_classes).

    Targets are labels (B,) or, for mixed images, class probabilities (B, num_classes). With ``multilabel``, they are
    (B, num_classes), 1 for each label of an image.

    Every argument is a plain value. A checkpoint therefore holds all that is needed to build the module again:
    ``ImageClassifier.load_from_checkpoint(path)`` takes no other argument.

    Args:
        backbone: a name from ``list_models()``, or the dotted path of any callable that returns a module, such as
            ``torchvision.models.alexnet``. In Python, it may also be a module. Its checkpoint must then be loaded
            with that module: ``load_from_checkpoint(path, backbone=model)``.
        num_classes: the size of the logits.
        in_chans: the number of image channels.
        backbone_args: further arguments of the backbone, such as ``{stem: cifar}``. For fine-tuning, give
            ``pretrained`` (a path) and ``frozen_stages``. See ``create_model``. A function that has no such arguments
            gets them too; see ``freeze_first_stages`` for what its stages are.
        loss: a class of ``torch.nn``, or the dotted path of a class or of a function of logits and targets; None is
            ``CrossEntropyLoss``. In Python, it may also be a module or function, which loading a checkpoint then needs
            again. See ``LossAdapter`` for what a loss has to take and return. Its parameters are trained.
        loss_args: its arguments.
        class_weights: how much the loss of an image counts, by class; ``balanced`` counts all classes equally, with
            weights in inverse proportion to their number of training images. The mean is a weighted one.
        metrics: further metrics of validation and test, by the name under which they are logged: the name of a class of
            ``torchmetrics``, the dotted path of a ``torchmetrics.Metric``, or ``{class_path: ..., init_args: ...}``. A
            metric with a value for each class is logged as ``val/NAME/CLASS``. See ``ConfiguredMetrics``.
        lr: the learning rate; with a schedule, its peak.
        lr_factors: factors of the learning rate by shell pattern of the backbone's parameter names, such as
            ``{"fc.*": 10, "layer1.*": 0.1}``. The most specific pattern counts: the one with the most characters that
            are not wildcards. 0 freezes parameters, and the running statistics that belong to them.
        unfreeze: for fine-tuning: which stages are trained from which epoch, counted from 0, such as
            ``{5: layer4, 10: layer3}``. Until then, and in stages that are not named, nothing changes; the head is
            trained from the beginning. None trains all. See ``Unfreezing``.
        multilabel: whether an image may have several labels, or none. The network then predicts the probability of each
            label by itself: the loss is ``BCEWithLogitsLoss``, of which ``class_weights`` are the ``pos_weight``; the
            accuracy is the share of images of which all labels are right; ``mAP`` and ``f1`` are logged too.
        thresholds: the probability above which such a label is predicted, one number or one for each label. By default,
            every validation chooses those with the largest F1 of each label; a checkpoint has them.
        teacher: the checkpoint of a trained network, whose class probabilities are learned too (knowledge distillation,
            Hinton et al. 2015). It sees the same augmented images, and is stored in no checkpoint. Validation and test
            compute the plain loss.
        teacher_args: the ``temperature`` of the probabilities (4 by default), and ``alpha``, the share of this soft
            loss (0.9 by default): the loss is ``(1 - alpha) * loss + alpha * soft loss``.
        test_views: the logits of validation, test, prediction and exported programs are the mean over several views of
            an image: ``mirror`` (two, so an evaluation takes twice as long) or ``mirror_and_shift`` (six). See
            ``mean_logits``. ``explain`` and exported weights use the image alone.
        optimizer: a class of ``torch.optim``, or a dotted path. If it has ``train()`` and ``eval()``, as schedule-free
            optimizers do, it is in eval mode for evaluations and in checkpoints.
        optimizer_args: its other arguments. Weight decay is not applied to norms and biases. Where ``fused`` and
            ``foreach`` are left out, the optimizer is fused if that is possible and faster; see ``can_fuse``.
        decay_norms_and_biases: apply the weight decay to them too, as He et al. 2015 did.
        scheduler: a class of ``torch.optim.lr_scheduler``, or a dotted path. It is stepped after every optimizer step
            and sized to the run's length. None keeps the learning rate constant.
        scheduler_args: its other arguments. Milestones below 1 are fractions of the run.
        label_smoothing: the fraction of the target that is spread over all classes (Szegedy et al. 2016, section 7). It
            applies to training; validation and test compute the loss without it.
        channels_last: use the channels_last memory format. ``auto`` uses it where it is faster, which depends on the
            device, the precision and the size of the maps; see ``wants_channels_last``.
        compile: compile the backbone with ``torch.compile``. ``reduce-overhead``, its mode of that name, replays a step
            from CUDA graphs: on a GPU, small networks are several times faster. ``auto`` compiles for a training in
            which it pays back; see ``why_not_compiled``.

    Raises:
        InputError: if a name is unknown, or an option or its value is not accepted.
    """

    def __init__(
        self,
        backbone: str | Any = "resnet18",  # or a module; with that type, --help would list every module of torch
        num_classes: int = 10,
        in_chans: int = 3,
        backbone_args: dict[str, Any] | None = None,
        lr: float = 0.1,
        optimizer: str = "SGD",
        optimizer_args: dict[str, Any] | None = None,
        scheduler: str | None = "OneCycleLR",
        scheduler_args: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
        channels_last: bool | Literal["auto"] = "auto",
        compile: bool | Literal["auto", "reduce-overhead"] = False,
        loss: str | Any | None = None,  # or a module or function
        loss_args: dict[str, Any] | None = None,
        class_weights: list[float] | Literal["balanced"] | None = None,
        metrics: dict[str, str | dict[str, Any]] | None = None,
        lr_factors: dict[str, float] | None = None,
        decay_norms_and_biases: bool = False,
        unfreeze: dict[int, str | list[str]] | None = None,
        multilabel: bool = False,
        thresholds: float | list[float] | None = None,
        teacher: str | None = None,
        teacher_args: dict[str, float] | None = None,
        test_views: ViewName | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"model.num_classes is {num_classes}; a classifier needs at least 2")
        check_range("model.lr", lr, Range(0, MAX_RATE, open_low=True))
        self._fast_step = FastStep(channels_last, compile)
        check_truth_value("model.decay_norms_and_biases", decay_norms_and_biases)
        if not 0 <= label_smoothing < 1:
            raise InputError(f"model.label_smoothing is {label_smoothing}; give a number from 0 up to 1")
        check_views(test_views)
        self.test_views = test_views
        hparams = stored_options(locals())
        self._distillation = Distillation.of(teacher, teacher_args)
        # Without arguments, `save_hyperparameters()` stores the parser's config under LightningCLI, not these values.
        self.save_hyperparameters(hparams)

        self.backbone, self._frozen = make_backbone(backbone, num_classes, in_chans, backbone_args or {})
        self._lr_factors = find_factors(self.backbone, lr_factors or {})
        self._frozen += freeze(self.backbone, self._lr_factors)
        self._unfreezing = None if unfreeze is None else Unfreezing(self.backbone, unfreeze)
        loss = loss or ("BCEWithLogitsLoss" if multilabel else "CrossEntropyLoss")
        self.loss = ClassifierLoss(loss, loss_args or {}, num_classes, label_smoothing, multilabel)
        self.multilabel = multilabel
        if thresholds is not None and not multilabel:
            raise InputError("model.thresholds is given, but each image has one label; leave it out")
        self._chooses_thresholds = multilabel and thresholds is None
        given = [NEUTRAL] * num_classes if thresholds is None else check_thresholds(thresholds, num_classes)
        # Not a buffer: a moving average of the model would average them. Checkpoints have them as a hyperparameter.
        self.thresholds = torch.tensor(given)
        if class_weights is not None and class_weights != BALANCED:
            self.loss.set_class_weights(class_weights)
        elif class_weights == BALANCED:
            self.loss.check_can_be_weighted()
        self._fast_step.arrange(self.backbone)
        self.lr = lr  # Lightning's learning-rate finder reads and sets it
        self._is_balanced = class_weights == BALANCED
        self._lr_before = lr  # the learning rate in the checkpoint that is resumed
        self._schedule_fits: tuple[float, float] = (lr, 0)  # the learning rate and the steps that it was built for
        self._modes = OptimizerModes()
        self._is_fine_tuned = False  # by a callback; known once the trainer is
        self._frozen_by_callbacks: dict[str, Any] = {}  # in the checkpoint that is resumed
        self._trust: Trust | None = current_trust()
        if self._trust is None:
            # Built and discarded, so that a wrong option raises an error here and not when training starts. From a
            # checkpoint, they are built when training starts: an evaluation needs none.
            check_rates(*self._make_dummy_optimizer(total_steps=1000))

        self.train_metrics = EpochMetrics(thresholds=self.thresholds if multilabel else None)
        self.val_metrics, self.test_metrics = (
            EpochMetrics(
                top_5=num_classes >= 10 and not multilabel,
                configured=ConfiguredMetrics(metrics or {}, num_classes, multilabel),
                thresholds=self.thresholds if multilabel else None,
                labels=LabelScores() if multilabel else None,
            )
            for _ in ("val", "test")
        )
        self.loader_metrics = LoaderMetrics()
        self.calibration: Calibration | None = None  # of a checkpoint of `lightning calibrate`

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, trust: Iterable[str] = (), **kwargs: Any) -> Self:
        """Builds the module from a checkpoint; see ``LightningModule.load_from_checkpoint`` for the arguments.

        Args:
            checkpoint_path: the file.
            args: see Lightning.
            trust: the packages, modules or full names whose code the checkpoint may run; see ``trust.py`` for those
                that it may run anyway.
            kwargs: see Lightning. Values given here replace those of the checkpoint.

        Raises:
            InputError: if the file is missing or damaged, or names code that is not trusted.
        """
        kwargs.setdefault("weights_only", True)
        with names_from_checkpoint(Trust(trust, kwargs.values())):
            if isinstance(checkpoint_path, str | os.PathLike) and "://" not in str(checkpoint_path):
                check_checkpoint(checkpoint_path, kwargs["weights_only"])
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) to logits (B, num_classes); outside of training, the mean over test views."""
        if self.test_views is None or self.training:
            return self.one_view(images)
        return mean_logits(self.one_view, images, self.test_views)

    def one_view(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) to the logits (B, num_classes) of these images alone."""
        images = images.to(self.dtype)  # with precision bf16-true, the weights are bfloat16
        return self._fast_step.run(self.backbone, images)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all modules, except that frozen running statistics stay as they are."""
        super().train(mode)
        for module in (*self._frozen, *(self._unfreezing.frozen if self._unfreezing else ())):
            module.eval()
        return self

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = images_and_targets(batch)
        logits = self._logits(images)
        losses, weights = self.loss(logits, targets, training=True)
        losses = self._distillation.combine(losses, weights, logits, images, next(self.backbone.parameters()).dtype)
        self.train_metrics.update(losses.detach(), logits.detach(), targets, weights)
        return losses.mean() if weights is None else losses.sum() / weights.sum()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, self.loader_metrics.of("val", self.val_metrics, dataloader_idx))

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Returns the logits (B, num_classes), for callbacks."""
        return self._evaluate(batch, self.loader_metrics.of("test", self.test_metrics, dataloader_idx))

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Returns class probabilities (B, num_classes), float32. The batch may be images alone."""
        return self.to_probabilities(self(images_of(batch)))

    def to_probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, num_classes) to the probability of each class, float32; with several labels, of each by itself.

        The logits of a calibrated model are divided by its temperature.
        """
        return logits.float().sigmoid() if self.multilabel else self._calibrated(logits.float()).softmax(dim=1)

    def _calibrated(self, logits: Tensor) -> Tensor:
        return logits if self.calibration is None else logits / self.calibration.temperature

    def _choose_thresholds(self, probabilities: Tensor, targets: Tensor) -> None:
        """Chooses the thresholds on the validation images of a training, and stores them for checkpoints."""
        self._set_thresholds(best_thresholds(probabilities, targets))

    def _set_thresholds(self, thresholds: list[float]) -> None:
        self.thresholds = torch.tensor(thresholds)
        self.hparams["thresholds"] = thresholds
        for module in self.modules():
            if isinstance(module, EpochMetrics):
                module.thresholds = self.thresholds

    def _logits(self, images: Tensor) -> Tensor:
        """Returns the logits (B, num_classes), after a check that the backbone returns such."""
        logits = self(images)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(
                f"the backbone {self.hparams.get('backbone', '')!r} returned {found} for {len(images)} images; a "
                f"classifier needs logits ({len(images)}, {self.hparams['num_classes']}), in training too"
            )
        if logits.shape[1] != self.hparams["num_classes"]:
            raise InputError(
                f"the backbone {self.hparams.get('backbone', '')!r} returned {logits.shape[1]} logits for each image, "
                f"but there are {self.hparams['num_classes']} classes; its argument num_classes gives their number"
            )
        return logits

    def _evaluate(self, batch: Any, metrics: EpochMetrics) -> Tensor:
        """Adds a batch to the metrics, and returns its logits (B, num_classes)."""
        images, targets = images_and_targets(batch)
        logits = self._logits(images)  # in the last step, a process may have no images
        losses, weights = self.loss(logits, targets)
        metrics.update(losses, self._calibrated(logits), targets, weights)
        return logits

    def on_validation_epoch_start(self) -> None:
        self.loader_metrics.start("val", self.val_metrics, self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        self.loader_metrics.start("test", self.test_metrics, self.trainer.test_dataloaders)

    def on_train_epoch_end(self) -> None:
        self.log_dict({f"train/{name}": metric for name, metric in self.train_metrics.by_name().items()})

    def on_validation_epoch_end(self) -> None:
        self._log("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        self._log("test", self.test_metrics)

    def _log(self, stage: str, metrics: EpochMetrics) -> None:
        self.log_dict(self.loader_metrics.by_name(stage, metrics), add_dataloader_idx=False)
        trains = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        choose = self._choose_thresholds if self._chooses_thresholds and trains and stage == "val" else None
        values = self.loader_metrics.compute_configured(stage, metrics, class_names(self.trainer), choose)
        # These are the values over all processes. Lightning would warn without sync_dist.
        self.log_dict(values, add_dataloader_idx=False, sync_dist=True)

    def configure_model(self) -> None:
        if self.device_mesh is not None:  # set by ModelParallelStrategy
            shard(self.backbone, self.device_mesh)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            # A checkpoint has the choice, so that the loaded model computes bitwise the same logits.
            self.hparams["channels_last"] = self._fast_step.choose_format(self.backbone, self.trainer)
            self._modes = OptimizerModes()
            if self._is_balanced:
                self._balance()
            self.load_teacher()
            self._distillation.prepare(self.trainer, self.hparams)

    def load_teacher(self, trust: Iterable[str] = ()) -> None:
        """Loads the teacher, if there is one.

        Args:
            trust: the packages, modules or full names whose code its checkpoint may run; see ``trust.py``.

        Raises:
            InputError: if its file cannot be read, or names code that is not trusted.
        """
        trusted = self._trust.names if self._trust else ()
        self._distillation.load(ImageClassifier, {*trust, *trusted})

    def _balance(self) -> None:
        """Computes balanced class weights, and stores them for checkpoints."""
        balance = balanced_positive_weights if self.multilabel else balanced_weights
        weights = balance(getattr(self.trainer, "datamodule", None), class_names(self.trainer))
        self.loss.set_class_weights(weights)
        self.hparams["class_weights"] = weights

    def on_validation_start(self) -> None:
        self._start_evaluation()
        if self.device_mesh is not None:
            broadcast_buffers(self.backbone)

    def on_test_start(self) -> None:
        self._start_evaluation()

    def _start_evaluation(self) -> None:
        self._modes.eval(self.trainer)
        if self._is_balanced and self.loss.class_weights is None:  # neither trained nor loaded
            self._balance()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._modes.train(self.trainer)

    def on_train_end(self) -> None:
        self._modes.eval(self.trainer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if isinstance(self.trainer.strategy, FSDPStrategy):
            raise InputError(
                "FSDP1 flattens the weights, so that weight decay cannot spare norms and biases; use FSDP2, as in "
                "configs/overlays/fsdp.yaml"
            )
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        prunes = any(isinstance(callback, ModelPruning) for callback in callbacks)
        if prunes and self._fast_step.is_channels_last:
            raise InputError(
                "ModelPruning cannot prune weights in the channels_last memory format; set model.channels_last to false"
            )
        self._is_fine_tuned = has_finetuning(self.trainer)
        unfreeze_head(self.trainer, self.backbone)
        total_steps = optimizer_steps(self.trainer)
        check_schedule_length(self.hparams["scheduler"], self.hparams["scheduler_args"] or {}, total_steps)
        if self.hparams["scheduler"] and not math.isfinite(total_steps):
            raise InputError("the schedule needs the length of the run, which is unlimited; give --trainer.max_epochs")
        self._fast_step.choose_optimizer(self.trainer, self, self.hparams["optimizer"], self._optimizer_args)
        optimizer, scheduler = self._make_optimizer(self._parameter_groups(), total_steps)
        self._schedule_fits = self.lr, total_steps
        if has_modes(optimizer) and any(isinstance(callback, WeightAveraging) for callback in callbacks):
            raise InputError(
                f"optimizer {self.hparams['optimizer']!r} averages the weights itself; leave out the moving average"
            )
        if scheduler is None:
            return optimizer
        if isinstance(scheduler, ReduceLROnPlateau):
            epochs = self.trainer.check_val_every_n_epoch
            return {
                "optimizer": optimizer,
                "lr_scheduler": {
                    "scheduler": scheduler,
                    "monitor": "val/loss",
                    "frequency": epochs or 1,
                    "strict": epochs is not None,  # without, an epoch may end before the first validation
                },
            }
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _make_optimizer(self, groups: list[dict[str, Any]], total_steps: float) -> tuple[Optimizer, LRScheduler | None]:
        hparams = self.hparams
        with names_from_checkpoint(self._trust):
            settings = self._fast_step.optimizer_options(self._optimizer_args)
            optimizer = make_optimizer(hparams["optimizer"], groups, self.lr, settings)
            if hparams["scheduler"] is None:
                return optimizer, None
            options = hparams["scheduler_args"] or {}
            return optimizer, make_scheduler(hparams["scheduler"], optimizer, int(total_steps), options)

    @property
    def _optimizer_args(self) -> dict[str, Any]:
        return self.hparams["optimizer_args"] or {}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        trained = nn.ModuleDict({"backbone": self.backbone, "loss": self.loss})
        factors = {f"backbone.{name}": factor for name, factor in self._lr_factors.items()}
        with self._unfreezing.all_that_will_be_trained() if self._unfreezing else nullcontext():
            return parameter_groups(trained, factors, decay_all=self.hparams["decay_norms_and_biases"])

    def _make_dummy_optimizer(self, total_steps: float) -> tuple[Optimizer, LRScheduler | None]:
        """Returns the configured optimizer and schedule for parameters that belong to no model, one in each group."""
        groups = [{**group, "params": [nn.Parameter(torch.zeros(1))]} for group in self._parameter_groups()]
        return self._make_optimizer(groups, total_steps)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        if metric is not None and not has_validated_in_epoch(self.trainer):
            return  # the metric is that of an earlier epoch
        step_schedule(scheduler, lambda: super(ImageClassifier, self).lr_scheduler_step(scheduler, metric))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._modes.is_used:
            self._modes.save(self.trainer, checkpoint)
        if self.calibration is not None:
            checkpoint[KEY] = self.calibration.as_dict()
        self._distillation.save(checkpoint)
        self._fast_step.save(checkpoint)
        if self._is_fine_tuned:
            save_frozen(self.trainer, self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._modes.load(checkpoint)
        self.calibration = Calibration.of_checkpoint(checkpoint)
        self._distillation.check_resumes(checkpoint)
        self._fast_step.load(checkpoint)
        self._frozen_by_callbacks = frozen_of(checkpoint)
        weights = checkpoint.get("hyper_parameters", {}).get("class_weights")
        if self._is_balanced and self.loss.class_weights is None and weights not in (None, BALANCED):
            self.loss.set_class_weights(weights)  # the training images may be on another machine
            self.hparams["class_weights"] = weights
        thresholds = checkpoint.get("hyper_parameters", {}).get("thresholds")
        if self._chooses_thresholds and thresholds is not None:
            self._set_thresholds(check_thresholds(thresholds, self.hparams["num_classes"]))
        self._lr_before = checkpoint.get("hyper_parameters", {}).get("lr", self.lr)
        if self._lr_before not in Range(0, MAX_RATE, open_low=True):
            raise malformed("learning rate", f" is {self._lr_before!r}")

    def check_unfreezing(self, trainer: Trainer, total_steps: float = math.inf) -> None:
        """Checks that a trainer can train by the schedule of ``unfreeze``; see ``check_trainer``."""
        if self._unfreezing:
            check_trainer(self._unfreezing, trainer, total_steps)

    def on_train_epoch_start(self) -> None:
        self._unfreeze()

    def _unfreeze(self) -> None:
        """Freezes and unfreezes the stages for the current epoch."""
        if self._unfreezing and self._unfreezing.set_epoch(self.trainer.current_epoch):
            self.train(self.training)
            if isinstance(self.trainer.strategy, DDPStrategy):
                wrap_again(self.trainer.strategy)
            if self.trainer.is_global_zero:
                _log.info("epoch %d: %s", self.trainer.current_epoch, self._unfreezing.in_words())

    def on_train_start(self) -> None:
        restore_frozen(self.trainer, self, self._frozen_by_callbacks)
        self._frozen_by_callbacks = {}
        self.check_unfreezing(self.trainer, optimizer_steps(self.trainer))
        self._unfreeze()  # a run that is resumed within an epoch does not start it
        if self.calibration is not None:
            self.calibration = None
            if self.trainer.is_global_zero:
                _log.warning(
                    "the checkpoint's temperature is left out, since other weights need another; run `lightning "
                    "calibrate` after the training"
                )
        self._fast_step.settle(self.trainer, self.backbone, self._optimizer_args)
        # When a run is resumed, the checkpoint determines the position in the schedule. The config determines the shape
        # of the schedule and the settings of the optimizer.
        steps, total_steps = self.trainer.global_step, optimizer_steps(self.trainer)
        if not steps and self._schedule_fits == (self.lr, total_steps):
            return
        if steps > total_steps:
            raise InputError(
                f"the checkpoint is at step {steps}, but this run ends at step {total_steps}; "
                "raise --trainer.max_epochs"
            )
        dummy, schedule = self._make_dummy_optimizer(total_steps)
        continue_schedule(self.trainer, dummy, schedule, self.lr / self._lr_before)
