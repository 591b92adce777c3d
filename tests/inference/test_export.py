"""Exported files compute what the checkpoint computes that they were made of."""

import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import chdir
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from torch import nn

from image_files import random_pixels, write_folders, write_images
from nets import randomize_norms
from repository import CONFIGS, ROOT
from resnet_lightning import ImageClassifier, create_model
from resnet_lightning.cli.export import command as export_command
from resnet_lightning.cli.main import main
from resnet_lightning.data.loading.decode import scale_and_cut
from resnet_lightning.errors import InputError
from resnet_lightning.inference import export as exporting
from resnet_lightning.inference.export import FORMATS, TOLERANCE, compare, export
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.inference.program import Deployable, deployable
from runs_alike import draw_no_figures, working_in

onnx = pytest.importorskip("onnx", reason="exports to ONNX: pip install -e '.[dev]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX: pip install -e '.[dev]'")
safetensors = pytest.importorskip("safetensors.torch", reason="writes safetensors: pip install -e '.[dev]'")

PROGRAMS = ["torch_export", "onnx"]

# Nets for colour images of 32x32, whose shorter side is scaled to 36.
NETS = {
    "resnet18": ["--model.backbone", "resnet18"],
    "preact": ["--model.backbone", "resnet20", "--model.backbone_args", "{order: full_pre_activation}"],
    "mobilenet": ["--model.backbone", "torchvision.models.mobilenet_v3_small"],
    "ema": ["--model.backbone", "resnet20", "--config", str(CONFIGS / "overlays" / "ema.yaml")],
}


@pytest.fixture(scope="module")
def digits(digits_run, tmp_path_factory):
    """The checkpoint of a resnet20 that has seen some digits, in a copy of its run for files beside it."""
    folder = shutil.copytree(digits_run, tmp_path_factory.mktemp("digits") / "run")
    return folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def digit_files(digits):
    """Exports that checkpoint, once to each format, beside it."""
    made = {}

    def make(format):
        made[format] = made.get(format) or export(digits, format).path
        return made[format]

    return make


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """Makes checkpoints of nets for colour images, each once."""
    root, made = tmp_path_factory.mktemp("colour"), {}
    write_folders(root / "images", ["train", "test"], n=8)
    write_folders(root / "oblong", ["train", "test"], n=8)
    for file in (root / "oblong").rglob("*.png"):
        Image.open(file).resize((24, 18)).save(file)

    def make(name):
        if name not in made:
            sides = ["--data.image_size", "32", "--data.shorter_side", "36"]
            images = ["--data.root", str(root / "images"), *sides]
            net = NETS.get(name, ["--model.backbone", "resnet20"])
            if name == "oblong":
                images = ["--data.root", str(root / "oblong")]
            options = ["--data.batch_size=4", "--data.cache_gb=0", "--trainer.max_epochs=1", "--model.lr=0.001"]
            options += ["--trainer.accelerator=cpu", f"--trainer.default_root_dir={root / name}"]
            with working_in(root), pytest.MonkeyPatch.context() as patch:
                draw_no_figures(patch)
                assert main(["fit", "--data", "ImageFolderDataModule", *images, *net, *options]) == 0
            (made[name],) = (root / name).glob("*/*/checkpoints/best.ckpt")
            if name != "ema":
                make_tell_apart(made[name])
        return made[name]

    return make


def make_tell_apart(checkpoint):
    """Changes norms and head as a longer training would, so that the probabilities differ from image to image."""
    torch.manual_seed(0)
    trained = load_model(checkpoint)
    sizes = SEVERAL if trained.data.image_size else [(18, 24)] * len(SEVERAL)
    images = [exporting._preprocess(trained, image) for image in pixels_of(*4 * sizes)]
    images = trained.data.normalize(torch.cat(images))
    net = randomize_norms(trained.classifier.backbone)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics become those of these images
            module.reset_running_stats()
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        net.train()(images)
        logits = net.eval()(images)
        head.weight /= logits.std(dim=0)[:, None]
        head.bias -= net(images).mean(dim=0)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = trained.classifier.state_dict()
    torch.save(content, checkpoint)


