"""The network for short trainings: its formula, its initialization and its options."""

import pytest
import torch
from torch.nn import functional as F

from nets import randomize_norms
from resnet_lightning import InputError, create_model


def norm(x, bn):
    return F.batch_norm(x, None, None, bn.weight, bn.bias, training=True)


def convolve(x, layer):
    return F.conv2d(x, layer.weight, padding=1)


def functional_resnet_fast(net, images):
    """For sizes that are divisible by 8."""
    x = F.relu(norm(convolve(images, net.conv1), net.bn1))
    for stage in (net.layer1, net.layer2, net.layer3):
        first, *residual = stage
        x = F.relu(norm(F.max_pool2d(convolve(x, first.conv1), 2), first.bn1))
        for block in residual:
            branch = F.relu(norm(convolve(x, block.conv1), block.bn1))
            x = F.relu(x + norm(convolve(branch, block.conv2), block.bn2))
    return x.amax((2, 3)) @ net.fc.weight.T / 8


def test_it_equals_its_formula():
    net = randomize_norms(create_model("resnet_fast")).double()
    images = torch.randn(3, 3, 32, 24, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(net(images), functional_resnet_fast(net, images))
    assert [len(stage) for stage in (net.layer1, net.layer2, net.layer3)] == [1, 2, 2]


def test_its_convolutions_begin_as_copies_and_its_residual_branches_at_zero():
    net = create_model("resnet_fast")
    images = torch.rand(2, 32, 8, 8)
    convolution = net.layer2[0].conv1
    assert torch.equal(convolution(images)[:, :32], images)
    assert convolution(images)[:, 32:].std() > 0.1
    pair = net.layer3[1]
    maps = torch.rand(2, 128, 4, 4)
    assert torch.equal(pair(maps), maps)
    pair.bn2.weight.data.fill_(1.0)
    assert not torch.equal(pair(maps), maps)


def test_its_options_change_what_they_name():
    net = create_model(
        "resnet_fast", widths=[8, 12, 16, 24], stem_planes=4, head_scale=0.5, dirac_init=False, global_pool="avg"
    )
    assert net.feature_info.channels() == [4, 8, 12, 16, 24]
    assert net.reduction == 16
    features = torch.randn(2, 24)
    torch.testing.assert_close(net.fc(features), features @ net.fc.weight.T / 2)
    images = torch.rand(2, 4, 8, 8)
    assert not torch.equal(net.layer1[0].conv1(images)[:, :4], images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": 64}, r"widths is 64; give the channels of each stage, such as \[32, 64, 128\]"),
        ({"widths": []}, r"widths is \[\]; give the channels"),
        ({"widths": [32, 0]}, "widths is .*; give the channels"),
        ({"widths": [32, "64"]}, "widths is .*; give the channels"),
        ({"head_scale": 0}, "head_scale is 0; give a number above 0"),
        ({"head_scale": "1/8"}, "head_scale is '1/8'; give a number above 0"),
        ({"output_stride": 4}, "resnet_fast downsamples by pooling"),
        ({"width": [8]}, "takes no option 'width'; did you mean 'widths'"),
    ],
)
def test_wrong_options_end_in_one_line(options, message):
    with pytest.raises(InputError, match=message):
        create_model("resnet_fast", **options)
