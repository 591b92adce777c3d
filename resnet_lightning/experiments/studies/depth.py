"""Networks of 20 to 1,202 layers, with the activations after the addition and before the convolutions."""

from .recipes import HE_2016, PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, quick_note, shortened, smoke
from .study import Budget, Study, Variant, expect

_RESIDUAL: dict[int, float] = {20: 8.75, 110: 6.43, 164: 5.93, 1001: 7.61, 1202: 7.93}
_PRE_ACTIVATION: dict[int, float] = {110: 6.37, 164: 5.46, 1001: 4.92}
_REMEASURED = {
    "ResNet-20": "8.51 ± 0.22 (n = 5)",
    "ResNet-56": "7.40 ± 0.27 (n = 5)",
    "ResNet-110": "7.14 ± 0.20 (n = 5)",
}


def _overrides(depth: int, order: str) -> dict[str, str]:
    if depth in (164, 1001):  # bottlenecks, which the package names by their usual order
        projected = ", shortcut: projection" if order == "original" else ""
        return {"model.backbone": f"preact_resnet{depth}", "model.backbone_args": f"{{order: {order}{projected}}}"}
    return {"model.backbone": f"resnet{depth}", "model.backbone_args": f"{{order: {order}}}"}


def _variants(*depths: int) -> tuple[Variant, ...]:
    residual = [
        Variant(
            f"ResNet-{depth}",
            _overrides(depth, "original"),
            _RESIDUAL.get(depth),
            _REMEASURED.get(f"ResNet-{depth}", ""),
            series="residual",
            x=depth,
        )
        for depth in depths
    ]
    pre_activation = [
        Variant(
            f"pre-activation ResNet-{depth}",
            _overrides(depth, "full_pre_activation"),
            _PRE_ACTIVATION.get(depth),
            series="pre-activation",
            x=depth,
        )
        for depth in depths
    ]
    return (*residual, *pre_activation)


STUDY = Study(
    name="depth",
    title="How deep may a residual network be?",
    source="He et al. 2015, Table 6, and He et al. 2016, *Identity Mappings in Deep Residual Networks*, Tables 2 and 3",
    summary="With 1,202 layers, a residual network trains, but its error is higher than with 110. With pre-activation, "
    "1,001 layers have a lower error than 164.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=smoke(),
            variants=_variants(20),
            note=SMOKE_NOTE,
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings=shortened(3, QUICK_IMAGES),
            variants=_variants(20, 56, 110),
            note=f"{quick_note(3)} So short a training favours networks that learn quickly; the orders of the source "
            "concern its end.",
            cost="45 minutes on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=HE_2016,
            variants=_variants(20, 110, 164, 1001, 1202),
            note=f"{PAPER_NOTE} All runs start with a rate of 0.01 for 400 steps. The published numbers of 2016 are "
            "medians, ours means.",
            cost="64,000 steps a run; 1,001 layers need a large GPU",
            seeds=5,
        ),
    },
    orders=(
        expect("ResNet-20", "ResNet-110"),
        expect("ResNet-1202", "ResNet-110"),
        expect("ResNet-56", "pre-activation ResNet-56"),
        expect("ResNet-110", "pre-activation ResNet-110"),
        expect("ResNet-164", "pre-activation ResNet-164"),
        expect("ResNet-1001", "pre-activation ResNet-1001"),
        expect("pre-activation ResNet-164", "pre-activation ResNet-1001"),
        expect("ResNet-1001", "ResNet-164"),
    ),
    quantities={"train_error": "training error"},
    x_label="layers",
    statistic="single run or median of 5",
)
