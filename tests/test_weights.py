import pickle

import pytest
import torch

from resnet_lightning import InputError, create_model
from resnet_lightning.models.weights import check_state_dict, read_checkpoint


class WritesAFile:
    """What a malicious checkpoint does: unpickling it runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Custom:
    pass


def test_a_checkpoint_is_read_onto_the_cpu(tmp_path):
    file = tmp_path / "good.ckpt"
    weights = create_model("resnet20").state_dict()
    torch.save({"state_dict": weights, "epoch": 3, "hyper_parameters": {"lr": 0.1, "args": None}}, file)
    for path in (file, str(file)):
        found = read_checkpoint(path)
        assert found["epoch"] == 3
        assert found["hyper_parameters"] == {"lr": 0.1, "args": None}
        assert list(found["state_dict"]) == list(weights)
        assert all(torch.equal(found["state_dict"][key], weights[key]) for key in weights)
        assert {tensor.device.type for tensor in found["state_dict"].values()} == {"cpu"}


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no checkpoint '.*/absent\.ckpt'"):
        read_checkpoint(tmp_path / "absent.ckpt")
    with pytest.raises(InputError, match="there is no checkpoint"):
        read_checkpoint(tmp_path)  # a folder


def whole(tmp_path):
    file = tmp_path / "whole.ckpt"
    torch.save(create_model("resnet20").state_dict(), file)
    return file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"epoch: 3\nlr: 0.1\n",
        lambda content: b"<html><body>404: Not Found</body></html>",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[100:],
    ],
    ids=["empty", "text", "web page", "first half", "last byte gone", "beginning gone"],
)
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(tmp_path, damage):
    file = tmp_path / "damaged.ckpt"
    file.write_bytes(damage(whole(tmp_path)))
    with pytest.raises(InputError, match=r"damaged\.ckpt' is not a checkpoint, is damaged or carries code") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("make", [WritesAFile, lambda path: Custom(), lambda path: whole], ids=["call", "class", "def"])
def test_a_checkpoint_that_carries_code_is_refused_and_the_code_does_not_run(tmp_path, write, make):
    file, trace = tmp_path / "code.ckpt", tmp_path / "trace"
    write({"state_dict": {}, "extra": make(trace)}, file)
    with pytest.raises(InputError, match=r"code\.ckpt' is not a checkpoint, is damaged or carries code"):
        read_checkpoint(file)
    assert not trace.exists()


def test_the_code_of_that_checkpoint_would_have_run(tmp_path):
    file, trace = tmp_path / "code.ckpt", tmp_path / "trace"
    torch.save(WritesAFile(trace), file)
    torch.load(file, weights_only=False).close()
    assert trace.exists()


def test_a_file_that_holds_something_else_is_named(tmp_path):
    file = tmp_path / "tensor.pt"
    torch.save(torch.zeros(3), file)
    with pytest.raises(InputError, match=r"tensor\.pt' is not a checkpoint: it holds a Tensor"):
        read_checkpoint(file)


def weights(**shapes):
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def test_weights_that_fit_pass_in_any_order():
    net = create_model("resnet20").state_dict()
    assert check_state_dict(net, dict(reversed(net.items())), "x.ckpt") is None
    with pytest.raises(InputError):
        check_state_dict(net, dict(list(net.items())[1:]), "x.ckpt")


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (weights(a=2), "b missing"),
        (weights(a=2, b=(3, 1), c=1), "c unexpected"),
        (weights(a=5, b=(3, 1)), "a (5,) instead of (2,) of another shape"),
        (weights(a=2, b=(1, 3)), "b (1, 3) instead of (3, 1) of another shape"),
        (weights(b=3, d=1, c=1), "a missing; d, c unexpected; b (3,) instead of (3, 1) of another shape"),
        ({}, "a, b missing"),
    ],
)
def test_every_difference_is_named(found, difference):
    with pytest.raises(InputError) as caught:
        check_state_dict(weights(a=2, b=(3, 1)), found, "old.ckpt")
    assert str(caught.value) == f"the weights in old.ckpt do not fit this net: {difference}"


def test_many_differences_are_counted():
    with pytest.raises(InputError, match=r": a, b, c and 2 more missing; x, y, z unexpected$"):
        check_state_dict(weights(a=1, b=1, c=1, d=1, e=1), weights(x=1, y=1, z=1), "x")


def test_the_head_and_first_convolution_of_another_task_are_named():
    with pytest.raises(InputError) as caught:
        check_state_dict(
            create_model("resnet20", num_classes=100, in_chans=1).state_dict(),
            create_model("resnet20").state_dict(),
            "x",
        )
    assert str(caught.value).endswith(
        "conv1.weight (16, 3, 3, 3) instead of (16, 1, 3, 3), fc.weight (10, 64) instead of (100, 64), "
        "fc.bias (10,) instead of (100,) of another shape"
    )
