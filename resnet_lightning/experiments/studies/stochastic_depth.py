"""Stochastic depth: residual branches that are dropped at random in training."""

from .recipes import PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, STOCHASTIC, quick_note, shortened, smoke
from .study import Budget, Study, Variant, expect

_PUBLISHED: dict[int, tuple[float, float]] = {110: (6.41, 5.25), 1202: (6.67, 4.91)}

_DEPTHS = 20, 56, *_PUBLISHED


def _variants(*depths: int) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            f"ResNet-{depth}" + (", stochastic depth" if rate else ""),
            {"model.backbone": f"resnet{depth}", "model.backbone_args": f"{{drop_path_rate: {rate}}}"},
            _PUBLISHED[depth][bool(rate)] if depth in _PUBLISHED else None,
            series="stochastic depth" if rate else "constant depth",
            x=depth,
        )
        for rate in (0.0, 0.5)
        for depth in depths
    )


STUDY = Study(
    name="stochastic_depth",
    title="Does it help to drop blocks in training?",
    source="Huang et al. 2016, *Deep Networks with Stochastic Depth*",
    summary="If training drops blocks at random, more often the later ones (half of the time for the last), the test "
    "error of very deep networks is lower.",
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
            settings=shortened(4, QUICK_IMAGES),
            variants=_variants(20, 56),
            note=f"{quick_note(4)} The source trains for 500 epochs. Stochastic depth is a regularization: in so short "
            "a training, which does not overfit, a higher error is to be expected. A branch is dropped for each image, "
            "not for a batch.",
            cost="25 minutes on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=STOCHASTIC,
            variants=_variants(110, 1202),
            note=f"{PAPER_NOTE} A branch is dropped for each image, not for a batch.",
            cost="500 epochs a run; use a GPU",
            seeds=5,
        ),
    },
    orders=(
        *(expect(f"ResNet-{depth}", f"ResNet-{depth}, stochastic depth") for depth in _DEPTHS),
        *(expect(f"ResNet-{depth}, stochastic depth", f"ResNet-{depth}", "train_error") for depth in _DEPTHS),
        expect("ResNet-110, stochastic depth", "ResNet-1202, stochastic depth"),
    ),
    quantities={"train_error": "training error"},
    x_label="layers",
)
