"""Wide residual networks: width against depth at about the same cost."""

from .costs import measure_cost
from .recipes import PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, WIDE, quick_note, shortened, smoke
from .study import Budget, Study, Variant, expect

_CIFAR10: dict[tuple[int, int], float] = {(40, 4): 4.53, (16, 8): 4.27, (28, 10): 4.00}
_CIFAR100: dict[tuple[int, int], float] = {(40, 4): 21.18, (16, 8): 20.43, (28, 10): 19.25}


def _variant(depth: int, width: int, published: float | None = None, data: str = "") -> Variant:
    return Variant(
        f"WRN-{depth}-{width}" + (", CIFAR-100" if data else ""),
        {
            "model.backbone": "resnet_lightning.models.cifar.wide_resnet",
            "model.backbone_args": f"{{depth: {depth}, width: {width}}}",
        },
        published,
        panel="CIFAR-100" if data else "",
        data=data,
    )


STUDY = Study(
    name="width",
    title="Deeper or wider?",
    source="Zagoruyko & Komodakis 2016, *Wide Residual Networks*, section 3",
    summary="At the same cost, networks of 16 to 28 layers with many channels have a lower error than thin and deep "
    "ones.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=smoke(),
            variants=(_variant(16, 1), _variant(10, 2)),
            note=SMOKE_NOTE,
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings=shortened(8, QUICK_IMAGES),
            variants=(_variant(40, 1), _variant(16, 2), _variant(10, 3)),
            note=f"{quick_note(8)} The weight decay is 0.0001, not 0.0005. The networks are much smaller than those of "
            "the source, and of about one cost.",
            cost="45 minutes on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=WIDE,
            variants=(
                *(_variant(*size, error) for size, error in _CIFAR10.items()),
                *(_variant(*size, error, data="cifar100") for size, error in _CIFAR100.items()),
            ),
            note=f"{PAPER_NOTE} The published numbers are medians, ours means.",
            cost="200 epochs a run; use a GPU",
            seeds=5,
        ),
    },
    orders=(
        expect("WRN-40-1", "WRN-16-2"),
        expect("WRN-16-2", "WRN-10-3"),
        expect("WRN-40-4", "WRN-16-8"),
        expect("WRN-16-8", "WRN-28-10"),
        expect("WRN-40-4, CIFAR-100", "WRN-16-8, CIFAR-100"),
        expect("WRN-16-8, CIFAR-100", "WRN-28-10, CIFAR-100"),
    ),
    measure=measure_cost,
    quantities={
        "train_error": "training error",
        "parameters": "parameters",
        "multiply_adds": "multiply-adds, millions",
    },
    statistic="median of 5 runs",
)
