"""The degradation problem: deeper plain networks have a higher training error, residual ones do not."""

from .recipes import ADAM, HE_2015, PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, WARM_UP, quick_note, shortened, smoke
from .study import Budget, Study, Variant, expect

_PLAIN: dict[int, float | str] = {20: 9.5, 32: 10.0, 44: 12.0, 56: 13.5, 110: "> 60"}
_RESIDUAL: dict[int, float | str] = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}
_REMEASURED = {
    "plain-20": "9.78 ± 0.13 (n = 5)",
    "plain-32": "9.9 to 13.0 (single runs)",
    "plain-44": "11.4 to 15.6 (single runs)",
    "plain-56": "12.95 ± 0.22 (n = 5)",
    "ResNet-20": "8.51 ± 0.22 (n = 5)",
    "ResNet-32": "7.3 to 7.8 (single runs)",
    "ResNet-44": "6.9 to 7.4 (single runs)",
    "ResNet-56": "7.40 ± 0.27 (n = 5)",
    "ResNet-110": "7.14 ± 0.20 (n = 5)",
}


def _with_norm(depths: tuple[int, ...], warm_up: bool = False) -> tuple[Variant, ...]:
    """Returns the plain and the residual network of each depth, with batch norm."""
    rows = [("plain", f"plain-{depth}", _PLAIN[depth], depth) for depth in depths]
    rows += [("residual", f"ResNet-{depth}", _RESIDUAL[depth], depth) for depth in depths]
    return tuple(
        Variant(
            label,
            {
                "model.backbone": label.lower().replace("-", ""),
                **(WARM_UP if warm_up and label == "ResNet-110" else {}),
            },
            published,
            _REMEASURED.get(label, ""),
            series=series,
            x=depth,
            panel="with batch norm",
        )
        for series, label, published, depth in rows
    )


def _without_norm(depth: int, settings: dict[str, str]) -> tuple[Variant, ...]:
    """Returns the plain and the residual network of a depth on MNIST, without norms."""
    further = {**settings, **ADAM, "model.backbone_args": "{norm_layer: none}"}
    remeasured = "; {} for another network of 20 and 40 blocks (single runs)"
    return tuple(
        Variant(
            f"{label}-{depth} without norm",
            {"model.backbone": f"{name}{depth}", **further},
            None,
            remeasured.format(error).removeprefix("; "),
            panel="without norm, MNIST",
            data="mnist",
        )
        for label, name, error in (("plain", "plain", "88.65 (chance)"), ("ResNet", "resnet", "0.61 and 0.60"))
    )


STUDY = Study(
    name="degradation",
    title="Are deeper networks better? The degradation problem",
    source="He et al. 2015, *Deep Residual Learning for Image Recognition*, Figure 6 and Table 6; errors of plain "
    "networks are read off the figure",
    summary="Plain networks have a higher training error the deeper they are; with shortcuts, deeper networks are "
    "better.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=smoke(),
            variants=_with_norm((20,)),
            note=SMOKE_NOTE,
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings=shortened(8, QUICK_IMAGES),
            variants=(
                *_with_norm((20, 56)),
                *_without_norm(44, {"data.train_fraction": "0.1", "trainer.max_epochs": "5"}),
            ),
            note=f"{quick_note(8)} The networks without norms train for 5 epochs on 6,000 images of MNIST, with Adam, "
            "a rate of 0.001 and a cosine schedule.",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=HE_2015,
            variants=_with_norm((20, 32, 44, 56, 110), warm_up=True),
            note=f"{PAPER_NOTE} ResNet-110 starts with a rate of 0.01 for 400 steps.",
            cost="64,000 steps a run",
            seeds=5,
        ),
    },
    orders=(
        expect("plain-56", "plain-20", "train_error"),
        expect("plain-56", "plain-20"),
        expect("plain-56", "ResNet-56", "train_error"),
        expect("plain-56", "ResNet-56"),
        expect("ResNet-20", "ResNet-56", "train_error"),
        expect("ResNet-20", "ResNet-56"),
        expect("ResNet-20", "ResNet-110"),
        expect("plain-110", "ResNet-110"),
        expect("plain-44 without norm", "ResNet-44 without norm"),
    ),
    quantities={"train_error": "training error"},
    x_label="layers",
)
