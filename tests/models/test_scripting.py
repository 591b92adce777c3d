"""torch.jit.script and torch.jit.trace."""

import copy

import pytest
import torch
from torch import nn

from nets import randomize_norms, tiny
from resnet_lightning import BasicBlock, Bottleneck, InputError, ResNet, create_model

# torch.jit itself is deprecated; the last one concerns a constructor in torch.fx.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.* is deprecated:FutureWarning",
    "ignore:`torch.jit.* is deprecated:DeprecationWarning",
    "ignore:The TorchScript type system doesn't support instance-level annotations",
)

NETS = {
    "basic": lambda: ResNet(BasicBlock, (1, 1), (8, 16), num_classes=5),
    "bottlenecks": lambda: ResNet(Bottleneck, (1, 1), (8, 16), num_classes=5, stem="deep", drop_rate=0.3),
    "preact": lambda: tiny(order="full_pre_activation", drop_path_rate=0.3),
    "gated": lambda: tiny(shortcut="exclusive_gating"),
    "plain": lambda: tiny(shortcut="none"),
    "resnet9": lambda: create_model("resnet9"),
    "resnet_fast": lambda: create_model("resnet_fast"),
    "pooled": lambda: tiny(num_classes=0, global_pool="max"),
}


IMAGES = torch.randn(2, 3, 16, 16)


@pytest.fixture(params=NETS)
def net(request):
    return randomize_norms(NETS[request.param]())


@pytest.mark.slow
def test_a_scripted_net_computes_the_same_after_it_was_saved(net, tmp_path):
    images = torch.randn(2, 3, 32, 40)
    scripted = torch.jit.script(net)
    assert set(scripted.state_dict()) == set(net.state_dict())
    scripted.save(tmp_path / "net.pt")
    loaded = torch.jit.load(tmp_path / "net.pt").eval()
    with torch.no_grad():
        expected = net.eval()(images)
        assert torch.equal(loaded(images), expected)
        assert torch.equal(loaded(images[:1, :, :16, :16]), net(images[:1, :, :16, :16]))


def test_a_scripted_net_trains_as_the_net_does():
    net = tiny()
    scripted = torch.jit.script(copy.deepcopy(net))
    images = torch.randn(4, 3, 16, 16)
    for module in (net, scripted):
        module.train()(images).square().mean().backward()
    for (key, ours), (_, theirs) in zip(net.named_parameters(), scripted.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=key)
    for (key, ours), (_, theirs) in zip(net.named_buffers(), scripted.named_buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=key)


@pytest.mark.parametrize("options", [{"drop_rate": 0.5}, {"drop_path_rate": 0.5}], ids=str)
def test_a_scripted_net_drops_in_training_alone(options):
    scripted = torch.jit.script(tiny(**options).eval())
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(scripted(images), scripted(images))
        scripted.train()
        assert not torch.equal(scripted(images), scripted(images))


def test_maps_are_a_list_in_a_larger_scripted_module():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = tiny().keep_features((1, 3))

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [found.sum((1, 2, 3)) for found in self.body(x)]

    net = Sums().eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = net(images)
        for found, wanted in zip(torch.jit.script(net)(images), expected, strict=True):
            assert torch.equal(found, wanted)


def test_a_block_with_a_condition_on_values_is_refused_in_one_line():
    class Picky(BasicBlock):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    net = tiny(Picky, strides=(1, 1, 1), shortcut="zero_pad")
    message = "torch.jit.script needs a network without conditions on values: .*; use torch.jit.trace or torch.export"
    with pytest.raises(InputError, match=message) as caught:
        torch.jit.script(net)
    assert "\n" not in str(caught.value)


def test_a_traced_net_computes_the_same_for_other_sizes(net):
    images = torch.randn(2, 3, 32, 40)
    net.eval()
    traced = torch.jit.trace(net, images)  # without a warning of torch
    with torch.no_grad():
        for other in (images, torch.randn(3, 3, 48, 33)):
            assert torch.equal(traced(other), net(other))


@pytest.mark.parametrize(
    "graph_of", [torch.jit.script, torch.fx.symbolic_trace, lambda net: torch.jit.trace(net, IMAGES)]
)
def test_gradient_checkpointing_does_not_reach_a_graph(graph_of):
    net = tiny().eval()
    expected = net(IMAGES)
    net.set_grad_checkpointing()
    found = graph_of(net)(IMAGES)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert net.layer1[0].conv1.weight.grad.any()
