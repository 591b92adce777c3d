"""The decoders of segmentation-models-pytorch around our networks, by way of timm's registry."""

import copy

import pytest
import torch
from torch.nn import functional as F

from nets import randomize_norms, snapshot
from resnet_lightning import create_model

timm = pytest.importorskip("timm", reason="registers encoders with timm: pip install -e '.[dev]'")
smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="trains its decoders: pip install segmentation-models-pytorch"
)


@timm.models.register_model
def our_resnet18(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **options):
    return create_model("resnet18", **options)


@timm.models.register_model
def our_resnet9(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **options):
    return create_model("resnet9", **options)


@timm.models.register_model
def our_preact_resnet20(
    pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, out_indices=(0, 1, 2), **options
):
    # The stem and the first stage have maps of one size, and the decoder needs one of each size.
    indices = [i + 1 for i in out_indices]
    return create_model("resnet20", order="full_pre_activation", out_indices=indices, **options)


ENCODERS = [
    ("our_resnet18", {}, [3, 64, 64, 128, 256, 512]),
    ("our_resnet9", {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}, [64, 128, 256, 512]),
    ("our_preact_resnet20", {"encoder_depth": 2, "decoder_channels": (16, 8)}, [16, 32, 64]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "channels"), ENCODERS)
def test_a_unet_trains_around_our_net(name, options, channels):
    net = smp.Unet(f"tu-{name}", encoder_weights=None, classes=2, **options)
    assert net.encoder.out_channels == channels
    images = torch.randn(2, 3, 64, 64)
    masks = (images.mean(1) > 0).long()
    before = snapshot(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(net(images), masks)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    unchanged = [key for key, parameter in net.named_parameters() if torch.equal(parameter, before[key])]
    assert not unchanged


def test_the_encoder_gives_the_maps_of_our_net():
    whole = randomize_norms(create_model("resnet18")).eval()
    net = smp.Unet("tu-our_resnet18", encoder_weights=None, in_channels=3).eval()
    head = ("fc.weight", "fc.bias")
    net.encoder.model.load_state_dict({key: tensor for key, tensor in whole.state_dict().items() if key not in head})
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        image, *maps = net.encoder(images)
        assert torch.equal(image, images)
        for found, wanted in zip(maps, whole.forward_intermediates(images, intermediates_only=True), strict=True):
            assert torch.equal(found, wanted)


def test_other_decoders_dilate_our_net_and_take_other_images():
    net = smp.DeepLabV3Plus("tu-our_resnet18", encoder_weights=None, in_channels=1, classes=3).eval()
    assert net.encoder.model.feature_info.reduction() == [2, 4, 8, 16, 16]
    with torch.no_grad():
        assert net(torch.randn(1, 1, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.* is deprecated",
    "ignore:The TorchScript type system doesn't support instance-level annotations",
    "ignore:Converting a tensor to a Python",  # the decoder compares sizes
)
def test_a_unet_around_our_net_is_scripted_traced_and_exported():
    net = smp.Unet("tu-our_resnet18", encoder_weights=None, decoder_channels=(64, 32, 16, 8, 8)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        exported = torch.export.export(net, (images,)).module()
        torch.testing.assert_close(exported(images), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.jit.script(copy.deepcopy(net))(images), expected)
        torch.testing.assert_close(torch.jit.trace(net, images)(images), expected)


def test_timm_creates_our_net_by_its_name():
    net = timm.create_model("our_resnet9", num_classes=4, drop_rate=0.1)
    assert (net.num_classes, net.drop_rate) == (4, 0.1)
    body = timm.create_model("our_resnet9", features_only=True, out_indices=2)
    assert body.feature_info.channels() == [256, 512]
