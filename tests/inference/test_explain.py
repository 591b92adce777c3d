"""Grad-CAM, filters and embedding of a trained model, compared with plain computations."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch import nn
from torch.nn import functional as F

from commands import error_line
from image_files import DAMAGE_IDS, DAMAGES, random_pixels, write_folders
from repository import CONFIGS
from resnet_lightning import DigitsDataModule, ImageClassifier
from resnet_lightning.cli.explain import command as run_explain
from resnet_lightning.cli.main import main
from resnet_lightning.data import PredictionDataModule
from resnet_lightning.errors import InputError
from resnet_lightning.inference.grad_cam import Explanation, explain, first_filters, save_overlays
from resnet_lightning.inference.loaded import LoadedModel, load_model
from resnet_lightning.training.callbacks import Embedding
from resnet_lightning.training.callbacks.embedding import principal_components
from runs_alike import DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


@pytest.fixture
def best(digits_run):
    return digits_run / "checkpoints" / "best.ckpt"


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy of the run, for commands that write into its folder."""
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")  # no table is folded


def digit_files(count: int, folder: str = "images") -> list[Path]:
    """Test images as files."""
    Path(folder).mkdir()
    images, _ = DigitsDataModule().read("test")
    files = [Path(folder, f"{number}.png") for number in range(count)]
    for image, file in zip(images, files, strict=False):
        Image.fromarray(image.numpy()).save(file)
    return files


def trained_of(net: ImageClassifier, side: int, channels: int = 3, classes: int = 10) -> LoadedModel:
    """An untrained model, as if it came from a checkpoint."""
    mean, std = [0.45, 0.5, 0.55][:channels], [0.2, 0.25, 0.3][:channels]
    data = PredictionDataModule([f"class {k}" for k in range(classes)], channels, [side, side], side, mean, std)
    return LoadedModel(Path("none.ckpt"), net.eval(), data, "none", "", {})


def pixels_of(file: Path) -> torch.Tensor:
    """(C, H, W) uint8."""
    image = np.array(Image.open(file))
    return torch.from_numpy(image[None] if image.ndim == 2 else image.transpose(2, 0, 1))


def cam_of(trained: LoadedModel, pixels: torch.Tensor, stage: nn.Module) -> torch.Tensor:
    """Section 3 of the Grad-CAM paper, step by step, on the output of a stage (H, W)."""
    mean, std = (values[:, None, None] for values in trained.data.statistics())
    image = ((pixels / 255 - mean) / std)[None]
    kept = []

    def keep(module, inputs, output):
        leaf = output.detach().requires_grad_()
        kept.append(leaf)
        return leaf

    hook = stage.register_forward_hook(keep)
    logits = trained.classifier(image)
    hook.remove()
    logits[0, logits.argmax()].backward()
    maps, gradient = kept[0][0].detach(), kept[0].grad[0]
    heat = sum(alpha.mean() * one for alpha, one in zip(gradient, maps, strict=True)).clamp(min=0)
    height, width = pixels.shape[1:]
    heat = F.interpolate(heat[None, None], (height, width), mode="bilinear")[0, 0]
    return heat / heat.max() if heat.max() > 0 else heat


# Grad-CAM.


def test_the_heat_is_that_of_the_paper(best):
    trained = load_model(best)
    files = digit_files(12)
    explanations = explain(trained, files)
    some_heat = 0
    for file, explanation in zip(files, explanations, strict=True):
        pixels = pixels_of(file)
        assert torch.equal(explanation.pixels, pixels)
        expected = cam_of(trained, pixels, trained.classifier.backbone.layer3)
        assert torch.allclose(explanation.heat, expected, atol=1e-5)
        assert torch.allclose(explanation.probabilities, trained.probabilities(pixels[None])[0], atol=1e-6)
        assert float(explanation.probabilities.sum()) == pytest.approx(1)
        some_heat += bool((expected > 0).any() and expected.std() > 0.05)
    assert some_heat > 6


