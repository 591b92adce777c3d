"""Our module and callbacks with Lightning's own Trainer, callbacks, loggers and loaders, in plain Python."""

import math

import pytest
import torch
import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
)
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from resnet_lightning import ImageClassifier
from resnet_lightning.data import DigitsDataModule
from resnet_lightning.errors import InputError
from resnet_lightning.training.batches import images_and_targets
from resnet_lightning.training.callbacks import (
    Evaluation,
    ExactResume,
    FiniteLoss,
    FirstBatch,
    GradientNorm,
    LastCheckpoint,
    MovingAverage,
    RunProgress,
    Throughput,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training"),
]


def classifier(**options):
    options = {"optimizer_args": {"momentum": 0.9}, "lr": 0.01, **options}
    return ImageClassifier("resnet20", in_chans=1, **options)


def trainer(**options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(**{**quiet, "enable_checkpointing": False, "max_epochs": 2, **options})


def digits():
    return DigitsDataModule(batch_size=256)


def loader(form, seed=0, count=24):
    draw = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(count, 1, 8, 8, generator=draw), torch.randint(10, (count,), generator=draw)
    return DataLoader([form(*pair) for pair in zip(images, labels, strict=True)], batch_size=8)


def pair(image, label):
    return image, label


FORMS = {
    "image and label": lambda image, label: {"image": image, "label": label},
    "Hugging Face": lambda image, label: {"labels": label, "pixel_values": image},
    "x and y": lambda image, label: {"x": image, "y": label, "path": "a.png"},
    "meta": lambda image, label: (image, label, {"path": "a.png"}),
    "a number more": lambda image, label: [image, label, 7],
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_form_of_a_batch_changes_no_result(form):
    torch.manual_seed(0)
    module = classifier()
    results = []
    for each in pair, form:
        copy = classifier()
        copy.load_state_dict(module.state_dict())
        run = trainer()
        run.fit(copy, loader(each), loader(each, seed=1))
        metrics = dict(run.callback_metrics)
        metrics |= run.validate(copy, loader(each), verbose=False)[0] | run.test(copy, loader(each), verbose=False)[0]
        results.append(({name: float(v) for name, v in metrics.items()}, torch.cat(run.predict(copy, loader(each)))))
    assert results[0][0] == results[1][0]
    assert {"train/loss", "val/acc", "test/acc5"} <= results[0][0].keys()
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("form", [lambda x, y: x, lambda x, y: (x,), lambda x, y: {"image": x}])
def test_images_alone_are_predicted(form):
    module = classifier()
    found = torch.cat(trainer().predict(module, loader(form)))
    assert torch.equal(found, torch.cat(trainer().predict(module, loader(pair))))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (torch.zeros(2, 1, 8, 8), "a batch is a Tensor, without targets"),
        ((torch.zeros(2, 1, 8, 8),), "a batch is a tuple of Tensor, without targets"),
        ({"picture": torch.zeros(2), "label": torch.zeros(2)}, "keys 'picture', 'label'; its images must be under one"),
        ({"image": torch.zeros(2)}, "its targets must be under one of label, labels"),
        ("a.png", "a batch is a str"),
    ],
)
def test_another_form_ends_in_a_line(batch, words):
    with pytest.raises(InputError, match=words):
        images_and_targets(batch)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["validate", "test", "predict", "fit"])
@pytest.mark.parametrize("is_same", [True, False])
def test_any_stage_may_come_before_training(first, is_same):
    torch.manual_seed(0)
    module, data, one = classifier(), digits(), trainer()
    getattr(one, first)(module, datamodule=data)
    another = one if is_same else trainer()
    another.fit(module, datamodule=data)
    ((after,),) = [another.validate(module, datamodule=data, verbose=False)]
    assert float(after["val/loss"]) < math.log(10)  # it has learned something


