"""Modified shortcuts: whatever is on the shortcut of a deep residual network, the identity is better."""

from collections.abc import Sequence

from .recipes import HE_2016, PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, quick_note, shortened, smoke
from .study import Budget, Study, Variant, expect

_ROWS: dict[str, tuple[str, float | str]] = {
    "identity": ("zero_pad", 6.61),
    "constant 0 (plain)": ("none", "fail (> 20)"),
    "constant 0.5": ("{constant_scaling: {scale: 0.5, residual_scale: 1.0}}", "fail (> 20)"),
    "constant 0.5, branch 0.5": ("{constant_scaling: {scale: 0.5, residual_scale: 0.5}}", 12.35),
    "exclusive gating, bias 0": ("{exclusive_gating: {bias: 0.0}}", "fail (> 20), for biases 0 to -5"),
    "exclusive gating, bias -6": ("{exclusive_gating: {bias: -6.0}}", 8.70),
    "exclusive gating, bias -7": ("{exclusive_gating: {bias: -7.0}}", 9.81),
    "shortcut-only gating, bias 0": ("{shortcut_gating: {bias: 0.0}}", 12.86),
    "shortcut-only gating, bias -6": ("{shortcut_gating: {bias: -6.0}}", 6.91),
    "1x1 convolution": ("convolution_everywhere", 12.22),
    "dropout 0.5": ("{dropout: {p: 0.5}}", "fail (> 20)"),
}
"""The option ``shortcut`` and the published error of each row of the table."""

_QUICK = (
    "identity",
    "constant 0 (plain)",
    "constant 0.5",
    "shortcut-only gating, bias 0",
    "1x1 convolution",
    "dropout 0.5",
)


def _variants(labels: Sequence[str]) -> tuple[Variant, ...]:
    return tuple(
        Variant(label, {"model.backbone_args": f"{{shortcut: {_ROWS[label][0]}}}"}, _ROWS[label][1]) for label in labels
    )


STUDY = Study(
    name="shortcuts",
    title="What may be on a shortcut?",
    source="He et al. 2016, *Identity Mappings in Deep Residual Networks*, Table 1",
    summary="Scaling, gating, convolving or dropping the shortcuts of ResNet-110 makes it worse, or keeps it from "
    "training.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings={**smoke(), "model.backbone": "resnet20"},
            variants=_variants(("identity", "shortcut-only gating, bias 0")),
            note=f"{SMOKE_NOTE} The network is ResNet-20, not ResNet-110.",
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings={**shortened(4, QUICK_IMAGES), "model.backbone": "resnet56"},
            variants=_variants(_QUICK),
            note=f"{quick_note(4)} The network is ResNet-56, not ResNet-110, and six of the eleven rows are trained.",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings={**HE_2016, "model.backbone": "resnet110"},
            variants=_variants(tuple(_ROWS)),
            note=f"{PAPER_NOTE} The published numbers are medians, ours means.",
            cost="64,000 steps of ResNet-110 a run",
            seeds=5,
        ),
    },
    orders=tuple(expect(label, "identity") for label in _ROWS if label != "identity"),
    quantities={"train_error": "training error"},
    statistic="median of 5 runs",
)
