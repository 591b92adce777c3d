"""Losses by name and path: their values, class weights, label smoothing and mixed targets."""

import numpy as np
import own_parts
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_lightning import Augmentation, DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.cli.main import main
from resnet_lightning.training.losses import ClassifierLoss
from small_trainings import Batches, linear, make_trainer

LOGITS = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 0, 0, 1, 1, 2, 0, 0, 3])
MIXED = torch.rand(12, 4, generator=torch.Generator().manual_seed(2)).softmax(1)
ONE_HOT = F.one_hot(LABELS, 4).float()


def mean(loss: ClassifierLoss, targets: torch.Tensor, training: bool = False) -> torch.Tensor:
    losses, weights = loss(LOGITS, targets, training)
    assert losses.shape == (12,)
    return losses.mean() if weights is None else losses.sum() / weights.sum()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("CrossEntropyLoss", {}, F.cross_entropy(LOGITS, LABELS)),
        ("torch.nn.CrossEntropyLoss", {}, F.cross_entropy(LOGITS, LABELS)),
        ("NLLLoss", {}, F.cross_entropy(LOGITS, LABELS)),
        ("torch.nn.functional.nll_loss", {}, F.cross_entropy(LOGITS, LABELS)),
        ("KLDivLoss", {}, F.cross_entropy(LOGITS, LABELS)),  # of one-hot vectors
        ("MultiMarginLoss", {"margin": 0.5}, F.multi_margin_loss(LOGITS, LABELS, margin=0.5)),
        ("BCEWithLogitsLoss", {}, F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT)),
        (
            "BCEWithLogitsLoss",
            {"pos_weight": [3, 1, 1, 2]},
            F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT, pos_weight=torch.tensor([3.0, 1, 1, 2])),
        ),
        ("MSELoss", {"reduction": "mean"}, F.mse_loss(LOGITS, ONE_HOT)),
        ("own_parts.focal", {"gamma": 1.0}, own_parts.focal(LOGITS, LABELS, 1.0).mean()),
        ("own_parts.Focal", {"gamma": 1.0}, own_parts.focal(LOGITS, LABELS, 1.0).mean()),
        ("own_parts.Scaled", {}, F.cross_entropy(LOGITS, LABELS)),
        ("torch.nn.functional.cross_entropy", {}, F.cross_entropy(LOGITS, LABELS)),
    ],
    ids=str,
)
def test_a_loss_is_found_and_computed_for_labels(name, options, expected):
    torch.testing.assert_close(mean(ClassifierLoss(name, options, 4, 0.0), LABELS), expected)


@pytest.mark.parametrize("loss", [own_parts.Focal(), own_parts.focal], ids=["module", "function"])
def test_in_python_a_loss_is_a_module_or_a_function(loss):
    torch.testing.assert_close(mean(ClassifierLoss(loss, {}, 4, 0.0), LABELS), own_parts.focal(LOGITS, LABELS).mean())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CrossEntropyLoss", F.cross_entropy(LOGITS, MIXED)),
        ("KLDivLoss", F.kl_div(LOGITS.log_softmax(1), MIXED, reduction="batchmean")),
        ("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits(LOGITS, MIXED)),
        ("own_parts.focal", own_parts.focal(LOGITS, MIXED).mean()),
        ("own_parts.Scaled", F.cross_entropy(LOGITS, MIXED)),
    ],
)
def test_mixed_targets(name, expected):
    torch.testing.assert_close(mean(ClassifierLoss(name, {}, 4, 0.0), MIXED), expected)


@pytest.mark.parametrize("name", ["MultiMarginLoss", "NLLLoss", "own_parts.labels_as_numbers"])
def test_a_loss_of_labels_rejects_mixed_targets(name):
    with pytest.raises(InputError, match=r"takes labels only, but mixup and cutmix give class probabilities; leave"):
        ClassifierLoss(name, {}, 4, 0.0)(LOGITS, MIXED)