def test_each_validation_loader_has_its_own_metrics_and_the_first_is_monitored(tmp_path):
    module, best = classifier(), ModelCheckpoint(tmp_path, monitor="val/acc", mode="max")
    loaders = [loader(pair, 1), loader(pair, 2, count=40)]
    run = trainer(callbacks=[best], enable_checkpointing=True)
    run.fit(module, loader(pair), loaders)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    assert float(best.best_model_score) in {found["val/acc"], *map(float, best.best_k_models.values())}
    alone = [trainer().validate(module, each, verbose=False)[0] for each in loaders]
    assert found["val/loss"] == found["val/loss/dataloader_idx_0"] == pytest.approx(alone[0]["val/loss"])
    assert found["val/loss/dataloader_idx_1"] == pytest.approx(alone[1]["val/loss"])
    assert found["val/acc/dataloader_idx_1"] == pytest.approx(alone[1]["val/acc"])


def test_test_loaders_in_a_dict_give_their_names():
    module = classifier()
    run = trainer()
    run.test(module, {"clean": loader(pair, 1), "shifted": loader(pair, 2)}, verbose=False)
    shifted = float(run.callback_metrics["test/loss/shifted"])
    assert float(run.callback_metrics["test/loss/clean"]) == float(run.callback_metrics["test/loss"]) != shifted
    run.test(module, loader(pair, 2), verbose=False)  # one loader afterwards: no names
    assert {name for name in run.callback_metrics if name.startswith("test/loss")} == {"test/loss"}
    assert float(run.callback_metrics["test/loss"]) == pytest.approx(shifted)
    assert [len(each) for each in run.predict(module, [loader(pair), loader(pair)])] == [3, 3]


def test_hyperparameters_reach_a_logger_without_the_command_line(tmp_path):
    loggers = [CSVLogger(tmp_path, "one"), CSVLogger(tmp_path, "two")]
    trainer(logger=loggers, max_epochs=1, log_every_n_steps=1).fit(classifier(lr=0.03), loader(pair))
    for logger in loggers:
        read = yaml.safe_load((tmp_path / logger.name / "version_0" / "hparams.yaml").read_text())
        assert (read["backbone"], read["lr"], read["optimizer_args"]) == ("resnet20", 0.03, {"momentum": 0.9})


# Lightning's callbacks.


