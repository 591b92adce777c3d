"""The classifier: what it computes and logs, what it is built from, its checkpoints and its schedule."""

import inspect
import math
import warnings

import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from resnet_lightning import Augmentation, DigitsDataModule, ImageClassifier, InputError, create_model
from small_trainings import QUIET, linear


def make_trainer(**options) -> Trainer:
    return Trainer(**{**QUIET, "accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0, **options})


def make_model(**options) -> ImageClassifier:
    """By default with the smallest of the CIFAR nets, which has no name of its own."""
    small = {"backbone": "resnet_lightning.models.cifar.cifar_resnet", "backbone_args": {"depth": 8}}
    return ImageClassifier(**{**small, "in_chans": 1, **options})


def labelled_digits(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a split at once, normalised, and their labels."""
    data = DigitsDataModule()
    split = data.split(name)
    images = split.images[split.indices].permute(0, 3, 1, 2)
    return data.normalize(images), split.targets[split.indices]


class Batches:
    """Any iterable is a loader to Lightning."""

    def __init__(self, *batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Rates(Callback):
    """Notes the learning rate of each optimizer step."""

    def __init__(self) -> None:
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.seen.append(optimizer.param_groups[0]["lr"])


class StopAfter(Callback):
    """Ends the run early, without its schedule knowing."""

    def __init__(self, epochs: int = 0, batches: int = 0) -> None:
        self.epochs, self.batches = epochs, batches

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.batches:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


# What it computes.


def test_images_become_logits():
    model = make_model(num_classes=7)
    assert model(torch.rand(3, 1, 8, 8)).shape == (3, 7)
    assert model(torch.rand(1, 1, 28, 20)).shape == (1, 7)


def test_the_loss_spreads_a_share_of_the_target_over_all_classes():
    model = make_model(num_classes=4, label_smoothing=0.2).eval()
    images, targets = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    log_p = model(images).log_softmax(dim=1)
    expected = -(0.8 * log_p[range(6), targets] + 0.2 / 4 * log_p.sum(dim=1)).mean()
    torch.testing.assert_close(model.training_step((images, targets), 0), expected)


def test_predictions_are_probabilities():
    model = make_model().eval()
    images = torch.rand(5, 1, 8, 8)
    predicted = model.predict_step((images, torch.arange(5)), 0)
    assert predicted.dtype == torch.float32
    torch.testing.assert_close(predicted.sum(dim=1), torch.ones(5))
    assert torch.equal(predicted.argmax(dim=1), model(images).argmax(dim=1))


# What it logs.


def expected_metrics(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> dict[str, float]:
    log_p = logits.detach().double().log_softmax(dim=1)
    picked = log_p[torch.arange(len(targets)), targets]
    rank = (log_p > picked[:, None]).sum(dim=1)
    loss = -((1 - smoothing) * picked + smoothing * log_p.mean(dim=1))
    return {
        "loss": loss.mean().item(),
        "acc": (rank == 0).double().mean().item(),
        "acc5": (rank < 5).double().mean().item(),
    }


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_logs_the_metrics_of_all_images_at_once(stage):
    seed_everything(0, verbose=False)
    model = make_model(label_smoothing=0.1)
    images, targets = labelled_digits(stage)
    assert len(images) % 100  # batches of 100 are of unequal size
    trainer = make_trainer()
    run = trainer.validate if stage == "val" else trainer.test
    run(model, DigitsDataModule(batch_size=100), verbose=False)
    with torch.no_grad():
        expected = expected_metrics(model.eval()(images), targets, smoothing=0)  # smoothed in training only
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged == pytest.approx({f"{stage}/{name}": value for name, value in expected.items()}, abs=1e-5)


def test_training_logs_the_mean_over_the_images_that_the_net_saw():
    images, targets = labelled_digits("train")
    batches = [(images[:40], targets[:40]), (images[40:50], targets[40:50]), (images[50:57], targets[50:57])]
    model = make_model(label_smoothing=0.1)
    seen = []
    model.backbone.register_forward_hook(lambda net, inputs, logits: seen.append(logits.detach()))
    trainer = make_trainer()
    trainer.fit(model, Batches(*batches), Batches(batches[0]))
    expected = expected_metrics(torch.cat(seen[:3]), targets[:57], smoothing=0.1)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items() if "train" in name}
    assert logged == pytest.approx({f"train/{name}": expected[name] for name in ("loss", "acc")}, abs=1e-5)


def test_metrics_start_anew_each_epoch():
    images, targets = labelled_digits("train")
    model = ImageClassifier(linear(), lr=1e-12, scheduler=None)  # the net stays what it is
    trainer = make_trainer(max_epochs=2)
    batch = (images[:20], targets[:20])
    trainer.fit(model, Batches(batch), Batches(batch))
    expected = expected_metrics(model(batch[0]), batch[1], smoothing=0)
    for stage in "train", "val":
        assert trainer.callback_metrics[f"{stage}/loss"].item() == pytest.approx(expected["loss"], abs=1e-5)
        assert trainer.callback_metrics[f"{stage}/acc"].item() == pytest.approx(expected["acc"])


@pytest.mark.parametrize("classes", [9, 10])
def test_the_top_5_are_logged_from_ten_classes_on(classes):
    trainer = make_trainer(limit_test_batches=1)
    data = DigitsDataModule(classes=range(classes))
    trainer.test(make_model(num_classes=classes), data, verbose=False)
    names = {"test/loss", "test/acc"} | ({"test/acc5"} if classes == 10 else set())
    assert trainer.callback_metrics.keys() == names


def test_a_batch_without_images_changes_no_metric():
    images, targets = labelled_digits("val")
    model = make_model()
    logged = []
    for batches in (
        [(images[:16], targets[:16]), (images[16:20], targets[16:20])],
        [(images[:16], targets[:16]), (images[:0], targets[:0]), (images[16:20], targets[16:20])],
    ):
        (metrics,) = make_trainer().validate(model, Batches(*batches), verbose=False)
        logged.append(metrics)
    assert logged[0] == logged[1]
    assert math.isfinite(logged[0]["val/loss"])


# The backbone.


def test_a_backbone_is_found_by_its_name():
    model = ImageClassifier("resnet20", num_classes=3, in_chans=2, backbone_args={"norm_layer": "group"})
    assert model.backbone.conv1.in_channels == 2
    assert model.backbone.fc.out_features == 3
    assert isinstance(model.backbone.bn1, nn.GroupNorm)


def test_a_backbone_is_found_by_its_path():
    torchvision = pytest.importorskip("torchvision")
    model = ImageClassifier("torchvision.models.alexnet", num_classes=4, backbone_args={"dropout": 0.25})
    assert isinstance(model.backbone, torchvision.models.AlexNet)
    assert model.backbone.classifier[0].p == 0.25
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 4)


def test_a_path_to_a_net_of_ours_gets_the_channels_too():
    model = ImageClassifier("resnet_lightning.models.cifar.cifar_resnet", in_chans=1, backbone_args={"depth": 8})
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_a_backbone_can_be_a_module():
    net = linear()
    model = ImageClassifier(net)
    assert model.backbone is net
    assert "backbone" not in model.hparams


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "resnet21"}, "unknown model 'resnet21'; did you mean"),
        ({"backbone": "torchvision.models.resnet21"}, "'torchvision.models.resnet21' cannot be imported"),
        ({"backbone": "nowhere.resnet20"}, "there is no module 'nowhere'"),
        ({"backbone": ".resnet20"}, "'.resnet20'"),
        ({"backbone": "torchvision.models"}, "is not a class or a function"),
        ({"backbone": "argparse.Namespace", "in_chans": 3}, "returned a Namespace, not a torch module"),
        ({"backbone": "torchvision.models.alexnet"}, "takes RGB images only"),
        (
            {"backbone": "torchvision.models.resnet18", "in_chans": 3, "backbone_args": {"zero_init_residul": True}},
            "takes no option 'zero_init_residul'; did you mean 'zero_init_residual'",
        ),
        ({"backbone_args": {"stm": "cifar"}}, "model 'resnet20' takes no option 'stm'; did you mean 'stem'"),
        ({"backbone_args": {"stem": "cfar"}}, "unknown stem 'cfar'; did you mean 'cifar'"),
        ({"backbone_args": {"features_only": True}}, "a classifier needs logits; leave features_only out"),
        ({"backbone_args": {"frozen_stages": 4}}, "frozen_stages is 4; this net has 3 stages, and 0 is its stem alone"),
        ({"backbone_args": {"pretrained": "absent.ckpt"}}, "there is no checkpoint 'absent.ckpt'"),
        ({"in_chans": 0}, "in_chans is 0"),
        ({"num_classes": 1}, "model.num_classes is 1; a classifier needs at least 2"),
        ({"lr": 0.0}, "model.lr is 0.0"),
        ({"lr": -0.1}, "model.lr is -0.1"),
        ({"label_smoothing": 1.0}, "model.label_smoothing is 1.0"),
        ({"label_smoothing": -0.1}, "model.label_smoothing is -0.1"),
        ({"optimizer": "SDG"}, "unknown optimizer 'SDG'; did you mean 'SGD'"),
        ({"optimizer_args": {"momentm": 0.9}}, "takes no option 'momentm'; did you mean 'momentum'"),
        ({"optimizer_args": {"momentum": -1}}, "Invalid momentum value: -1"),
        ({"scheduler": "OneCycle"}, "unknown scheduler 'OneCycle'; did you mean 'OneCycleLR'"),
        ({"scheduler_args": {"pct_strt": 0.2}}, "takes no option 'pct_strt'; did you mean 'pct_start'"),
        ({"scheduler_args": {"pct_start": 2.0}}, "pct_start"),
        ({"optimizer": "LBFGS", "scheduler": None}, "LBFGS"),  # takes no parameter groups
    ],
    ids=str,
)
def test_wrong_arguments_are_found_when_it_is_built(options, words):
    with pytest.raises(InputError) as error:
        ImageClassifier(**{"backbone": "resnet20", "in_chans": 1, **options})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# The schedule.


def cosine(lr: float, steps: int) -> list[float]:
    return [lr * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 2, "limit_train_batches": 5}, 10),
        # Five batches are two full steps of two, and one more.
        ({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2}, 6),
        ({"max_epochs": -1, "max_steps": 7, "limit_train_batches": 5}, 7),
        ({"max_epochs": 1, "max_steps": 7, "limit_train_batches": 5}, 5),
    ],
    ids=str,
)
def test_the_schedule_is_stepped_each_step_and_fits_the_run(options, steps):
    rates = Rates()
    model = ImageClassifier(linear(), lr=0.2, scheduler="CosineAnnealingLR")
    make_trainer(callbacks=[rates], limit_val_batches=0, **options).fit(model, DigitsDataModule(batch_size=16))
    assert rates.seen == pytest.approx(cosine(0.2, steps))


def test_without_a_schedule_the_learning_rate_stays():
    rates = Rates()
    model = ImageClassifier(linear(), lr=0.2, scheduler=None)
    make_trainer(callbacks=[rates], limit_train_batches=4).fit(model, DigitsDataModule())
    assert rates.seen == [0.2] * 4


def test_a_plateau_lowers_the_learning_rate_between_epochs():
    # The loss cannot fall to a thousandth, so that every epoch after the first is a plateau.
    options = {"patience": 0, "threshold": 0.999}
    rates = Rates()
    model = ImageClassifier(linear(), lr=0.1, scheduler="ReduceLROnPlateau", scheduler_args=options)
    make_trainer(callbacks=[rates], max_epochs=4, limit_train_batches=2).fit(model, DigitsDataModule())
    assert rates.seen == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_run_without_an_end_has_no_schedule():
    with pytest.raises(InputError, match=r"give --trainer\.max_epochs"):
        make_trainer(max_epochs=-1).fit(ImageClassifier(linear()), DigitsDataModule())


def test_a_run_without_an_end_trains_where_there_is_no_schedule():
    trainer = make_trainer(max_epochs=-1, limit_train_batches=2, callbacks=[StopAfter(batches=3)])
    trainer.fit(ImageClassifier(linear(), scheduler=None), DigitsDataModule())
    assert trainer.global_step == 3


# Checkpoints.


def saved_run(model: ImageClassifier, path) -> Trainer:
    trainer = make_trainer(limit_train_batches=1, limit_val_batches=0)
    trainer.fit(model, DigitsDataModule(batch_size=16))
    trainer.save_checkpoint(path)
    return trainer


@pytest.mark.parametrize("options", [{}, {"weights_only": True}], ids=str)
def test_a_checkpoint_loads_without_arguments(tmp_path, options):
    model = make_model(backbone_args={"depth": 8, "norm_layer": "group"}, label_smoothing=0.1)
    saved_run(model, tmp_path / "run.ckpt")
    images = torch.rand(4, 1, 8, 8)
    again = ImageClassifier.load_from_checkpoint(tmp_path / "run.ckpt", **options)
    assert torch.equal(again.eval()(images), model.eval()(images))
    assert dict(again.hparams) == dict(model.hparams)


def test_the_checkpoint_of_a_module_needs_the_module_again(tmp_path):
    model = ImageClassifier(linear(), lr=0.3)
    saved_run(model, tmp_path / "run.ckpt")
    again = ImageClassifier.load_from_checkpoint(tmp_path / "run.ckpt", backbone=linear(), weights_only=True)
    assert torch.equal(again.backbone[1].weight, model.backbone[1].weight)
    assert again.lr == 0.3


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [("OneCycleLR", {}), ("CosineAnnealingLR", {}), ("MultiStepLR", {"milestones": [0.5]}), ("ReduceLROnPlateau", {})],
)
def test_a_checkpoint_holds_plain_values(tmp_path, scheduler, options):
    model = ImageClassifier(
        "resnet20", in_chans=1, scheduler=scheduler, scheduler_args=options, optimizer_args={"momentum": 0.9}
    )
    trainer = make_trainer(limit_train_batches=1, limit_val_batches=1)
    trainer.fit(model, DigitsDataModule(batch_size=8))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert saved["hyper_parameters"] == {
        "backbone": "resnet20",
        "num_classes": 10,
        "in_chans": 1,
        "backbone_args": None,
        "lr": 0.1,
        "optimizer": "SGD",
        "optimizer_args": {"momentum": 0.9},
        "scheduler": scheduler,
        "scheduler_args": options,
        "label_smoothing": 0.0,
        "channels_last": True,
        "compile": False,
        "loss": None,
        "loss_args": None,
        "class_weights": None,
        "metrics": None,
        "lr_factors": None,
        "teacher": None,
        "teacher_args": None,
        "test_views": None,
        "multilabel": False,
        "thresholds": None,
        "unfreeze": None,
        "decay_norms_and_biases": False,
    }
    assert saved["hyper_parameters"].keys() == inspect.signature(ImageClassifier).parameters.keys()
    for name, value in saved["hyper_parameters"].items():
        assert type(value) in (str, int, float, bool, dict, type(None)), name
    assert saved["state_dict"].keys() == {f"backbone.{key}" for key in create_model("resnet20").state_dict()}


# How it is run.


@pytest.mark.slow
def test_compiling_keeps_the_keys():
    assert make_model(compile=True).state_dict().keys() == make_model().state_dict().keys()


def test_channels_last_changes_the_layout_and_not_the_logits():
    plain = make_model(channels_last=False).eval()
    model = make_model(channels_last=True).eval()
    model.load_state_dict(plain.state_dict())
    assert model.backbone.layer2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.backbone.layer2[0].conv1.weight.is_contiguous()
    assert plain.backbone.layer2[0].conv1.weight.is_contiguous()
    maps = {}
    for name, net in {"plain": plain.backbone, "last": model.backbone}.items():
        net.layer2.register_forward_hook(lambda layer, inputs, output, name=name: maps.update({name: output}))
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model(images), plain(images), rtol=1e-4, atol=1e-5)
    assert maps["last"].is_contiguous(memory_format=torch.channels_last)
    assert maps["plain"].is_contiguous()


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.float32), ("bf16-true", torch.bfloat16)])
def test_reduced_precision_trains(precision, dtype):
    seed_everything(0, verbose=False)
    model = make_model(scheduler=None)
    before = model.backbone.fc.weight.detach().clone()
    outputs = []
    model.backbone.conv1.register_forward_hook(lambda layer, inputs, output: outputs.append(output.dtype))
    trainer = make_trainer(precision=precision, limit_train_batches=1, limit_val_batches=1)
    trainer.fit(model, DigitsDataModule(batch_size=16))
    assert set(outputs) == {torch.bfloat16}
    assert model.backbone.fc.weight.dtype == dtype
    assert not torch.equal(model.backbone.fc.weight, before.to(dtype))
    # An untrained net is about as good as chance, which costs log(10) = 2.3.
    assert 1 < trainer.callback_metrics["train/loss"].item() < 6
    assert math.isfinite(trainer.callback_metrics["val/loss"].item())


def trained(seed: int) -> dict[str, torch.Tensor]:
    seed_everything(seed, verbose=False)
    model = make_model()
    data = DigitsDataModule(batch_size=16, augment=Augmentation(crop=1))
    make_trainer(limit_train_batches=2, limit_val_batches=0).fit(model, data)
    return model.state_dict()


def test_the_seed_decides_the_weights():
    first, again, other = trained(3), trained(3), trained(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["backbone.conv1.weight"], other["backbone.conv1.weight"])


# Resuming.

SCHEDULES = [
    ("OneCycleLR", {}),
    ("OneCycleLR", {"anneal_strategy": "linear"}),
    ("CosineAnnealingLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1}),
    ("PolynomialLR", {}),
    ("MultiStepLR", {"milestones": [0.5, 0.75]}),
]


def run_of(scheduler: str, options: dict, *callbacks: Callback, ckpt_path=None, **trainer_options):
    """A run of three steps an epoch: its trainer, its model and the learning rate of each step."""
    seed_everything(0, verbose=False)
    rates = Rates()
    model = ImageClassifier(linear(), scheduler=scheduler, scheduler_args=options, optimizer_args={"momentum": 0.9})
    trainer = make_trainer(callbacks=[rates, *callbacks], limit_train_batches=3, **trainer_options)
    data = DigitsDataModule(batch_size=16, augment=Augmentation(crop=1))
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, model, rates.seen


@pytest.mark.parametrize(("scheduler", "options"), SCHEDULES)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, scheduler, options):
    _, whole, rates = run_of(scheduler, options, max_epochs=4)
    trainer, _, first = run_of(scheduler, options, StopAfter(epochs=2), max_epochs=4)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    trainer, resumed, second = run_of(scheduler, options, max_epochs=4, ckpt_path=tmp_path / "half.ckpt")
    assert len(first) == len(second) == 6
    assert [*first, *second] == rates
    assert trainer.global_step == 12
    assert torch.equal(resumed.backbone[1].weight, whole.backbone[1].weight)


@pytest.mark.parametrize(("scheduler", "options"), SCHEDULES)
def test_a_run_made_longer_goes_on_in_the_schedule_of_its_new_length(tmp_path, scheduler, options):
    _, _, rates = run_of(scheduler, options, max_epochs=4)
    trainer, _, first = run_of(scheduler, options, max_epochs=4, max_steps=6)
    assert len(first) == 6
    trainer.save_checkpoint(tmp_path / "short.ckpt")
    trainer, _, second = run_of(scheduler, options, max_epochs=4, ckpt_path=tmp_path / "short.ckpt")
    assert trainer.global_step == 12
    assert second == pytest.approx(rates[6:], abs=1e-12)


def test_a_run_made_longer_ends_with_the_schedule_of_its_new_length(tmp_path):
    trainer, _, _ = run_of("OneCycleLR", {}, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "short.ckpt")
    _, _, second = run_of("OneCycleLR", {}, max_epochs=4, ckpt_path=tmp_path / "short.ckpt")
    # The second half of a cycle of 12 steps, save its first step: down from 0.1 at step 0.3 * 12 - 1 = 2.6.
    lowest = 0.1 / 25 / 1e4
    share = [(step - 2.6) / (11 - 2.6) for step in range(7, 12)]
    expected = [lowest + (0.1 - lowest) * (1 + math.cos(math.pi * part)) / 2 for part in share]
    assert second[1:] == pytest.approx(expected)


# Combined with modules and loaders of others.


class SomebodysModule(LightningModule):
    """Lightning as its manual shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = linear()
        self.shapes = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.shapes.append((tuple(x.shape), x.dtype, tuple(y.shape), y.dtype))
        return F.cross_entropy(self.net(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self.net(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def test_our_data_module_feeds_another_module():
    seed_everything(0, verbose=False)
    module = SomebodysModule()
    losses = []
    for epochs in 0, 1:
        trainer = make_trainer(max_epochs=epochs)
        trainer.fit(module, DigitsDataModule(batch_size=50))
        (metrics,) = trainer.validate(module, DigitsDataModule(batch_size=50), verbose=False)
        losses.append(metrics["val_loss"])
    assert set(module.shapes) == {((50, 1, 8, 8), torch.float32, (50,), torch.int64)}
    assert losses[1] < 0.7 * losses[0]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # Lightning's advice to whoever wrote the loader
def test_another_loader_feeds_the_classifier():
    seed_everything(0, verbose=False)
    images, targets = labelled_digits("train")
    loader = DataLoader(TensorDataset(images, targets), batch_size=64, shuffle=True)
    model = ImageClassifier(linear(), lr=0.05)
    trainer = make_trainer(max_epochs=3)
    trainer.fit(model, loader, DataLoader(TensorDataset(*labelled_digits("val")), batch_size=64))
    assert trainer.callback_metrics["val/acc"] > 0.8


def test_a_run_stopped_inside_an_epoch_goes_on_with_the_images_that_it_had_not_seen(tmp_path):
    def run(max_steps, checkpoint=None):
        seed_everything(0)
        module = ImageClassifier("resnet20", in_chans=1, scheduler=None, lr=0.01)
        data = DigitsDataModule(batch_size=256, augment=Augmentation(crop=1, flip=True))
        # Saved as the command line saves it, since Lightning counts the epoch as over once the trainer has ended.
        last = ModelCheckpoint(tmp_path / f"{max_steps}-{checkpoint is not None}", "last", save_on_train_epoch_end=True)
        trainer = Trainer(
            max_steps=max_steps,
            callbacks=[last],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")  # it is
            warnings.filterwarnings("ignore", message="The dirpath has changed")
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        return module.state_dict()

    whole = run(8)  # an epoch has 5 steps
    run(3)
    resumed = run(8, checkpoint=tmp_path / "3-False" / "last.ckpt")
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
