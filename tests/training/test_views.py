"""Test-time views: the mean of the logits, in evaluation only, also in exported programs."""

import pytest
import torch
from lightning import Trainer

from resnet_lightning.cli.main import main
from resnet_lightning.data import DigitsDataModule
from resnet_lightning.errors import InputError
from resnet_lightning.inference.grad_cam import explain_pixels
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.inference.program import deployable
from resnet_lightning.training.classifier import ImageClassifier
from resnet_lightning.training.views import mean_logits


def shifted(images, rows, columns):
    """The images, moved by one pixel; what comes in at the border is the pixel before the last."""
    height, width = images.shape[-2:]
    index = [
        [(abs(i + by) if i + by < side else 2 * side - 2 - i - by) for i in range(side)]
        for side, by in ((height, rows), (width, columns))
    ]
    return images[..., index[0], :][..., index[1]]


def test_the_views_are_the_mirror_image_and_shifts_of_both_that_count_half():
    generator = torch.Generator().manual_seed(0)
    images, weights = torch.randn(3, 2, 5, 6, generator=generator), torch.randn(60, 4, generator=generator)

    def net(x):
        return x.flatten(1) @ weights

    mirror = (net(images) + net(images.flip(-1))) / 2
    torch.testing.assert_close(mean_logits(net, images, "mirror"), mirror)
    views = [shifted(images, by, by) for by in (-1, 1)]
    halves = sum(net(view) + net(view.flip(-1)) for view in views) / 4
    torch.testing.assert_close(mean_logits(net, images, "mirror_and_shift"), (mirror + halves) / 2)


@pytest.mark.parametrize("views", ["mirror", "mirror_and_shift"])
def test_views_are_used_in_evaluation_only(views):
    torch.manual_seed(0)
    model = ImageClassifier("resnet20", in_chans=1, test_views=views)
    images = torch.randn(4, 1, 8, 8)
    model.eval()
    torch.testing.assert_close(model(images), mean_logits(model.backbone, images, views))
    assert not torch.allclose(model(images), model.backbone(images), atol=1e-4)
    if views == "mirror":
        torch.testing.assert_close(model(images), model(images.flip(-1)))
    model.train()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    model(images)
    assert len(calls) == 1


def test_other_views_end_in_one_line():
    with pytest.raises(InputError, match=r"model.test_views is 'miror'; did you mean 'mirror'"):
        ImageClassifier("resnet20", test_views="miror")


def test_predictions_of_a_trainer_use_the_views():
    model = ImageClassifier("resnet20", in_chans=1, test_views="mirror")
    data = DigitsDataModule(batch_size=32)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, limit_predict_batches=1
    )
    (found,) = trainer.predict(model, data)
    data.setup("predict")
    images, _ = next(iter(data.predict_dataloader()))
    model.eval()
    with torch.no_grad():
        logits = (model.backbone(images) + model.backbone(images.flip(-1))) / 2
    torch.testing.assert_close(found, logits.softmax(1), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder", "without_figures")
def test_a_run_with_views_resumes_exactly_and_its_program_computes_them(capsys):
    short = ["--trainer.limit_train_batches", "4", "--trainer.accelerator", "cpu"]
    command = [
        "fit",
        "--config",
        "digits",
        "--model.test_views",
        "mirror_and_shift",
        "--trainer.max_epochs",
        "2",
        *short,
    ]
    assert main([*command, "--resume", "whole"]) == 0
    assert main([*command, "--resume", "parts", "--stop_after", "1"]) == 0
    assert main([*command, "--resume", "parts"]) == 0
    whole, parts = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "parts"))
    assert all(torch.equal(value, parts["state_dict"][name]) for name, value in whole["state_dict"].items())
    trained = load_model("whole/checkpoints/best.ckpt")
    assert trained.classifier.test_views == "mirror_and_shift"
    pixels = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = trained.probabilities(pixels)
    with torch.no_grad():
        torch.testing.assert_close(deployable(trained)(pixels.permute(0, 2, 3, 1)), expected, rtol=1e-3, atol=1e-4)
        alone = trained.classifier.to_probabilities(trained.classifier.one_view(trained.data.normalize(pixels)))
    assert not torch.allclose(alone, expected, atol=1e-4)
    torch.testing.assert_close(explain_pixels(trained, pixels[0]).probabilities, alone[0], rtol=1e-3, atol=1e-5)