def test_mixing_is_rejected_before_training_starts(in_an_empty_folder, capsys):
    options = ["--data", "DigitsDataModule", "--data.augment.mixup", "0.2", "--model.loss", "MultiMarginLoss"]
    assert main(["fit", *options, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]) != 0
    assert "loss 'MultiMarginLoss' takes labels only, but mixup and cutmix" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "smoothing", "words"),
    [
        ("CrossEntropy", {}, 0, "unknown loss 'CrossEntropy'; did you mean 'CrossEntropyLoss'"),
        ("own_parts.Fokal", {}, 0, "loss 'own_parts.Fokal' cannot be imported"),
        ("own_parts.Focal", {"gama": 1}, 0, "takes no option 'gama'; did you mean 'gamma'"),
        ("own_parts.focal", {"gama": 1}, 0, "takes no option 'gama'; did you mean 'gamma'"),
        ("CrossEntropyLoss", {"smoothing": 1}, 0, "takes no option 'smoothing'; did you mean 'label_smoothing'"),
        ("CrossEntropyLoss", {"weight": [1, 2, 3, 4]}, 0, "belong in model.class_weights, not in model.loss_args"),
        ("CrossEntropyLoss", {"label_smoothing": 0.1}, 0.1, "label_smoothing is in model.loss_args, and"),
        ("CrossEntropyLoss", {"label_smoothing": 2}, 0, "label_smoothing is 2; give a number from 0 up to 1"),
        ("MSELoss", {"reduction": "sum"}, 0, "is averaged over the images; leave reduction out of model.loss_args"),
        ("MultiMarginLoss", {}, 0.1, "takes labels only and cannot smooth them; leave out model.label_smoothing"),
        ("CTCLoss", {}, 0, "loss 'CTCLoss' cannot be computed from logits (5, 4) and labels (5,): TypeError"),
        ("own_parts.targets_first", {}, 0, "takes y_true before y_pred, but it is called with logits and targets"),
        ("own_parts.without_gradient", {}, 0, "its result has no gradient"),
        ("torch.nn.Identity", {}, 0, "loss 'torch.nn.Identity' cannot be computed from logits"),
        ("argparse.Namespace", {}, 0, "returned a Namespace, which cannot be called"),
    ],
)
def test_a_wrong_loss_is_named_in_one_line(name, options, smoothing, words):
    with pytest.raises(InputError) as error:
        ClassifierLoss(name, options, 4, smoothing)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# Label smoothing.