def test_explaining_leaves_the_net_as_it_was(best):
    trained = load_model(best)
    (file,) = digit_files(1)
    before = {name: value.clone() for name, value in trained.classifier.state_dict().items()}
    first, second = explain(trained, [file, file])
    assert torch.equal(first.heat, second.heat)
    assert all(torch.equal(value, before[name]) for name, value in trained.classifier.state_dict().items())
    assert all(p.grad is None for p in trained.classifier.parameters())
    assert not any(module._forward_hooks for module in trained.classifier.modules())


@pytest.mark.parametrize("stages", [None, 0, 2, 3])
def test_frozen_stages_have_heat_too(stages):
    torch.manual_seed(0)
    net = ImageClassifier("resnet20", backbone_args={"frozen_stages": stages})
    trained = trained_of(net, side=32)
    Image.fromarray(random_pixels(1, 32, 32)).save("one.png")
    (explanation,) = explain(trained, ["one.png"])
    expected = cam_of(trained, explanation.pixels, net.backbone.layer3)
    assert expected.max() == 1
    assert torch.allclose(explanation.heat, expected, atol=1e-5)


def test_a_net_of_somebody_elses_has_heat_too():
    """64x64 become 2x2; what its squeeze-and-excitation and its pooling put out, 1x1, has no place."""
    torch.manual_seed(0)
    net = ImageClassifier("torchvision.models.mobilenet_v3_small")
    trained = trained_of(net, side=64)
    Image.fromarray(random_pixels(1, 64, 64)).save("one.png")
    (explanation,) = explain(trained, ["one.png"])
    expected = cam_of(trained, explanation.pixels, net.backbone.features)
    assert torch.allclose(explanation.heat, expected, atol=1e-4)
    assert explanation.heat.shape == (64, 64)


def test_a_net_that_knows_places_has_heat_too():
    """Without pooling the gradient differs from place to place, and its mean is what weighs a map."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 10))
    trained = trained_of(ImageClassifier(body, in_chans=1), side=8, channels=1)
    files = digit_files(8)
    found = explain(trained, files)
    expected = [cam_of(trained, pixels_of(file), body[1]) for file in files]
    assert sum(bool(heat.std() > 0.05) for heat in expected) > 2
    for explanation, heat in zip(found, expected, strict=True):
        assert torch.allclose(explanation.heat, heat, atol=1e-5)


def test_a_grey_image_of_28_pixels():
    torch.manual_seed(0)
    net = ImageClassifier("resnet18", in_chans=1, backbone_args={"stem": "cifar"})
    trained = trained_of(net, side=28, channels=1)
    Image.fromarray(random_pixels(1, 28, 28)[..., 0]).save("one.png")
    (explanation,) = explain(trained, ["one.png"])
    assert torch.allclose(explanation.heat, cam_of(trained, explanation.pixels, net.backbone.layer4), atol=1e-5)
    assert explanation.overlay().shape == (224, 224, 3)


class Stripes(nn.Module):
    """Knows horizontal stripes from vertical ones by how much there is of each, wherever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, stride=2, bias=False)
        across = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
        self.conv.weight.data = torch.stack([across, across.T])[:, None]
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images):
        return self.pool(self.conv(images).abs()).flatten(1)


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("vertical", [False, True], ids=["horizontal", "vertical"])
def test_the_heat_is_where_the_evidence_is(corner, vertical):
    """Many stripes of one kind in a corner, some of the other kind in the opposite corner, nothing anywhere else."""
    image = np.zeros((32, 32), np.uint8)
    top, left = (16 * place for place in corner)
    image[top : top + 16 : 2, left : left + 16] = 255
    image[20 - top : 28 - top, 20 - left : 28 - left : 2] = 255
    Image.fromarray(image.T.copy() if vertical else image).save("one.png")
    trained = trained_of(ImageClassifier(Stripes(), num_classes=2, in_chans=1), 32, channels=1, classes=2)
    (explanation,) = explain(trained, ["one.png"])
    assert int(explanation.probabilities.argmax()) == int(vertical)
    heat = explanation.heat.T if vertical else explanation.heat
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[top : top + 16, left : left + 16] = True
    outside = torch.zeros(32, 32, dtype=torch.bool)
    outside[16 - top : 32 - top, 16 - left : 32 - left] = True
    assert heat[inside].mean() > 0.8
    assert heat[outside].mean() < 0.05


