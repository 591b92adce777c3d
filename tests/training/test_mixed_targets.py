"""The classifier where a training image is two: what loss and accuracy are, and that a run goes as any other."""

import math
import statistics

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from torch.nn import functional as F

from resnet_lightning import Augmentation, DigitsDataModule, ImageClassifier
from resnet_lightning.training.metrics import top_k_hits
from small_trainings import QUIET

MIXED = Augmentation(crop=1, mixup=0.4, cutmix=1.0)


def make_trainer(**options) -> Trainer:
    return Trainer(**{**QUIET, "accelerator": "cpu", "num_sanity_val_steps": 0, **options})


def make_model(**options) -> ImageClassifier:
    """The smallest of the CIFAR nets, with the same weights each time."""
    seed_everything(0, verbose=False)
    small = {"backbone": "resnet_lightning.models.cifar.cifar_resnet", "backbone_args": {"depth": 8}}
    return ImageClassifier(**{**small, "in_chans": 1, **options})


def mixed_targets(n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two labels of each image, of which some are the same, the first one's share, and the probabilities."""
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randint(classes, (2, n), generator=generator)
    assert 0 < (first == second).sum() < n
    share = torch.rand(n, generator=generator)
    lines = torch.zeros(n, classes)
    for line, a, b, part in zip(lines, first, second, share, strict=True):
        line[a] += part
        line[b] += 1 - part
    return first, second, share, lines


def logits_of(n: int, classes: int) -> torch.Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(2))


class Seen(Callback):
    """Keeps the targets of each batch, and the logits that they are compared with."""

    def __init__(self) -> None:
        self.train, self.val, self.test, self.losses = [], [], [], []
        self.logits = []

    def on_fit_start(self, trainer, pl_module) -> None:
        pl_module.backbone.register_forward_hook(
            lambda net, inputs, logits: self.logits.append(logits.detach()) if net.training else None
        )

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.train.append(batch[1])
        self.losses.append(float(outputs["loss"]))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, *args) -> None:
        self.val.append(batch[1])

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, *args) -> None:
        self.test.append(batch[1])


# Accuracy.


@pytest.mark.parametrize("k", [1, 5])
def test_with_labels_a_hit_is_a_class_among_the_likeliest(k):
    logits = logits_of(50, 12)
    labels = mixed_targets(50, 12)[0]
    expected = [float(label in ranked[:k]) for label, ranked in zip(labels, logits.argsort(1).flip(1), strict=True)]
    assert 0 < sum(expected) < 50
    found = top_k_hits(logits, labels, k)
    assert found.dtype == torch.float32
    assert found.tolist() == expected