def pixels_of(*sizes, channels=3):
    """Random images (1, H, W, C)."""
    return [
        torch.from_numpy(random_pixels(number, height, width)[None, :, :, :channels].copy())
        for number, (height, width) in enumerate(sizes)
    ]


SEVERAL = [(36, 36), (36, 70), (90, 36), (100, 75), (64, 201), (20, 33), (7, 7), (500, 375), (37, 36)]


# Scaling.


class Watch(nn.Module):
    """Keeps its input."""

    def forward(self, x):
        self.seen = x
        return x.flatten(1)


def scaled(image, shorter_side, size):
    """The input (C, H, W) of the model for an image (C, H, W) uint8."""
    channels = len(image)
    watch = Watch()
    module = Deployable(watch, torch.zeros(channels), torch.ones(channels), shorter_side, size)
    module(image.permute(1, 2, 0)[None])
    return (255 * watch.seen[0]).round()


def draw_sizes(count, largest):
    rng = np.random.default_rng(0)
    return rng.integers(1, largest, (count, 2)).tolist()


@pytest.mark.parametrize(("shorter_side", "size"), [(8, 8), (36, 32), (33, 28), (256, 224)])
def test_images_are_scaled_as_the_data_module_does_it(shorter_side, size):
    pixels = different = 0
    for number, (height, width) in enumerate([*draw_sizes(60, 400), *draw_sizes(3, 1500), (1, 1), (1, 300), (300, 2)]):
        image = torch.from_numpy(random_pixels(number, height, width)).permute(2, 0, 1)
        distance = (scaled(image, shorter_side, size) - scale_and_cut(image, shorter_side, size)).abs()
        assert distance.max() <= 1, (height, width)
        pixels += distance.numel()
        different += int((distance > 0).sum())
    assert different <= 3e-5 * pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(36, 36), (36, 55), (91, 36)])
def test_what_has_the_size_already_is_cut_and_not_changed(height, width, channels):
    image = torch.from_numpy(random_pixels(0, height, width)).permute(2, 0, 1)[:channels]
    top, left = (height - 32) // 2, (width - 32) // 2
    assert torch.equal(scaled(image, 36, 32), image[:, top : top + 32, left : left + 32].float())


def test_scaling_is_pillows():
    for number, (height, width) in enumerate([(64, 80), (75, 50), (300, 400), (20, 16), (9, 33)]):
        pixels = random_pixels(number, height, width)
        scale = 32 / min(height, width)
        sides = max(32, round(width * scale)), max(32, round(height * scale))
        image = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR))
        top, left = (sides[1] - 32) // 2, (sides[0] - 32) // 2
        expected = torch.from_numpy(image[top : top + 32, left : left + 32].copy()).permute(2, 0, 1)
        distance = (scaled(torch.from_numpy(pixels).permute(2, 0, 1), 32, 32) - expected).abs()
        assert distance.max() <= 1
        assert (distance > 0).float().mean() < 0.02


# The net that is exported.