def test_a_net_that_finds_nothing_for_its_class_is_cold():
    class Against(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)
            nn.init.ones_(self.conv.weight)
            nn.init.constant_(self.conv.bias, 10)  # no pixel is below it

        def forward(self, images):
            mean = self.conv(images).mean((1, 2, 3))
            return torch.stack([-mean, -2 * mean], 1)

    trained = trained_of(ImageClassifier(Against(), num_classes=2, in_chans=1), 8, channels=1, classes=2)
    (file,) = digit_files(1)
    (explanation,) = explain(trained, [file])
    assert torch.equal(explanation.heat, torch.zeros(8, 8))


def test_a_net_without_feature_maps_is_named():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(InputError, match="no feature maps"):
        explain(trained_of(ImageClassifier(net, in_chans=1), 8, channels=1), digit_files(1))


# The pictures.


@pytest.mark.parametrize(("size", "shown"), [((8, 8), 224), ((100, 100), 200), ((300, 300), 300)], ids=str)
def test_the_overlay_is_the_image_under_its_heat(size, shown):
    pixels = torch.from_numpy(random_pixels(0, *size)).permute(2, 0, 1)
    cold = Explanation(torch.ones(1), pixels, torch.zeros(size)).overlay()
    hot = Explanation(torch.ones(1), pixels, torch.ones(size)).overlay()
    assert cold.shape == hot.shape == (shown, shown, 3)
    # Cold parts are the image in pale grey. Hot ones are colored, and the darker, the darker the image is there.
    image = random_pixels(0, *size).repeat(shown // size[0], 0).repeat(shown // size[0], 1)
    pale = 0.7 * np.array(Image.fromarray(image).convert("L"), float)[..., None] + 0.3 * 255
    colored = 0.25 * pale + 0.75 * pale / 255 * np.array([0xE4, 0x57, 0x2E])
    assert abs(cold - pale).max() <= 1
    assert abs(hot - colored).max() <= 1


def test_images_of_one_name_get_pictures_of_their_own(tmp_path):
    def flat(value: int) -> Explanation:
        return Explanation(torch.ones(1), torch.full((1, 8, 8), value, dtype=torch.uint8), torch.zeros(8, 8))

    files = ["a/cat.png", "b/cat.jpg", "cat_2.png", "c/cat.png"]
    written = save_overlays([flat(value) for value in (0, 50, 100, 150)], files, tmp_path / "new" / "folder")
    assert len(set(written)) == 4
    assert written[0] == tmp_path / "new" / "folder" / "cat_gradcam.png"
    for value, path in zip((0, 50, 100, 150), written, strict=True):
        picture = np.array(Image.open(path))  # the image, and its overlay beside it, between margins of 14 pixels
        assert picture[14, 14].tolist() == [value] * 3
        assert picture[14, 14 + 224 + 14] == pytest.approx(0.7 * value + 0.3 * 255, abs=1)


# The command.


def test_the_command_names_the_class_and_its_probability(best, capsys):
    files = [*digit_files(3, "some"), *digit_files(2, "others")]
    trained = load_model(best)
    capsys.readouterr()
    assert main(["explain", str(best), *map(str, files), "--output", "shown"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if ".png" in line]
    assert len(lines) == len(files)
    names = [f"{name}.png" for name in ("0_gradcam", "1_gradcam", "2_gradcam", "0_gradcam_2", "1_gradcam_2")]
    for line, file, name in zip(lines, files, names, strict=True):
        probabilities = trained.probabilities(pixels_of(file)[None])[0]
        values, labels = probabilities.sort(descending=True)
        then = ", ".join(f"{labels[place]} {values[place]:.1%}" for place in (1, 2))
        expected = [str(file), str(int(labels[0])), f"{values[0]:.1%}", *then.split(), f"shown/{name}"]
        assert line == expected
    assert sorted(path.name for path in Path("shown").iterdir()) == sorted(names)
    for file, name in zip(files, names, strict=True):
        (explanation,) = explain(trained, [file])
        # The image, the evidence for its class, and that for the next one, between margins of 14 pixels.
        picture = np.array(Image.open(Path("shown", name)))
        panels = explanation.photo(), explanation.overlay(), explanation.overlay(explanation.next_heat)
        for place, panel in enumerate(panels):
            left = 14 + place * (224 + 14)
            assert np.array_equal(picture[14 : 14 + 224, left : left + 224], panel)


def test_overlays_go_into_the_folder_of_the_run(run):
    (file,) = digit_files(1)
    before = set(Path.cwd().iterdir())
    assert main(["explain", str(run / "checkpoints" / "best.ckpt"), str(file)]) == 0
    assert [path.name for path in (run / "explanations").iterdir()] == ["0_gradcam.png"]
    assert set(Path.cwd().iterdir()) == before


@pytest.mark.parametrize("damage", [damage for _, damage in DAMAGES], ids=DAMAGE_IDS)
def test_an_image_that_cannot_be_read_is_named(best, capsys, damage):
    (file,) = digit_files(1)
    damage(Path("broken.png"))
    line = error_line(capsys, "explain", str(best), str(file), "broken.png", "--output", "shown")
    assert "cannot read the image 'broken.png'" in line


def test_images_of_a_folder_that_cannot_be_read_are_skipped_and_counted(best, capsys):
    digit_files(2)
    for name, damage in DAMAGES:
        damage(Path("images", name))
    for _ in range(2):
        capsys.readouterr()
        assert main(["explain", str(best), "images", "--output", "shown"]) == 0
        out = capsys.readouterr().out
        assert f"{len(DAMAGES)} images in 'images' could not be read" in " ".join(out.split())
        assert sorted(path.name for path in Path("shown").iterdir()) == ["0_gradcam.png", "1_gradcam.png"]
    assert "2 of these overlays replaced an older file" in out


def test_a_folder_of_which_no_image_can_be_read_is_named(best):
    Path("images").mkdir()
    for name, damage in DAMAGES:
        damage(Path("images", name))
    with pytest.raises(InputError, match="no image in 'images' can be read"):
        run_explain([str(best), "images", "--output", "shown"])
    assert not Path("shown").exists()


def test_a_missing_image_is_named(best, capsys):
    line = error_line(capsys, "explain", str(best), "nothing.png", "--output", "shown")
    assert "there is no image 'nothing.png'" in line


@pytest.mark.parametrize("command", ["explain", "features"])
def test_what_is_no_checkpoint_of_a_run_is_named(capsys, command):
    (file,) = digit_files(1)
    rest = [str(file)] if command == "explain" else []
    assert "there is no checkpoint 'none.ckpt'" in error_line(capsys, command, "none.ckpt", *rest)
    Path("text.ckpt").write_text("weights")
    assert "'text.ckpt' is not a checkpoint" in error_line(capsys, command, "text.ckpt", *rest)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, "other.ckpt")
    assert "'other.ckpt' is not a checkpoint of `lightning fit`" in error_line(capsys, command, "other.ckpt", *rest)
    torch.save(torch.zeros(3), "tensor.ckpt")
    assert "holds a Tensor" in error_line(capsys, command, "tensor.ckpt", *rest)


# What is in a checkpoint.


def test_the_best_checkpoint_brings_the_metrics_of_the_test(best):
    trained, last = load_model(best), load_model(best.with_name("last.ckpt"))
    assert {"test/acc", "test/loss", "val/acc", "val/loss"} <= trained.metrics.keys()
    assert not any(name.startswith("test/") for name in last.metrics)
    images, labels = DigitsDataModule().read("test")
    predictions = trained.probabilities(images[:, None]).argmax(1)
    assert trained.metrics["test/acc"] == pytest.approx((predictions == labels).float().mean().item())
    assert trained.name == "digits"
    assert not trained.classifier.training


def test_a_checkpoint_that_was_taken_elsewhere_brings_none(best, tmp_path):
    moved = tmp_path / "some" / "best.ckpt"
    moved.parent.mkdir()
    moved.write_bytes(best.read_bytes())
    assert not any(name.startswith("test/") for name in load_model(moved).metrics)


@pytest.mark.slow
def test_a_moving_average_is_what_is_shown():
    ema = ["--config", str(CONFIGS / "overlays" / "ema.yaml"), "--trainer.callbacks.decay", "0.9"]
    short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4"]
    assert main(["fit", "--config", DIGITS, *SMALL, *ema, *short, "--resume", "run"]) == 0
    trained = load_model("run/checkpoints/best.ckpt")
    images, labels = DigitsDataModule().read("test")
    probabilities = trained.probabilities(images[:, None])
    accuracy = (probabilities.argmax(1) == labels).float().mean().item()
    assert trained.metrics["test/acc"] == pytest.approx(accuracy)
    checkpoint = torch.load("run/checkpoints/best.ckpt", weights_only=True)
    weights = trained.classifier.state_dict()
    assert any(not torch.equal(weights[name], v) for name, v in checkpoint["current_model_state"].items())
    assert main(["features", "run/checkpoints/best.ckpt"]) == 0
    assert Path("run/pictures/embedding.png").is_file()


# Filters and embedding.


def test_filters_of_a_colour_net_are_drawn_in_colour():
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 6, 3))
    filters = first_filters(net)
    assert filters.shape == (4, 5, 5, 3)
    for filter, weight in zip(filters, net[0].weight.detach().numpy(), strict=True):
        scaled = 255 * (weight - weight.min()) / (weight.max() - weight.min())
        assert abs(filter.astype(int) - scaled.transpose(1, 2, 0)).max() <= 0.51
        assert (filter.min(), filter.max()) == (0, 255)