def test_of_labels_the_first_is_plain_accuracy():
    logits, labels = logits_of(64, 4), mixed_targets(64, 4)[0]
    assert top_k_hits(logits, labels, 1).mean().item() == (logits.argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize("k", [1, 5])
def test_with_probabilities_a_hit_counts_by_each_class_share(k):
    logits = logits_of(50, 12)
    first, second, share, targets = mixed_targets(50, 12)
    expected = []
    for ranked, a, b, part in zip(logits.argsort(1).flip(1), first, second, share, strict=True):
        likeliest = ranked[:k].tolist()
        expected.append(float(part * (int(a) in likeliest) + (1 - part) * (int(b) in likeliest)))
    assert any(0 < value < 1 for value in expected)
    assert top_k_hits(logits, targets, k).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_probabilities_that_are_certain_count_as_labels_do(k):
    logits, labels = logits_of(50, 12), mixed_targets(50, 12)[0]
    assert torch.equal(top_k_hits(logits, F.one_hot(labels, 12).float(), k), top_k_hits(logits, labels, k))


@pytest.mark.parametrize("targets", [torch.empty(0, dtype=torch.int64), torch.empty(0, 12)], ids=["labels", "shares"])
def test_no_images_make_no_hits(targets):
    assert top_k_hits(torch.empty(0, 12), targets, 1).shape == (0,)


# Loss.


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_with_both_classes(smoothing):
    model = make_model(num_classes=4, label_smoothing=smoothing).eval()
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    first, second, share, targets = mixed_targets(20, 4)
    log_p = model(images).detach().double().log_softmax(1)
    expected = 0.0
    for line, a, b, part in zip(log_p, first, second, share.double(), strict=True):
        of_classes = -(part * line[a] + (1 - part) * line[b])
        expected += ((1 - smoothing) * of_classes - smoothing * line.mean()) / 20
    assert model.training_step((images, targets), 0).item() == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_probabilities_that_are_certain_give_the_loss_of_labels(smoothing):
    model = make_model(label_smoothing=smoothing).eval()
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([0, 9, 2, 3, 0, 1])
    hard, soft = (model.training_step((images, targets), 0) for targets in (labels, F.one_hot(labels, 10).float()))
    torch.testing.assert_close(hard, soft)


# Whole trainings.


def test_training_logs_loss_and_accuracy_of_the_mixed_images():
    seen = Seen()
    model = make_model(label_smoothing=0.1)
    trainer = make_trainer(max_epochs=1, limit_train_batches=3, limit_val_batches=0, callbacks=[seen])
    trainer.fit(model, DigitsDataModule(batch_size=40, augment=MIXED))
    logits, targets = torch.cat(seen.logits).double(), torch.cat(seen.train).double()
    assert targets.shape == (120, 10)
    assert not torch.equal(targets, targets.round())
    torch.testing.assert_close(targets.sum(1), torch.ones(120, dtype=torch.float64), atol=1e-6, rtol=0)
    smooth = 0.9 * targets + 0.1 / 10
    expected = {
        "train/loss": -(smooth * logits.log_softmax(1)).sum(1).mean().item(),
        "train/acc": targets[torch.arange(120), logits.argmax(1)].mean().item(),
    }
    logged = {name: trainer.callback_metrics[name].item() for name in expected}
    assert logged == pytest.approx(expected, abs=1e-5)


def test_a_mixed_training_lowers_its_loss_and_counts_a_share_as_accuracy():
    seen = Seen()
    trainer = make_trainer(max_epochs=4, limit_train_batches=20, callbacks=[seen])
    trainer.fit(make_model(), DigitsDataModule(batch_size=32, augment=MIXED))
    first, last = (statistics.mean(losses) for losses in (seen.losses[:20], seen.losses[-20:]))
    assert last < 0.85 * first
    # Above chance, and below 1, which nothing that knows one class of two can reach.
    assert 0.2 < trainer.callback_metrics["train/acc"].item() < 1
    assert trainer.callback_metrics["val/acc"].item() > 0.3


def test_validation_and_testing_stay_on_single_images():
    seen = Seen()
    model, data = make_model(), DigitsDataModule(batch_size=64, augment=MIXED)
    trainer = make_trainer(max_epochs=1, limit_train_batches=2, callbacks=[seen])
    trainer.fit(model, data)
    correct = trainer.callback_metrics["val/acc"].item() * len(data.split("val"))
    assert correct == pytest.approx(round(correct), abs=1e-3)
    trainer.test(model, data, verbose=False)
    for name, batches in ("val", seen.val), ("test", seen.test):
        split = data.split(name)
        found = torch.cat(batches)
        assert found.dtype == torch.int64
        assert torch.equal(found, split.targets[split.indices])


# It is: it is told at which step to begin.
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("augment", [Augmentation(mixup=0.2), Augmentation(cutmix=1.0)], ids=["mixup", "cutmix"])
def test_a_checkpoint_of_a_mixed_training_goes_on_as_if_never_interrupted(tmp_path, augment):
    data = {"batch_size": 33, "augment": augment}  # odd, so that a pair of images lies in two batches
    options = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 1}

    class SaveInTheMiddle(Callback):
        def on_train_batch_end(self, trainer, *args) -> None:
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    whole = make_model()
    make_trainer(callbacks=[SaveInTheMiddle()], **options).fit(whole, DigitsDataModule(**data))
    resumed, seen = make_model(), Seen()
    trainer = make_trainer(callbacks=[seen], **options)
    trainer.fit(resumed, DigitsDataModule(**data), ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert len(seen.train) == 2
    assert trainer.global_step == 8
    state = resumed.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("augment", [Augmentation(mixup=0.2), MIXED], ids=["mixup", "mixup and cutmix"])
def test_two_classes_are_mixed_too(augment):
    seen = Seen()
    data = DigitsDataModule(batch_size=32, classes=[3, 5], augment=augment)
    trainer = make_trainer(max_epochs=3, callbacks=[seen])
    trainer.fit(make_model(num_classes=2), data)
    assert all(targets.shape == (32, 2) for targets in seen.train)
    first, last = (statistics.mean(losses) for losses in (seen.losses[:8], seen.losses[-8:]))
    assert last < 0.95 * first
    assert 0.5 < trainer.callback_metrics["train/acc"].item() <= 1
    assert "val/acc5" not in trainer.callback_metrics


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_mixed_targets_go_with_half_precision(precision):
    trainer = make_trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1, precision=precision)
    trainer.fit(make_model(label_smoothing=0.1), DigitsDataModule(batch_size=16, augment=MIXED))
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(math.log(10), abs=1)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
def test_accuracy_counts_images_whatever_the_precision_of_the_net(precision):
    """A sum in bfloat16 takes no steps of 1 beyond 256."""
    model, data = make_model(), DigitsDataModule(batch_size=1)
    seen = []
    model.backbone.register_forward_hook(lambda net, inputs, logits: seen.append(logits.argmax(1)))
    trainer = make_trainer(precision=precision)
    trainer.test(model, data, verbose=False)
    correct = (torch.cat(seen) == data.split("test").targets).float().mean().item()
    assert trainer.callback_metrics["test/acc"].item() == pytest.approx(correct, abs=1e-6)