def norms_of(module):
    return [name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.slow
def test_norms_after_convolutions_are_folded_and_the_trained_net_stays(digits, colour):
    for checkpoint in (digits, *map(colour, ["resnet18", "mobilenet"])):
        trained = load_model(checkpoint)
        before = {key: tensor.clone() for key, tensor in trained.classifier.state_dict().items()}
        module = deployable(trained)
        assert norms_of(trained.classifier)
        assert not norms_of(module)
        assert not module.training
        assert all(torch.equal(tensor, before[key]) for key, tensor in trained.classifier.state_dict().items())
        images = torch.from_numpy(np.stack([random_pixels(n, 36, 36) for n in range(6)]))[..., : trained.data.in_chans]
        found, expected = module(images), trained.probabilities(exporting._preprocess(trained, images))
        torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
        assert expected.std(dim=0).max() > 1e-3


def test_pre_activation_keeps_the_norms_that_follow_an_addition(colour):
    trained = load_model(colour("preact"))
    assert norms_of(deployable(trained)) == [
        f"net.{name.removeprefix('backbone.')}"
        for name in norms_of(trained.classifier)
        if name.endswith(".bn1") and not name.endswith("backbone.bn1") and "layer1.0" not in name
    ] + ["net.last_activation.0"]


class Untraceable(nn.Module):
    """Reads the shape of its input while it runs, which symbolic tracing does not allow."""

    def __init__(self):
        super().__init__()
        self.net = create_model("resnet20", in_chans=1)

    def forward(self, x):
        if x.shape[1] != 1:
            raise ValueError("grey images only")
        return self.net(x)


class DependsOnPixels(nn.Module):
    """No exporter can follow this."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1)) if x.mean() > 0 else -self.head(x.flatten(1))


@pytest.mark.slow
def test_a_net_that_cannot_be_traced_is_exported_with_its_norms(digits, capsys):
    trained = replace(load_model(digits), classifier=ImageClassifier(Untraceable(), in_chans=1).eval())
    capsys.readouterr()
    module = deployable(trained)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("the model cannot be traced, so its batch norms are not fused: ")
    assert len(norms_of(module)) == 19
    program = exporting._export_program(trained).module()
    assert compare(trained, torch.no_grad()(program), pixels_of((8, 8), (20, 13), channels=1)) < 1e-5


@pytest.mark.slow
def test_a_net_that_cannot_be_exported_is_named_in_a_line(digits, capfd):
    trained = replace(load_model(digits), classifier=ImageClassifier(DependsOnPixels(), in_chans=1).eval())
    capfd.readouterr()
    with pytest.raises(
        InputError, match=r"^this model cannot be exported: .*; use --format safetensors, which works for any model$"
    ):
        exporting._export_program(trained)
    out, err = capfd.readouterr()
    assert out.startswith("the model cannot be traced")
    assert (out.count("\n"), err) == (1, "")


# Files.


def assert_equals_its_checkpoint(path, format, checkpoint, sizes=SEVERAL):
    trained = load_model(checkpoint)
    program = FORMATS[format].load(trained, path)
    assert compare(trained, program, pixels_of(*sizes, channels=trained.data.in_chans)) < TOLERANCE / 2
    found = program(torch.cat(pixels_of(*[sizes[0]] * 4, channels=trained.data.in_chans)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))
    assert found.std(dim=0).max() > 1e-3  # with equal probabilities for every image, the comparison would show nothing


def exported_to(folder, checkpoint, format):
    """The file, after making sure that it lies there alone."""
    exported = export(checkpoint, format, folder / f"net{FORMATS[format].suffix}")
    assert exported.difference <= TOLERANCE
    cards = {"MODEL_CARD.md"} if format == "safetensors" else set()
    assert {path.name for path in folder.iterdir()} == {exported.path.name} | cards
    return exported.path


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_digits_are_the_same_in_every_format(digits, digit_files, format):
    assert digit_files(format) == digits.with_suffix(FORMATS[format].suffix)
    assert_equals_its_checkpoint(digit_files(format), format, digits)


@pytest.mark.slow
@pytest.mark.parametrize("format", PROGRAMS)
@pytest.mark.parametrize("name", ["resnet18", "mobilenet"])
def test_larger_nets_are_the_same(colour, name, format, tmp_path):
    path = exported_to(tmp_path, colour(name), format)
    assert_equals_its_checkpoint(path, format, colour(name))
    if format == "onnx":
        graph = onnx.load(path).graph
        assert not [node for node in graph.node if "Norm" in node.op_type]
    else:
        graph = torch.export.load(path).graph
        assert not [node for node in graph.nodes if "norm" in str(node.target)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet", "ema"])
def test_weights_are_the_same(colour, name, tmp_path):
    path = exported_to(tmp_path, colour(name), "safetensors")
    assert_equals_its_checkpoint(path, "safetensors", colour(name))
    state = load_model(colour(name)).classifier.backbone.state_dict()
    weights = safetensors.load_file(path)
    assert set(weights) == set(state)
    for key, tensor in weights.items():
        assert tensor.is_contiguous()
        assert torch.equal(tensor, state[key]), key


@pytest.mark.slow
def test_weights_have_torchvisions_keys_and_load_by_name(colour, tmp_path):
    path = export(colour("resnet18"), "safetensors", tmp_path / "net.safetensors").path
    theirs = torchvision.models.resnet18(num_classes=2)
    theirs.load_state_dict(safetensors.load_file(path))
    ours = create_model("resnet18", num_classes=2, pretrained=path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = load_model(colour("resnet18")).classifier(images)
        torch.testing.assert_close(theirs.eval()(images), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_images_that_are_not_square_are_taken_in_their_own_size(colour, format, tmp_path):
    path = exported_to(tmp_path, colour("oblong"), format)
    assert_equals_its_checkpoint(path, format, colour("oblong"), sizes=[(18, 24)] * 3)
    if format == "onnx":
        (images,) = onnx.load(path).graph.input
        assert [side.dim_value for side in images.type.tensor_type.shape.dim] == [0, 18, 24, 3]


def described(path):
    """The metadata of a file, read by the library that it is for."""
    if path.suffix == ".onnx":
        return (
            onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
        )
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata()
    extra = dict.fromkeys(exporting.metadata(load_model(path.with_suffix(".ckpt")), "torch_export"), "")
    torch.export.load(path, extra_files=extra)
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in extra.items()}


@pytest.mark.parametrize(
    "format",
    [
        pytest.param(format, marks=pytest.mark.slow) if format in ("onnx", "torch_export") else format
        for format in FORMATS
    ],
)
def test_a_file_says_what_it_is(digits, digit_files, format):
    found = described(digit_files(format))
    assert found["format_version"] == "1"
    assert json.loads(found["class_names"]) == list("0123456789")
    assert found["checkpoint_sha256"] == hashlib.sha256(digits.read_bytes()).hexdigest()
    assert found["torch_version"] == torch.__version__
    image = json.loads(found["image"])
    assert (image["channels"], image["image_size"], image["shorter_side"]) == (1, [8, 8], 8)
    assert image["mean"] == pytest.approx([0.3056], abs=1e-4)
    assert json.loads(found["backbone"]) == {"backbone": "resnet20", "num_classes": 10, "in_chans": 1}
    assert yaml.safe_load(found["config"])["model"]["backbone"] == "resnet20"
    tested = json.loads((digits.parents[1] / "evaluation.json").read_text())["metrics"]
    assert json.loads(found["metrics"])["test/acc"] == tested["test/acc"]


@pytest.mark.slow
def test_nothing_of_this_machine_is_in_a_program(digit_files):
    with zipfile.ZipFile(digit_files("torch_export")) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    for content in *contents, digit_files("onnx").read_bytes():
        assert str(ROOT).encode() not in content
        assert b"torch/nn/modules" not in content


# Other processes.


IN_ONNX_RUNTIME = """
import json, sys
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
found = []
for files in sys.argv[2:]:
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files.split(",")])
    (probabilities,) = session.run(["probabilities"], {"images": images})
    found.append(probabilities.tolist())