class Rates(BaseFinetuning):
    """Adds the stem in epoch 1 at a tenth of the learning rate, and notes the rates after each step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.backbone.conv1, train_bn=False)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone.conv1, optimizer)

    def on_train_batch_end(self, trainer, *args):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


@pytest.mark.parametrize("schedule", ["OneCycleLR", "CosineAnnealingLR", "MultiStepLR", "ReduceLROnPlateau", None])
def test_weights_that_a_callback_adds_follow_the_schedule_in_proportion(schedule):
    rates = Rates()
    options = {"scheduler_args": {"milestones": [0.5, 0.8]}} if schedule == "MultiStepLR" else {}
    module = classifier(scheduler=schedule, **options)
    before = module.backbone.conv1.weight.detach().clone()
    trainer(callbacks=[rates], max_epochs=3).fit(module, loader(pair), loader(pair))
    first, added = zip(*((rate[0], rate[-1]) for rate in rates.rates if len(rate) == 3), strict=True)
    assert len(first) == 6
    assert added == pytest.approx([rate / 10 for rate in first])
    assert schedule in (None, "ReduceLROnPlateau") or len(set(first)) > 1
    assert not torch.equal(module.backbone.conv1.weight, before)


def test_backbone_finetuning_trains_the_head_first_and_then_everything():
    class Watch(BackboneFinetuning):
        weights = ()

        def on_train_epoch_start(self, trainer, pl_module):
            super().on_train_epoch_start(trainer, pl_module)
            parts = pl_module.backbone.conv1.weight, pl_module.backbone.get_classifier().weight
            self.weights = [*self.weights, [part.detach().clone() for part in parts]]

    watch, module = Watch(unfreeze_backbone_at_epoch=1, train_bn=False), classifier()
    with pytest.warns(UserWarning, match="already exist within another group"):  # the head
        trainer(callbacks=[watch]).fit(module, loader(pair))
    (begun, frozen), thawed = watch.weights, module.backbone.conv1.weight
    assert torch.equal(begun[0], frozen[0])
    assert not torch.equal(frozen[0], thawed)
    assert not torch.equal(begun[1], frozen[1])


class Foreign(LightningModule):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8))
        self.head = nn.Linear(8, 10)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD([part for part in self.parameters() if part.requires_grad], 0.1, momentum=0.9)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")  # the head
@pytest.mark.parametrize(("make", "callbacks"), [(classifier, ()), (Foreign, (ExactResume,))])
@pytest.mark.parametrize(("stop", "train_norms"), [(0, True), (1, False)])  # before and after it unfreezes
def test_weights_that_a_callback_has_unfrozen_are_trained_on_after_resuming(
    tmp_path, make, callbacks, stop, train_norms
):
    def fit(resumed_from=None):
        torch.manual_seed(0)
        finetuning = BackboneFinetuning(unfreeze_backbone_at_epoch=1, train_bn=train_norms, verbose=False)
        keeper = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        options = {"enable_checkpointing": True, "max_epochs": 3}
        run = trainer(callbacks=[finetuning, keeper, *(part() for part in callbacks)], **options)
        module = make()
        run.fit(module, loader(pair), ckpt_path=resumed_from, weights_only=False)
        return module.state_dict()

    whole = fit()
    resumed = fit(tmp_path / f"epoch={stop}.ckpt")
    assert all(torch.equal(resumed[name], part) for name, part in whole.items())


@pytest.mark.slow
def test_the_schedule_rises_to_the_rate_that_the_finder_found():
    module, finder = classifier(lr=1e-4), LearningRateFinder(num_training_steps=30, max_lr=0.1)
    run = trainer(callbacks=[finder], max_epochs=3)
    run.fit(module, loader(pair, count=320))
    assert module.lr == finder.optimal_lr.suggestion() != 1e-4
    assert run.lr_scheduler_configs[0].scheduler.optimizer.param_groups[0]["max_lr"] == module.lr


def test_a_schedule_knows_the_steps_of_changing_accumulation():
    module, accumulate = classifier(), GradientAccumulationScheduler({0: 3, 1: 2})
    run = trainer(callbacks=[accumulate], max_epochs=3)
    run.fit(module, loader(pair, count=48))  # 6 batches: 2, 3 and 3 steps
    assert run.global_step == run.lr_scheduler_configs[0].scheduler.total_steps == 8


def test_pruning_needs_contiguous_weights():
    def prune():
        return trainer(callbacks=[ModelPruning("l1_unstructured", amount=0.5)], max_epochs=1)

    with pytest.raises(InputError, match="channels_last to false"):
        prune().fit(classifier(), loader(pair))
    module = classifier(channels_last=False)
    prune().fit(module, loader(pair))
    zeros = torch.cat([weight.flatten() == 0 for weight in module.parameters() if weight.ndim == 4])
    assert zeros.float().mean() > 0.4


# Processes that are copies of this one.


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_callbacks_work_in_processes_that_lightning_starts(tmp_path, strategy):
    callbacks = [LastCheckpoint(folder=tmp_path), RunProgress(), Throughput(), GradientNorm(), FiniteLoss()]
    callbacks += [ExactResume(), FirstBatch(tmp_path), Evaluation(tmp_path)]
    run = trainer(strategy=strategy, devices=2, callbacks=callbacks, enable_progress_bar=True)
    run.fit(module := classifier(), datamodule=digits())
    run.test(module, datamodule=digits(), verbose=False)
    assert {"train/loss", "val/acc", "test/acc"} - run.callback_metrics.keys() <= {"train/loss", "val/acc"}
    names = {path.name for path in tmp_path.rglob("*.*")}
    assert {"last.ckpt", "first_batch.png", "evaluation.json", "confusion_matrix.png"} <= names


def test_an_average_is_refused_where_processes_are_copies():
    run = trainer(strategy="ddp_spawn", devices=2, callbacks=[MovingAverage()])
    with pytest.raises(InputError, match="MovingAverage works in processes that are not copies"):
        run.fit(classifier(), datamodule=digits())