def test_filters_of_other_nets_are_drawn_channel_by_channel():
    net = nn.Conv2d(2, 3, 3)
    filters = first_filters(net)
    assert filters.shape == (6, 3, 3, 1)
    weight = net.weight.detach().numpy()[1, 0]
    assert abs(filters[2, ..., 0] - 255 * (weight - weight.min()) / (weight.max() - weight.min())).max() <= 0.51


def test_filters_of_one_value_are_black():
    net = nn.Conv2d(3, 1, 3)
    nn.init.constant_(net.weight, 0.3)
    assert not first_filters(net).any()


def test_a_net_without_a_convolution_is_named():
    with pytest.raises(InputError, match="no convolution"):
        first_filters(nn.Linear(3, 3))


def components_of(features: np.ndarray) -> np.ndarray:
    """The first two principal components, by the eigenvectors of the covariance matrix."""
    centred = features - features.mean(0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    return centred @ vectors[:, np.argsort(values)[::-1][:2]]


def assert_equal_up_to_signs(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    for one, other in zip(found.T, expected.T, strict=True):
        assert np.allclose(one, other, atol=1e-5) or np.allclose(one, -other, atol=1e-5)


def test_principal_components_are_the_eigenvectors():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 7)) @ np.diag([1, 9, 2, 5, 0.1, 0.5, 3]) + 100
    found = principal_components(torch.from_numpy(features).float())
    assert_equal_up_to_signs(found.numpy(), components_of(features.astype(np.float32).astype(np.float64)))


