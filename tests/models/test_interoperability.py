import copy
import pickle
from collections import OrderedDict

import pytest
import torch
import torchvision
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn
from torch.export import Dim
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from nets import randomize_norms, tiny
from resnet_lightning import BasicBlock, Bottleneck, InputError, ResNet, create_model
from resnet_lightning.models.cifar import cifar_bottlenecks
from resnet_lightning.models.shortcuts import SHORTCUTS

timm = pytest.importorskip("timm", reason="compares with timm: pip install -e '.[dev]'")


def assert_near(found, expected, share):
    """Nowhere further apart than that share of the largest value."""
    assert found.shape == expected.shape
    assert found.isfinite().all()
    assert (found.double() - expected.double()).abs().max() <= share * expected.double().abs().max()


# timm.


THEIRS = {
    "resnet18": ("resnet18", {}),
    "resnet50": ("resnet50", {}),
    "resnext50_32x4d": ("resnext50_32x4d", {}),
    "resnet50c": ("resnet50", {"stem": "deep"}),
}


def pair(their_name, **options):
    """timm's net and ours, of the same weights, in evaluation."""
    theirs = randomize_norms(timm.create_model(their_name, pretrained=False, **options))
    name, ours = THEIRS[their_name]
    return theirs.eval(), create_model(name, pretrained=theirs.state_dict(), **ours, **options).eval()


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "resnet50c"])
def test_logits_are_those_of_timm(name):
    theirs, ours = pair(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(2, 3, 64, 80)
    with torch.no_grad():
        logits = ours(images)
        torch.testing.assert_close(logits, theirs(images))
    assert not torch.allclose(logits[0], logits[1], rtol=0.01)


@pytest.mark.slow
def test_a_training_step_is_that_of_timm():
    theirs, ours = pair("resnet50c")
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([1, 2, 3, 4])
    losses = [F.cross_entropy(net.train()(images), labels) for net in (theirs, ours)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for loss in losses:
        loss.backward()
    for (key, found), (their_key, expected) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert key == their_key
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5)
    for (_, found), (_, expected) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "output_stride"), [("resnet18", 16), ("resnet50", 8)])
def test_dilated_maps_are_those_of_timm(name, output_stride):
    theirs, ours = pair(name, output_stride=output_stride)
    images = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        found = ours.forward_features(images)
        assert found.shape[2:] == (64 // output_stride, 80 // output_stride)
        torch.testing.assert_close(found, theirs.forward_features(images))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet50c", {}),
        ("resnet18", {"out_indices": (1, 3)}),
        ("resnet18", {"out_indices": (-3, -1)}),
        ("resnet18", {"output_stride": 8}),
    ],
    ids=str,
)
def test_feature_maps_and_what_is_known_of_them_are_those_of_timm(name, options):
    whole, _ = pair(name)
    theirs = timm.create_model(name, pretrained=False, features_only=True, **options).eval()
    theirs.load_state_dict(whole.state_dict(), strict=False)
    our_name, our_options = THEIRS[name]
    ours = create_model(our_name, pretrained=whole.state_dict(), features_only=True, **our_options, **options).eval()

    info = theirs.feature_info
    assert ours.feature_info.channels() == info.channels()
    assert ours.feature_info.reduction() == info.reduction()
    assert ours.feature_info.module_name() == [name.replace("act1", "relu") for name in info.module_name()]
    images = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        found, expected = ours(images), theirs(images)
    assert isinstance(found, list)
    assert len(found) == len(info.channels())
    for our_map, their_map in zip(found, expected, strict=True):
        torch.testing.assert_close(our_map, their_map)


