"""The two worked examples, as scripts in plain PyTorch and as configs of this package."""

from collections.abc import Mapping

from .recipes import SMOKE_NOTE
from .study import Budget, Order, Study, Variant

_SCRIPTS = "resnet_lightning.experiments.studies.worked_scripts"
_MNIST = {
    "data.batch_size": "128",
    "model.backbone": "resnet50",
    "model.optimizer": "Adam",
    "model.lr": "1.0e-4",
    "model.scheduler": "null",
    "trainer.max_epochs": "20",
}
"""``configs/mnist_resnet50.yaml``."""

_BIRDS = {
    "data.batch_size": "64",
    "data.classes": "[airplane, bird]",
    "data.val_split": "0.05",
    "data.augment": "{crop: 2, flip: true}",
    "data.mean": "[0.5, 0.5, 0.5]",
    "data.std": "[0.5, 0.5, 0.5]",
    "model.backbone": "resnet34",
    "model.optimizer": "Adam",
    "model.lr": "1.0e-3",
    "model.scheduler": "OneCycleLR",
    "model.scheduler_args": "{pct_start: 0.2}",
    "model.label_smoothing": "0.1",
    "trainer.max_epochs": "5",
}
"""``configs/cifar10_airplane_bird_resnet34.yaml``."""

_DIGITS = {"data.augment": "{}", "model.backbone": "resnet18", "model.backbone_args": "{stem: cifar}"}
_TWO_DIGITS = {"data.classes": "['0', '1']", "data.mean": "[0.5]", "data.std": "[0.5]"}
_SHORT = {"data.train_fraction": "0.3", "trainer.max_epochs": "1"}

# The test errors that the examples publish.
_MNIST_ERROR = 1.61
_BIRDS_ERROR = 10.1


def _variants(
    mnist: tuple[Mapping[str, str], Mapping[str, str]],
    birds: tuple[Mapping[str, str], Mapping[str, str]],
    data: tuple[str, str] = ("mnist", "cifar10"),
) -> tuple[Variant, ...]:
    """Returns the script and the config of each example.

    Args:
        mnist: the arguments of the script, and the options of ``lightning fit``, for the example on MNIST.
        birds: the same for the example on CIFAR-10.
        data: the data set of each.
    """
    panels = "ResNet-50 on MNIST", "ResNet-34, airplane or bird"
    return (
        Variant(
            "MNIST, script", mnist[0], _MNIST_ERROR, panel=panels[0], data=data[0], script=f"{_SCRIPTS}.mnist_resnet50"
        ),
        Variant("MNIST, config", mnist[1], _MNIST_ERROR, panel=panels[0], data=data[0]),
        Variant(
            "airplane or bird, script",
            birds[0],
            _BIRDS_ERROR,
            panel=panels[1],
            data=data[1],
            script=f"{_SCRIPTS}.airplane_bird_resnet34",
        ),
        Variant("airplane or bird, config", birds[1], _BIRDS_ERROR, panel=panels[1], data=data[1]),
    )


_NOTE = (
    "The scripts are written from the description of the examples, in PyTorch and torchvision alone. The configs are "
    "mnist_resnet50 and cifar10_airplane_bird_resnet34 of this package: the first is the example's recipe, the second "
    "adds small crops, flips, label smoothing and a one-cycle schedule. Both hold images out and test the best epoch. "
    "The published trainings took 820 and 25.6 seconds on a GPU."
)

STUDY = Study(
    name="worked_examples",
    title="The worked examples: a script of one's own, and a config",
    source="the worked examples that this project grew from",
    summary="The same networks on the same images, trained by a script in plain PyTorch and by this package.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings={},
            variants=_variants(
                ({"epochs": "1", "images": "400"}, {**_MNIST, **_DIGITS, **_SHORT}),
                (
                    {"epochs": "1", "classes": "0,1"},
                    {
                        **_BIRDS,
                        **_DIGITS,
                        **_SHORT,
                        "data.classes": "['0', '1']",
                        "data.mean": "[0.5]",
                        "data.std": "[0.5]",
                    },
                ),
                ("digits", "digits"),
            ),
            note=f"{SMOKE_NOTE} The configs train a ResNet-18, since these images are too small for the others.",
            cost="a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings={},
            variants=_variants(
                (
                    {"epochs": "3", "images": "10800"},
                    {**_MNIST, "data.train_fraction": "0.2", "trainer.max_epochs": "3"},
                ),
                ({}, _BIRDS),
            ),
            note=f"{_NOTE} On MNIST, both train for 3 epochs on 10,800 images, not for 20 epochs on all.",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings={},
            variants=_variants(({}, _MNIST), ({}, _BIRDS)),
            note=_NOTE,
            cost="20 epochs of MNIST a run; use a GPU",
        ),
    },
    orders=(
        Order(
            "the script has a higher test error than the config on airplanes and birds",
            higher=("airplane or bird, script", "error"),
            lower=("airplane or bird, config", "error"),
        ),
        Order(
            "the script takes longer than the config on MNIST",
            higher=("MNIST, script", "seconds"),
            lower=("MNIST, config", "seconds"),
        ),
        Order(
            "the script takes longer than the config on airplanes and birds",
            higher=("airplane or bird, script", "seconds"),
            lower=("airplane or bird, config", "seconds"),
        ),
    ),
    quantities={"train_error": "training error"},
)