def test_the_embedding_is_of_what_the_last_layer_is_given(best, monkeypatch):
    """And of as many images as were asked for, with their own labels."""
    drawn = {}

    def draw(points, labels, classes, shares):
        drawn.update(points=points, labels=labels, classes=classes, shares=shares)
        return original(points, labels, classes, shares)

    from resnet_lightning.runs import figures

    original = figures.embedding
    monkeypatch.setattr(figures, "embedding", draw)
    trained = load_model(best)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    mean, std = trained.data.statistics()
    data = DigitsDataModule(batch_size=64, mean=mean.tolist(), std=std.tolist())
    Trainer(callbacks=[Embedding("new/embedding.png", images=100)], **quiet).test(
        trained.classifier, data, verbose=False
    )
    images, labels = data.read("test")
    net = trained.classifier.backbone
    with torch.no_grad():
        features = net.forward_features(data.normalize(images[:100, None])).mean((2, 3))
        assert torch.allclose(net.fc(features), net(data.normalize(images[:100, None])), atol=1e-5)
    assert_equal_up_to_signs(drawn["points"], components_of(features.double().numpy()))
    variances = np.linalg.eigvalsh(np.cov(features.double().numpy().T))[::-1]
    assert drawn["shares"] == pytest.approx(variances[:2] / variances.sum(), abs=1e-4)
    assert drawn["labels"].tolist() == labels[:100].tolist()
    assert list(drawn["classes"]) == list("0123456789")
    assert np.array(Image.open("new/embedding.png")).std() > 5
    assert not any(module._forward_pre_hooks for module in trained.classifier.modules())