@pytest.mark.parametrize("options", [({}, 0.2), ({"label_smoothing": 0.2}, 0.0)], ids=["model", "loss_args"])
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "torch.nn.functional.cross_entropy", "own_parts.Scaled"])
def test_labels_are_smoothed_in_training_only(name, options):
    given, smoothing = options
    if name == "own_parts.Scaled" and given:
        pytest.skip("it has no such argument")
    loss = ClassifierLoss(name, given, 4, smoothing)
    torch.testing.assert_close(mean(loss, LABELS, training=True), F.cross_entropy(LOGITS, LABELS, label_smoothing=0.2))
    torch.testing.assert_close(mean(loss, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_the_smoothing_of_another_library_is_left_out_of_the_evaluation():
    pytest.importorskip("timm", reason="pip install timm")
    loss = ClassifierLoss("timm.loss.LabelSmoothingCrossEntropy", {}, 4, 0.0)  # smoothes by 0.1 if it is not told
    torch.testing.assert_close(mean(loss, LABELS, training=True), F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1))
    torch.testing.assert_close(mean(loss, LABELS), F.cross_entropy(LOGITS, LABELS))


# Class weights.

WEIGHTS = [1.0, 2.0, 0.5, 4.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("targets", [LABELS, MIXED], ids=["labels", "mixed"])
def test_weighted_cross_entropy_is_that_of_torch(targets, smoothing):
    loss = ClassifierLoss("CrossEntropyLoss", {}, 4, smoothing)
    loss.set_class_weights(WEIGHTS)
    expected = nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=smoothing)(LOGITS, targets)
    torch.testing.assert_close(mean(loss, targets, training=True), expected)


def test_any_loss_of_images_is_weighted():
    loss = ClassifierLoss("own_parts.focal", {}, 4, 0.0)
    loss.set_class_weights(WEIGHTS)
    of_image = torch.tensor(WEIGHTS)[LABELS]
    expected = (own_parts.focal(LOGITS, LABELS) * of_image).sum() / of_image.sum()
    torch.testing.assert_close(mean(loss, LABELS), expected)


@pytest.mark.parametrize(
    ("weights", "name", "words"),
    [
        ([1, 2], None, "model.class_weights is 2 numbers; give one number for each of the 10 classes, or balanced"),
        ("blanced", None, "model.class_weights is 'blanced'; give one number"),
        ([1] * 9 + [0], None, "model.class_weights contains 0; give positive, finite numbers"),
        ([1] * 9 + [float("nan")], None, "model.class_weights contains nan"),
        ("balanced", "own_parts.Scaled", "returns one number for the whole batch, which model.class_weights cannot"),
        ([1] * 10, "own_parts.Scaled", "returns one number for the whole batch, which model.class_weights cannot"),
    ],
)
def test_wrong_class_weights(weights, name, words):
    with pytest.raises(InputError, match=words):
        ImageClassifier(linear(), class_weights=weights, loss=name)


@pytest.mark.parametrize("options", [{}, {"num_folds": 3, "fold": 1}, {"train_fraction": 0.3}], ids=str)
def test_balanced_weights_are_those_of_scikit_learn(options, tmp_path):
    data = DigitsDataModule(batch_size=64, **options)
    model = ImageClassifier(linear(), class_weights="balanced", lr=0.01)
    trainer = make_trainer(limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, data)
    train = data.split("train")
    labels = train.targets[train.indices].numpy()
    expected = len(labels) / (10 * np.bincount(labels))  # the formula in scikit-learn's manual
    assert model.loss.class_weights.tolist() == pytest.approx(expected.tolist())
    # A checkpoint has the numbers, so that the images are not needed again.
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    again = ImageClassifier.load_from_checkpoint(tmp_path / "run.ckpt", backbone=linear(), weights_only=True)
    assert again.loss.class_weights.tolist() == model.loss.class_weights.tolist()


def test_the_weights_of_a_checkpoint_are_used_without_the_training_images(tmp_path):
    data = DigitsDataModule(batch_size=64, train_fraction=0.3)
    model = ImageClassifier(linear(), class_weights="balanced", lr=0.01)
    trainer = make_trainer(limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    images, labels = DigitsDataModule().split("test").images, DigitsDataModule().split("test").targets
    images = DigitsDataModule().normalize(images.permute(0, 3, 1, 2))
    other = ImageClassifier(linear(), class_weights="balanced")  # as the command line builds it from the config
    (tested,) = make_trainer().test(
        other, Batches([(images, labels)]), tmp_path / "run.ckpt", verbose=False, weights_only=True
    )
    expected = F.cross_entropy(model(images), labels, model.loss.class_weights)
    assert tested["test/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_of_an_epoch_is_the_weighted_mean_over_its_images():
    data = DigitsDataModule(batch_size=100)
    model = ImageClassifier(linear(), class_weights=[float(n) for n in range(1, 11)], label_smoothing=0.1)
    (metrics,) = make_trainer().validate(model, data, verbose=False)
    split = data.split("val")
    images = data.normalize(split.images[split.indices].permute(0, 3, 1, 2))
    expected = F.cross_entropy(model(images), split.targets[split.indices], torch.arange(1.0, 11))
    assert metrics["val/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_small_classes_are_not_balanced_twice():
    data = DigitsDataModule(sampling="balanced")
    with pytest.raises(InputError, match=r"class_weights and data.sampling are both balanced: small classes would"):
        make_trainer().fit(ImageClassifier(linear(), class_weights="balanced"), data)


def test_balanced_weights_need_counts():
    batch = (torch.randn(20, 1, 8, 8), torch.arange(20) % 10)
    with pytest.raises(InputError, match=r"a loader has no class_counts, the number of training images of each class"):
        make_trainer().fit(ImageClassifier(linear(), class_weights="balanced"), Batches([batch]), Batches([batch]))


# Training.


def test_a_loss_with_parameters_is_trained_saved_and_resumed(tmp_path):
    model = ImageClassifier(linear(), loss="own_parts.Scaled", lr=0.1, scheduler=None)
    trainer = make_trainer(limit_train_batches=3, limit_val_batches=1)
    data = DigitsDataModule(batch_size=64)
    trainer.fit(model, data)
    scale = model.loss.own.trained.scale.detach().clone()
    assert not torch.equal(scale, torch.ones(10))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    again = ImageClassifier.load_from_checkpoint(tmp_path / "run.ckpt", backbone=linear(), weights_only=True)
    assert torch.equal(again.loss.own.trained.scale, scale)
    resumed = ImageClassifier(linear(), loss="own_parts.Scaled", lr=0.1, scheduler=None)
    trainer = make_trainer(limit_train_batches=3, limit_val_batches=1, max_epochs=2)
    trainer.fit(resumed, data, ckpt_path=tmp_path / "run.ckpt", weights_only=True)
    assert not torch.equal(resumed.loss.own.trained.scale, scale)


def test_the_weights_of_a_loss_are_not_those_of_a_backbone(tmp_path):
    options = {"backbone": "resnet20", "in_chans": 1, "loss": "own_parts.Scaled"}
    trainer = make_trainer(limit_train_batches=1, limit_val_batches=0)
    model = ImageClassifier(**options)
    trainer.fit(model, DigitsDataModule(batch_size=16))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    tuned = ImageClassifier("resnet20", in_chans=1, backbone_args={"pretrained": str(tmp_path / "run.ckpt")})
    assert torch.equal(tuned.backbone.conv1.weight, model.backbone.conv1.weight)


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "own_parts.focal"])
def test_digits_are_learned_with_mixed_images(name):
    torch.manual_seed(0)
    data = DigitsDataModule(batch_size=32, augment=Augmentation(mixup=0.4))
    model = ImageClassifier(linear(), loss=name, lr=0.05, optimizer="AdamW", class_weights="balanced")
    trainer = make_trainer(max_epochs=3)
    trainer.fit(model, data)
    assert trainer.callback_metrics["val/acc"] > 0.7