def test_calls_that_timm_answers_get_its_answers():
    theirs, ours = pair("resnet18")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = ours.forward_features(images)
        torch.testing.assert_close(maps, theirs.forward_features(images))
        torch.testing.assert_close(ours.forward_head(maps), theirs.forward_head(maps))
        features = ours.forward_head(maps, pre_logits=True)
        torch.testing.assert_close(features, theirs.forward_head(maps, pre_logits=True))
        assert ours.num_features == theirs.num_features
        assert ours.num_classes == theirs.num_classes
        assert torch.equal(ours.get_classifier().weight, theirs.get_classifier().weight)
        for classes, pool in ((0, "avg"), (0, "max"), (0, ""), (0, "avg")):
            for net in (ours, theirs):
                net.reset_classifier(classes, pool)
                assert net.num_classes == classes
            torch.testing.assert_close(ours(images), theirs(images))
        for net in (ours, theirs):
            net.reset_classifier(7)
            assert net(images).shape == (2, 7)


# What libraries do to any torch network. Small ones of each kind: what is traced grows with the number of layers.


NETS = {
    "basic": lambda: ResNet(BasicBlock, (2, 2, 1), (8, 16, 24), num_classes=10),
    "bottlenecks": lambda: ResNet(Bottleneck, (2, 1, 1), (8, 16, 24), num_classes=10, stem="deep"),
    "resnet20": lambda: create_model("resnet20"),
    "preact": lambda: cifar_bottlenecks(20),
    "gated": lambda: tiny(shortcut="exclusive_gating"),
}


@pytest.fixture(params=NETS)
def net(request):
    return randomize_norms(NETS[request.param]()).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 40, 40)


def test_a_deep_copy_is_equal_and_a_net_of_its_own(net, images):
    again = copy.deepcopy(net)
    with torch.no_grad():
        before = net(images)
        assert torch.equal(again(images), before)
        for tensor in again.state_dict().values():
            tensor.zero_()
        assert torch.equal(net(images), before)


def test_the_whole_module_can_be_pickled(net, images):
    net.freeze_stages(1)
    again = pickle.loads(pickle.dumps(net))
    with torch.no_grad():
        assert torch.equal(again(images), net(images))
    assert again.feature_info == net.feature_info
    assert again.feature_info.channels() == net.feature_info.channels()
    assert [parameter.requires_grad for parameter in again.parameters()] == [
        parameter.requires_grad for parameter in net.parameters()
    ]
    again.reset_classifier(3)
    assert again(images).shape == (3, 3)


def test_all_children_but_the_last_are_the_feature_extractor(net, images):
    with torch.no_grad():
        features = nn.Sequential(*list(net.children())[:-1])(images)
        assert features.shape == (3, net.num_features, 1, 1)
        assert torch.equal(net.fc(features.flatten(1)), net(images))


def test_symbolic_trace_gives_a_graph_that_computes_the_same(net, images):
    graph = torch.fx.symbolic_trace(net)
    with torch.no_grad():
        for other in (images, torch.randn(1, 3, 33, 70)):
            assert torch.equal(graph(other), net(other))
        with pytest.raises(InputError, match="an image of 1x1 is too small"):
            graph(torch.randn(1, 3, 1, 1))


def test_convolutions_swallow_the_norms_after_them(net, images):
    fused = fuse(net)
    norms, left = (
        {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)} for model in (net, fused)
    )
    # The first norm of a pre-activation block, and the last of all, follow an addition.
    after_additions = {name for name in norms if name.endswith(".bn1") or name.startswith("last_activation")}
    assert left == (after_additions if hasattr(net, "last_activation") else set())
    assert len(norms - left) > 10
    with torch.no_grad():
        assert_near(fused(images), net(images), 1e-4)


def test_channels_last_stays_channels_last_and_changes_no_value(net, images):
    with torch.no_grad():
        expected = [net(images), *copy.deepcopy(net).keep_features()(images)]
        net = net.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
        logits, maps = net(images), copy.deepcopy(net).keep_features()(images)
    for found in maps:
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert not found.is_contiguous()
    for found, wanted in zip((logits, *maps), expected, strict=True):
        assert_near(found, wanted, 1e-4)


def test_other_precisions_give_nearly_the_same(net, images):
    with torch.no_grad():
        expected = net(images)
        for dtype, share in [(torch.float64, 1e-5), (torch.bfloat16, 0.1), (torch.float16, 0.02)]:
            found = copy.deepcopy(net).to(dtype)(images.to(dtype))
            assert found.dtype == dtype
            assert_near(found, expected, share)
            assert not torch.equal(found.float(), expected)


