"""The head is trained first, then the stages that a schedule names."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback

from resnet_lightning import DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.cli.main import main
from resnet_lightning.training.resume_checks import check_training
from runs_alike import DDP, assert_same_run, with_callbacks
from small_trainings import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # it is, on purpose

SCHEDULE = {1: "layer3", 2: ["layer2"]}


def make_model(unfreeze=SCHEDULE, depth: int = 8, **options) -> ImageClassifier:
    options = {"optimizer_args": {"momentum": 0.9, "weight_decay": 0.1}, "lr": 0.05, **options}
    backbone = {"backbone": "resnet_lightning.models.cifar.cifar_resnet", "backbone_args": {"depth": depth}}
    return ImageClassifier(**{**backbone, "in_chans": 1, "unfreeze": unfreeze, **options})


class Changes(Callback):
    """Notes which parts of the network each epoch changes, statistics included."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.before = {name: tensor.clone() for name, tensor in pl_module.backbone.state_dict().items()}

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        state = pl_module.backbone.state_dict()
        self.seen.append({name.partition(".")[0] for name in state if not torch.equal(state[name], self.before[name])})


def test_each_epoch_changes_the_stages_of_the_schedule_and_no_statistics_of_others():
    changes = Changes()
    trainer = make_trainer(max_epochs=4, limit_train_batches=2, limit_val_batches=1, callbacks=[changes])
    trainer.fit(make_model(), DigitsDataModule(batch_size=16))
    assert changes.seen == [{"fc"}, {"fc", "layer3"}, *[{"fc", "layer2", "layer3"}] * 2]


def test_a_stage_learns_as_if_it_had_been_frozen_by_hand():
    """An independent training: SGD with momentum in plain torch, whose stage starts without momentum and decay."""
    data = DigitsDataModule(batch_size=16)
    torch.manual_seed(0)
    model = make_model({1: "layer3"}, scheduler=None)
    torch.manual_seed(0)
    other = make_model(None, scheduler=None).backbone
    trainer = make_trainer(max_epochs=2, limit_train_batches=3, limit_val_batches=0)
    trainer.fit(model, data)

    loader = data.train_dataloader()  # of torch: each iteration is the next epoch
    moving: dict[str, torch.Tensor] = {}
    for epoch in range(2):
        trained = ("fc",) if epoch == 0 else ("fc", "layer3")
        other.eval()
        if epoch:
            other.layer3.train()
        for step, (images, labels) in enumerate(loader):
            if step == 3:
                break
            loss = torch.nn.functional.cross_entropy(other(images), labels)
            named = {name: p for name, p in other.named_parameters() if name.startswith(trained)}
            gradients = torch.autograd.grad(loss, named.values())
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
                decayed = gradient + (0.1 * parameter.detach() if parameter.ndim > 1 else 0)
                moving[name] = 0.9 * moving[name] + decayed if name in moving else decayed
                with torch.no_grad():
                    parameter.sub_(0.05 * moving[name])
    for name, tensor in model.backbone.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


def test_an_empty_schedule_trains_the_head_alone_and_the_stem_can_be_named():
    model = make_model({})
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        "backbone.fc.weight",
        "backbone.fc.bias",
    }
    model = make_model({0: ["stem", "layer1"]})
    assert {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad} == {
        *("conv1", "bn1", "layer1", "fc")
    }


def test_networks_of_torchvision_have_their_stages_too():
    model = ImageClassifier("torchvision.models.resnet18", unfreeze={1: "layer4", 3: "layer1"})
    assert {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad} == {"fc"}
    assert not model.train().backbone.layer4.training
    assert model.backbone.fc.training


@pytest.mark.parametrize(
    ("unfreeze", "options", "words"),
    [
        ({1: "layr3"}, {}, "model.unfreeze: there is no stage 'layr3' in this network; did you mean 'layer3'"),
        ({1: "fc"}, {}, "there is no stage 'fc'"),
        ({-1: "layer3"}, {}, "model.unfreeze has the epoch -1; give a whole number"),
        ({1.5: "layer3"}, {}, "model.unfreeze has the epoch 1.5"),
        ({1: 3}, {}, "model.unfreeze: epoch 1 has 3; give the name of a stage"),
        ({1: "layer3", 2: ["layer2", "layer3"]}, {}, "model.unfreeze names 'layer3' twice"),
        (
            {1: "layer1"},
            {"backbone": "resnet20", "backbone_args": {"frozen_stages": 1}},
            "model.unfreeze names 'layer1', which frozen_stages or lr_factors freezes",
        ),
        ({1: "layer3"}, {"lr_factors": {"layer3.*": 0}}, "model.unfreeze names 'layer3', which frozen_stages or"),
    ],
    ids=str,
)
def test_a_wrong_schedule_is_named_in_one_line(unfreeze, options, words):
    with pytest.raises(InputError) as error:
        make_model(unfreeze, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [{"max_epochs": 2}, {"max_steps": 4, "max_epochs": -1, "limit_train_batches": 2}])
def test_an_epoch_beyond_the_end_is_refused(length):
    trainer = make_trainer(**length)
    with pytest.raises(InputError, match=r"model\.unfreeze has the epoch 2, but this run has 2 epochs"):
        trainer.fit(make_model(), DigitsDataModule(batch_size=16))


# Resuming, and several processes.


def fit(name: str, *more: str) -> list[str]:
    config = {
        "seed_everything": 3,
        "data": {"class_path": "DigitsDataModule", "init_args": {"batch_size": 24, "augment": {"crop": 1}}},
        "model": {
            "backbone": "resnet_lightning.models.cifar.cifar_resnet",
            "backbone_args": {"depth": 8, "drop_path_rate": 0.3},
            "lr": 0.05,
            "lr_factors": {"*": 0.5, "fc.*": 1},
            "unfreeze": SCHEDULE,
            "optimizer_args": {"momentum": 0.9},
        },
        "trainer": {"max_epochs": 3, "limit_train_batches": 4, "gradient_clip_val": 1.0, "log_every_n_steps": 1},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "--config", "config.yaml", "--resume", name, *more]


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder", "without_figures")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_stopped_before_at_and_after_a_change_ends_bitwise_the_same(warm, processes):
    def run(command: list[str], code: int = 0) -> None:
        if processes == 1:
            assert main(command) == code
        else:
            warm.run_together(*command, *DDP, code=code)

    for moment in ([0, 2], [0, -1], [1, 1]):
        run(fit("stopped", *with_callbacks("more", Seen={"folder": "seen", "stop_at": moment})), code=143)
    run(fit("stopped"))
    run(fit("whole"))
    assert_same_run("stopped", "whole")


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder", "without_figures")
def test_two_processes_train_a_stage_that_is_unfrozen_as_one_does(warm):
    """Both wrap the network before the stage is trained; without another wrap, each would train a stage of its own."""
    options = ["--model.backbone_args", "{depth: 8, norm_layer: group}", "--data.augment.crop", "0"]
    assert main(fit("one", *options, "--data.batch_size", "24")) == 0
    warm.run_together(*fit("two", *options, "--data.batch_size", "12"), *DDP)
    one, two = (torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def test_a_resumed_run_cannot_change_the_schedule():
    before = {"data": "DigitsDataModule", "model": {"optimizer": "SGD", "scheduler": None, "backbone": "resnet20"}}
    now = {**before, "model": {**before["model"], "unfreeze": {2: "layer3"}}}
    with pytest.raises(InputError, match="was trained with unfreeze None, which a resumed run cannot change"):
        check_training("last.ckpt", before, now)