assert "torch" not in sys.modules and "resnet_lightning" not in sys.modules
print(json.dumps([names, found]))
"""

IN_TORCH = """
import json, sys
import numpy as np
import torch
from PIL import Image

described = {"class_names": ""}
program = torch.export.load(sys.argv[1], extra_files=described).module()
found = []
for files in sys.argv[2:]:
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files.split(",")])
    with torch.no_grad():
        found.append(program(torch.from_numpy(images)).tolist())
assert not {"resnet_lightning", "lightning", "torchvision"} & set(sys.modules)
print(json.dumps([json.loads(described["class_names"]), found]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("format", "program"), [("onnx", IN_ONNX_RUNTIME), ("torch_export", IN_TORCH)])
def test_a_pre_activation_net_is_the_same_here_and_in_a_process_without_this_package(colour, format, program, tmp_path):
    trained = load_model(colour("preact"))
    path = exported_to(tmp_path, trained.path, format)
    assert_equals_its_checkpoint(path, format, trained.path)
    batches = []
    for height, width in (36, 50), (120, 75):
        for count in 1, 5:
            folder = tmp_path / f"{height}_{count}"
            write_images(folder, count, size=(height, width))
            batches.append(sorted(folder.iterdir()))
    command = [sys.executable, "-c", program, str(path), *(",".join(map(str, batch)) for batch in batches)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names, found = json.loads(done.stdout)
    assert names == ["cat", "dog"]
    for batch, probabilities in zip(batches, found, strict=True):
        expected = trained.probabilities(torch.stack(trained.read(batch)))
        torch.testing.assert_close(torch.tensor(probabilities), expected, atol=2e-5, rtol=0)


# What the comparison finds.


def with_another_head(trained):
    trained = copy.deepcopy(trained)
    with torch.no_grad():
        [*trained.classifier.backbone.parameters()][-2][0] *= 1.01
    return trained


@pytest.mark.parametrize("format", [pytest.param("torch_export", marks=pytest.mark.slow), "safetensors"])
def test_a_file_that_computes_something_else_is_removed(digits, format, tmp_path, monkeypatch):
    kind = FORMATS[format]

    def write(trained, file, described):
        kind.write(with_another_head(trained), file, described)

    monkeypatch.setitem(FORMATS, format, replace(kind, write=write))
    path = tmp_path / f"net{kind.suffix}"
    path.write_text("before")
    with pytest.raises(InputError, match="exported file is wrong and was removed: on images of 8x8 its probabilities"):
        export(digits, format, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_comparison_sees_wrong_scaling_norms_and_channels(colour):
    trained = load_model(colour("preact"))
    right = deployable(trained)
    images = list(exporting._package_images(trained))
    assert compare(trained, right, images) < 1e-5

    def differs(program):
        with pytest.raises(InputError, match="differ by"):
            compare(trained, program, images)

    differs(lambda pixels: right(pixels.flip(-1)))
    differs(lambda pixels: right(pixels.transpose(1, 2)))
    for name, value in ("shorter_side", 37), ("size", 30), ("factor", right.factor * 1.01):
        wrong = copy.deepcopy(right)
        setattr(wrong, name, value)
        differs(wrong)
    differs(lambda pixels: right(pixels) * torch.nan)
    training = copy.deepcopy(right).train()
    differs(training)


def test_a_folder_of_images_is_compared_too(digits, colour, tmp_path, capsys):
    write_images(tmp_path / "images", 3, size=(20, 31))
    Image.fromarray(random_pixels(1)[..., 0].astype(np.uint16) * 256).save(tmp_path / "images" / "16bit.png")
    exported = export(digits, "safetensors", tmp_path / "net.safetensors", tmp_path / "images")
    assert (exported.images, exported.difference) == (4, 0)
    with pytest.raises(InputError, match="is 31x20, but the model takes only 24x18"):
        export(colour("oblong"), "safetensors", tmp_path / "other.safetensors", tmp_path / "images")


# The card.


@pytest.mark.parametrize("name", ["digits", "mobilenet", "oblong"])
def test_the_code_of_the_card_gives_the_checkpoints_probabilities(digits, colour, name, tmp_path):
    trained = load_model(digits if name == "digits" else colour(name))
    export(trained.path, "safetensors", tmp_path / "net.safetensors")
    card = (tmp_path / "MODEL_CARD.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    write_images(tmp_path, 2, size=(18, 24) if name == "oblong" else (50, 70))
    files = sorted(tmp_path.glob("*.png"))
    names = {}
    with chdir(tmp_path):
        exec(code, names)
        found = torch.stack([names["probabilities"](file.name) for file in files])
    torch.testing.assert_close(found, trained.probabilities(torch.stack(trained.read(files))), atol=1e-6, rtol=0)
    assert names["class_names"] == list(trained.data.class_names)


def test_the_card_has_the_figures_of_the_checkpoint_and_names_no_license(digits, tmp_path):
    export(digits, "safetensors", tmp_path / "net.safetensors")
    card = (tmp_path / "MODEL_CARD.md").read_text()
    _, head, body = card.split("---\n", 2)
    accuracy = json.loads((digits.parents[1] / "evaluation.json").read_text())["metrics"]["test/acc"]
    head = yaml.safe_load(head)
    assert "license" not in head
    assert head["tags"] == ["image-classification", "pytorch", "resnet-lightning", "resnet20"]
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": pytest.approx(accuracy, abs=1e-6)}]
    for name, value in load_model(digits).metrics.items():
        if name.startswith(("val/", "test/")):
            assert f"| `{name}` | {value:.4f} |" in body
    assert "`resnet20` with 269,434 parameters, which classifies grey images of 8x8 pixels into 10 classes" in body
    assert "val_split 0.1, split_seed 0" in body
    assert "weight_decay: 0.0005" in body


def test_a_card_without_figures_says_so(digits, tmp_path):
    alone = tmp_path / "last.ckpt"
    content = torch.load(digits, weights_only=True)
    content["run"]["metrics"] = ""
    torch.save(content, alone)
    export(alone, "safetensors")
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "The checkpoint stores no metrics." in card
    assert "model-index" not in card


# The command.


def test_the_command_says_where_the_file_is_and_how_near(digits, tmp_path, capsys):
    output = tmp_path / "new" / "folder" / "net.safetensors"
    capsys.readouterr()
    export_command([str(digits), "--format", "safetensors", "--output", str(output)])
    file, compared, card = capsys.readouterr().out.splitlines()
    assert str(output) in file
    assert compared.split()[1:] == "12 images: probabilities differ by at most 0.0e+00".split()
    assert str(output.with_name("MODEL_CARD.md")) in card


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no checkpoint"),
        (b"", "is not a checkpoint, is damaged or carries code"),
        ("truncated", "is not a checkpoint, is damaged or carries code"),
        ({"conv1.weight": torch.zeros(1)}, "is not a checkpoint of `lightning fit`"),
    ],
    ids=["missing", "empty", "truncated", "weights"],
)
def test_a_file_of_another_kind_is_refused_in_a_line(digits, content, message, tmp_path):
    checkpoint = tmp_path / "net.ckpt"
    if content == "truncated":
        checkpoint.write_bytes(digits.read_bytes()[:20_000])
    elif isinstance(content, bytes):
        checkpoint.write_bytes(content)
    elif content is not None:
        torch.save(content, checkpoint)
    before = list(tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as error:
        export_command([str(checkpoint), "--format", "onnx"])
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == before


def test_a_name_that_contradicts_the_format_is_refused(digits, tmp_path):
    with pytest.raises(
        InputError, match=r"'net\.onnx' does not fit the format torch_export; its name must end in \.pt2$"
    ):
        export(digits, "torch_export", "net.onnx")
    (tmp_path / "net.pt2").mkdir()
    with pytest.raises(InputError, match="is a folder; give a file"):
        export(digits, "torch_export", tmp_path / "net.pt2")
    with pytest.raises(InputError, match="there is no format 'tflite'; known: torch_export, onnx, safetensors"):
        export(digits, "tflite")


def test_a_place_that_cannot_be_written_is_named(digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the output '.*file/net\.safetensors' cannot be written: "):
        export(digits, "safetensors", tmp_path / "file" / "net.safetensors")


@pytest.mark.parametrize(
    ("format", "library", "wanted"),
    [("onnx", "onnxscript", "onnx onnxscript onnxruntime"), ("safetensors", "safetensors.torch", "safetensors")],
)
def test_a_library_that_is_missing_is_named_with_its_installation(
    digits, format, library, wanted, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=f"pip install {wanted}$"):
        export(digits, format, tmp_path / f"net{FORMATS[format].suffix}")
    assert not list(tmp_path.iterdir())


def test_a_card_that_somebody_has_edited_stays(digits, tmp_path):
    export(digits, "safetensors", tmp_path / "net.safetensors")
    card = tmp_path / "MODEL_CARD.md"
    written = card.read_text()
    card.write_text("outdated\n" + written[written.index("<!--") :])
    export(digits, "safetensors", tmp_path / "net.safetensors")
    assert card.read_text() == written
    card.write_text("# my card\n")
    export(digits, "safetensors", tmp_path / "net.safetensors")
    assert card.read_text() == "# my card\n"