def test_autocast_gives_nearly_the_same_and_gradients_in_full_precision(net, images):
    expected = net(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(images)
    assert found.dtype == torch.bfloat16
    assert_near(found, expected, 0.1)
    found.float().square().sum().backward()
    assert {parameter.grad.dtype for parameter in net.parameters()} == {torch.float32}


class FullPrecisionNorm(nn.GroupNorm):
    """A group norm as autocast runs it on a GPU: it returns 32 bits whatever it is given."""

    def __init__(self, planes):
        super().__init__(4, planes)

    def forward(self, x):
        return super().forward(x.float())


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("order", ["original", "full_pre_activation"])
def test_autocast_may_leave_the_norms_in_full_precision(shortcut, order):
    net = tiny(shortcut=shortcut, order=order, norm_layer=FullPrecisionNorm).eval()
    images = torch.randn(2, 3, 16, 16)
    expected = net(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(images)
    assert_near(found, expected, 0.1)
    found.float().square().sum().backward()
    assert {parameter.grad.dtype for parameter in net.parameters()} == {torch.float32}


def test_norms_become_synchronised_ones_of_the_same_values(net, images):
    net.freeze_stages(0)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(net))
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == norms
    assert not any(isinstance(module, nn.BatchNorm2d) for module in converted.modules())
    assert list(converted.state_dict()) == list(net.state_dict())
    with torch.no_grad():
        assert torch.equal(converted(images), net(images))
    assert not any(parameter.requires_grad for parameter in converted.train().bn1.parameters())
    assert not converted.bn1.training


@pytest.mark.slow
def test_export_takes_batches_of_any_size(net, images):
    program = torch.export.export(net, (images,), dynamic_shapes={"x": {0: Dim("batch")}})
    exported = program.module()
    with torch.no_grad():
        for batch in (3, 1, 7):
            images = torch.randn(batch, 3, 40, 40)
            torch.testing.assert_close(exported(images), net(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_export_takes_images_of_any_size(images):
    body = create_model("resnet20", features_only=True, order="full_pre_activation").eval()
    sizes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    exported = torch.export.export(body, (images,), dynamic_shapes={"x": sizes}).module()
    other = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        for found, expected in zip(exported(other), body(other), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_runtime_computes_the_same_for_batches_of_any_size(net, images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX: pip install -e '.[dev]'")
    file = tmp_path / "net.onnx"
    torch.onnx.export(net, (images,), file, dynamo=True, dynamic_shapes={"x": {0: Dim.DYNAMIC}}, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (name,) = (put.name for put in session.get_inputs())
    for batch in (3, 1, 8):
        images = torch.randn(batch, 3, 40, 40)
        (found,) = session.run(None, {name: images.numpy()})
        with torch.no_grad():
            assert_near(torch.from_numpy(found), net(images), 1e-4)


@pytest.fixture
def compiler():
    """Forgets what was compiled, as there is a limit to the graphs of one function."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiler_sees_one_whole_graph(net, images):
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), net(images), rtol=1e-4, atol=1e-4)


def assert_compiled_step_is_equal(net, images, backend):
    net, images = net.double(), images.double()  # where rounding is nothing beside a mistake
    plain = copy.deepcopy(net)
    for step in (torch.compile(net, fullgraph=True, backend=backend), plain):
        outputs = step(images)
        sum(found.square().mean() for found in (outputs if isinstance(outputs, list) else [outputs])).backward()
    for (key, found), (_, expected) in zip(net.named_parameters(), plain.named_parameters(), strict=True):
        if expected.grad is None:
            assert found.grad is None, key
        else:
            assert_near(found.grad, expected.grad, 1e-9)
    for (key, found), (_, expected) in zip(net.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(found, expected, msg=key)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_step_with_all_options_is_the_plain_one(images):
    body = create_model(
        "resnet20", order="full_pre_activation", features_only=True, out_indices=(1, 3), frozen_stages=1
    ).train()
    body.set_grad_checkpointing()
    assert_compiled_step_is_equal(body, images, "aot_eager")


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["basic", "preact", "gated"])
def test_a_compiled_net_computes_the_same(name, images):
    net = randomize_norms(NETS[name]()).eval()
    compiled = torch.compile(net, fullgraph=True)
    with torch.no_grad():
        assert_near(compiled(images), net(images), 1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_and_checkpointed_training_step_is_the_plain_one(images):
    net = cifar_bottlenecks(11)
    net.set_grad_checkpointing()
    assert_compiled_step_is_equal(net, images, "inductor")


# torchvision's feature extractors and detectors.


def test_intermediate_layer_getter_gives_torchvisions_maps():
    theirs = randomize_norms(torchvision.models.resnet50()).eval()
    ours = create_model("resnet50", pretrained=theirs.state_dict()).eval()
    wanted = {"layer1": "low", "layer3": "middle", "layer4": "high"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = (IntermediateLayerGetter(net, wanted)(images) for net in (ours, theirs))
    assert list(found) == ["low", "middle", "high"]
    for key in found:
        assert torch.equal(found[key], expected[key])


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_create_feature_extractor_gives_torchvisions_maps_stages_and_blocks_alike(name):
    theirs = randomize_norms(getattr(torchvision.models, name)()).eval()
    ours = create_model(name, pretrained=theirs.state_dict()).eval()
    # A block's last activation is its second, a bottleneck's its third.
    last = {"resnet18": "relu_1", "resnet50": "relu_2"}[name]
    nodes = ["relu", "layer1", f"layer2.0.{last}", "layer3", f"layer4.1.{last}", "avgpool", "fc"]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = (create_feature_extractor(net, nodes)(images) for net in (ours, theirs))
    assert list(found) == nodes
    for node in nodes:
        assert torch.equal(found[node], expected[node]), node


def test_the_extractors_find_the_maps_that_feature_info_names(net, images):
    names = net.feature_info.module_name()
    with torch.no_grad():
        expected = copy.deepcopy(net).keep_features()(images)
        getter = IntermediateLayerGetter(net, {name: str(i) for i, name in enumerate(names)})(images)
        extractor = create_feature_extractor(net, {name: str(i) for i, name in enumerate(names)})(images)
    for i, wanted in enumerate(expected):
        assert torch.equal(getter[str(i)], wanted)
        assert torch.equal(extractor[str(i)], wanted)


# torchvision notes that the two modes differ, as they do with stochastic depth.
@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing the model in eval mode are a subsequence")
def test_an_extractor_drops_paths_in_training_alone(images):
    net = create_model("resnet20", drop_path_rate=0.9)
    extractor = create_feature_extractor(net, ["layer3"])
    with torch.no_grad():
        assert torch.equal(extractor.eval()(images)["layer3"], net.eval().forward_features(images))
        extractor.train()
        assert not torch.equal(extractor(images)["layer3"], extractor(images)["layer3"])


def by_layer_getter():
    """As torchvision's own detectors take a net apart, with its stem and first stage frozen."""
    net = create_model("resnet18", frozen_stages=1)
    stages = {f"layer{k}": str(k - 1) for k in range(1, 5)}
    return BackboneWithFPN(net, stages, net.feature_info.channels()[1:], out_channels=32)


class Pyramid(nn.Module):
    """Our maps, and torchvision's pyramid of them."""

    def __init__(self):
        super().__init__()
        self.body = create_model("resnet18", features_only=True, out_indices=(1, 2, 3, 4), frozen_stages=1)
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), 32)
        self.out_channels = 32

    def forward(self, x):
        return self.fpn(OrderedDict((str(i), found) for i, found in enumerate(self.body(x))))


@pytest.mark.parametrize("make", [by_layer_getter, Pyramid])
def test_a_detector_stands_on_our_backbone(make):
    backbone = make()
    sizes = ((8,), (16,), (32,), (64,)) if make is Pyramid else ((8,), (16,), (32,), (64,), (128,))
    detector = FasterRCNN(
        backbone,
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=3, sampling_ratio=2),
        min_size=64,
        max_size=96,
        box_score_thresh=0.0,
    )
    images = [torch.rand(3, 64, 80), torch.rand(3, 70, 64)]
    targets = [
        {"boxes": torch.tensor([[5.0, 5.0, 40.0, 50.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[10.0, 20.0, 30.0, 60.0], [1.0, 1.0, 20.0, 20.0]]), "labels": torch.tensor([2, 1])},
    ]
    before = {key: tensor.clone() for key, tensor in backbone.body.state_dict().items()}
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01, weight_decay=0.01)
    losses = detector.train()(images, targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    optimizer.step()
    # Of a net that was taken apart, the norms of the frozen part still count.
    weights = {key for key, _ in backbone.body.named_parameters()}
    for key, tensor in backbone.body.state_dict().items():
        frozen = key.startswith(("conv1", "bn1", "layer1")) and (key in weights or make is Pyramid)
        assert torch.equal(tensor, before[key]) == frozen, key

    with torch.no_grad():
        maps = backbone.eval()(torch.rand(1, 3, 64, 96))
        assert [tuple(maps[str(i)].shape) for i in range(4)] == [
            (1, 32, 64 // reduction, 96 // reduction) for reduction in (4, 8, 16, 32)
        ]
        for image, found in zip(images, detector.eval()(images), strict=True):
            boxes = found["boxes"]
            assert len(boxes) > 0
            assert boxes.min() >= 0
            assert boxes[:, 2].max() <= image.shape[2]
            assert boxes[:, 3].max() <= image.shape[1]


# Lightning.


class Probe(LightningModule):
    """A linear head on a backbone."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, 2)
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.head(self.backbone(batch[0])), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=0.001)


def fit(module, epochs, *callbacks):
    """Bright and dark images, in four batches an epoch."""
    labels = torch.tensor([0, 1] * 16)
    images = torch.randn(32, 3, 8, 8) + 2 * labels[:, None, None, None]
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), **quiet)
    trainer.fit(module, DataLoader(TensorDataset(images, labels), batch_size=8))


# Lightning's advice to whoever wrote the loader and the log; there are four batches, and no log.
advice = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:The number of training batches .* is smaller than the logging"
)


@advice
@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # what is frozen is, on purpose
@pytest.mark.parametrize("order", ["original", "full_pre_activation"])
def test_a_linear_probe_learns_on_a_backbone_that_stays_bitwise_the_same(order):
    backbone = create_model("resnet20", order=order, num_classes=0, frozen_stages=3)
    module = Probe(backbone)
    assert len(module.configure_optimizers().param_groups[0]["params"]) == 2
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    fit(module, 10)
    assert module.losses[-1] < module.losses[0] / 2
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


class Watch(BackboneFinetuning):
    """Lightning's callback, which here takes notes of the backbone at the beginning of each epoch."""

    def __init__(self, **options):
        super().__init__(**options)
        self.states = []

    def on_train_epoch_start(self, trainer, pl_module):
        super().on_train_epoch_start(trainer, pl_module)
        self.states.append({key: tensor.clone() for key, tensor in pl_module.backbone.state_dict().items()})


@advice
@pytest.mark.parametrize("order", ["original", "full_pre_activation"])
def test_lightnings_finetuning_thaws_the_backbone_when_it_is_told_to(order):
    backbone = create_model("resnet20", order=order, num_classes=0)
    watch = Watch(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01, train_bn=False)
    fit(Probe(backbone), 2, watch)
    begun, frozen = watch.states
    thawed = backbone.state_dict()
    # Lightning leaves the norms to train from the beginning, whatever train_bn says.
    weights = [key for key, tensor in begun.items() if tensor.ndim == 4]
    assert len(weights) == 19
    for key in weights:
        assert torch.equal(begun[key], frozen[key]), key
        assert not torch.equal(frozen[key], thawed[key]), key
    assert int(thawed["bn1.num_batches_tracked"]) == 8
