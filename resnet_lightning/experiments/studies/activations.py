"""The order of convolution, norm and activation in a residual block."""

from .recipes import HE_2016, PAPER_NOTE, QUICK_IMAGES, SMOKE_NOTE, quick_note, shortened, smoke
from .study import Budget, Study, Variant, expect

_ORDERS = {
    "original": "original",
    "BN after addition": "norm_after_addition",
    "ReLU before addition": "act_before_addition",
    "ReLU-only pre-activation": "act_only_pre_activation",
    "full pre-activation": "full_pre_activation",
}
_PUBLISHED = {
    "ResNet-110": (6.61, 8.17, 7.84, 6.71, 6.37),
    "ResNet-164": (5.93, 6.50, 6.14, 5.91, 5.46),
}
_REMEASURED = {
    "ResNet-110, BN after addition": "13.6 (single run)",
}
_BACKBONES = {"ResNet-164": "preact_resnet164"}
_SURE = "BN after addition"


def _variants(*networks: str, orders: tuple[str, ...] = tuple(_ORDERS)) -> tuple[Variant, ...]:
    published = {
        (network, order): error
        for network, errors in _PUBLISHED.items()
        for order, error in zip(_ORDERS, errors, strict=True)
    }
    return tuple(
        Variant(
            f"{network}, {order}",
            {
                "model.backbone": _BACKBONES.get(network, network.lower().replace("-", "")),
                "model.backbone_args": f"{{order: {_ORDERS[order]}}}",
            },
            published.get((network, order)),
            _REMEASURED.get(f"{network}, {order}", ""),
            panel=network,
        )
        for network in networks
        for order in orders
    )


STUDY = Study(
    name="activations",
    title="Where do norm and activation belong?",
    source="He et al. 2016, *Identity Mappings in Deep Residual Networks*, Table 2",
    summary="With norm and activation before each convolution, nothing is left on the path of the shortcuts, and the "
    "error is lowest; a norm after the addition makes it highest.",
    budgets={
        "smoke": Budget(
            data="digits",
            settings=smoke(),
            variants=_variants("ResNet-20", orders=("original", "full pre-activation")),
            note=f"{SMOKE_NOTE} The network is ResNet-20, not ResNet-110 and ResNet-164.",
            cost="half a minute",
            seeds=1,
        ),
        "quick": Budget(
            data="cifar10",
            settings=shortened(4, QUICK_IMAGES),
            variants=_variants("ResNet-20", "ResNet-56"),
            note=f"{quick_note(4)} The networks are ResNet-20 and ResNet-56, not ResNet-110 and ResNet-164. At 20 "
            "layers, others found the orders to differ by no more than runs do (8.2 to 8.6).",
            cost="an hour on 2 cores",
        ),
        "paper": Budget(
            data="cifar10",
            settings=HE_2016,
            variants=_variants("ResNet-110", "ResNet-164"),
            note=f"{PAPER_NOTE} The published numbers are medians, ours means.",
            cost="64,000 steps a run",
            seeds=5,
        ),
    },
    orders=tuple(
        expect(f"{network}, {order}", f"{network}, full pre-activation")
        for network in ("ResNet-20", "ResNet-56", "ResNet-110", "ResNet-164")
        for order in _ORDERS
        if order != "full pre-activation" and (order == _SURE or network in _PUBLISHED)
    ),
    quantities={"train_error": "training error"},
    statistic="median of 5 runs",
)
