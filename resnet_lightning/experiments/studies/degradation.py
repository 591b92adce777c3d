"""The degradation problem: deeper plain networks have a higher training error, residual ones do not."""

from .recipes import shortened
from .study import Budget, Order, Study, Variant

_PLAIN: dict[int, float | str] = {20: 9.5, 32: 10.0, 44: 12.0, 56: 13.5, 110: "> 60"}
_RESIDUAL: dict[int, float | str] = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}
_REMEASURED = {
    "plain-20": "9.78 ± 0.13 (n = 5)",
    "plain-56": "12.95 ± 0.22 (n = 5)",
    "ResNet-20": "8.51 ± 0.22 (n = 5)",
    "ResNet-56": "7.40 ± 0.27 (n = 5)",
    "ResNet-110": "7.14 ± 0.20 (n = 5)",
}


def _with_norm(*depths: int) -> tuple[Variant, ...]:
    """Returns the plain and the residual network of each depth, with batch normalization."""
    rows = [("plain", f"plain-{depth}", _PLAIN[depth], depth) for depth in depths]
    rows += [("residual", f"ResNet-{depth}", _RESIDUAL[depth], depth) for depth in depths]
    return tuple(
        Variant(
            label,
            {"model.backbone": label.lower().replace("-", "")},
            published,
            _REMEASURED.get(label, ""),
            series=series,
            x=depth,
            panel="with batch norm",
        )
        for series, label, published, depth in rows
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
            settings={**shortened(epochs=4), "data.batch_size": "64"},
            variants=_with_norm(20, 56)[::2],
            note="4 epochs of digits in place of 64,000 steps of CIFAR-10: this shows that the study runs, not what it "
            "finds.",
            cost="half a minute",
            seeds=1,
        ),
    },
    orders=(
        Order(
            "plain-56 has a higher training error than plain-20",
            higher=("plain-56", "train_error"),
            lower=("plain-20", "train_error"),
        ),
        Order(
            "plain-20 has a higher training error than ResNet-20",
            higher=("plain-20", "train_error"),
            lower=("ResNet-20", "train_error"),
        ),
    ),
    quantities={"train_error": "training error"},
    x_label="layers",
)