def test_features_draws_filters_and_embedding(best, capsys):
    assert main(["features", str(best), "--output", "shown", "--data.batch_size", "100"]) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in Path("shown").iterdir()) == ["embedding.png", "filters.png"]
    assert "shown/filters.png" in out
    assert "shown/embedding.png" in out
    tested = load_model(best).metrics["test/acc"]
    assert re.search(rf"test/acc +│ {tested:.4f}", out)
    # 16 filters of 3x3 in two rows, each weight 21 pixels wide, below a title and between margins of 14 pixels.
    picture = np.array(Image.open("shown/filters.png").convert("L"))
    assert picture.shape == (50 + 2 * (63 + 14), 14 + 8 * (63 + 14))
    weights = load_model(best).classifier.backbone.conv1.weight.detach()[9, 0].numpy()
    scaled = 255 * (weights - weights.min()) / (weights.max() - weights.min())
    row, column = 50 + 63 + 14, 14 + 63 + 14
    assert abs(picture[row : row + 63 : 21, column : column + 63 : 21] - scaled).max() <= 0.51
    with Image.open("shown/embedding.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    assert set(Path.cwd().iterdir()) == {Path.cwd() / "shown"}


def test_features_go_into_the_folder_of_the_run(run):
    assert main(["features", str(run / "checkpoints" / "best.ckpt")]) == 0
    assert {"filters.png", "embedding.png"} <= {path.name for path in (run / "pictures").iterdir()}


@pytest.mark.slow
def test_features_of_colour_images_by_dotted_path():
    """And where the data is asked for and is elsewhere by now."""
    write_folders(Path("images"), ["train", "test"], n=6)
    Path("mobile.yaml").write_text(
        "data: {class_path: ImageFolderDataModule, init_args: {root: images, image_size: 64, batch_size: 8}}\n"
        "model: {backbone: torchvision.models.mobilenet_v3_small, lr: 0.01}\n"
        "trainer: {max_epochs: 1, limit_train_batches: 1}\n"
    )
    assert main(["fit", "--config", "mobile.yaml", "--resume", "run"]) == 0
    Path("images").rename("moved")
    assert main(["features", "run/checkpoints/best.ckpt", "--output", "shown", "--data.root", "moved"]) == 0
    assert sorted(path.name for path in Path("shown").iterdir()) == ["embedding.png", "filters.png"]
    assert main(["explain", "run/checkpoints/best.ckpt", "moved/test/cat/000.png", "--output", "shown"]) == 0
    assert np.array(Image.open("shown/000_gradcam.png")).shape[1:] == (14 + 3 * (192 + 14), 3)
