"""Knowledge distillation: the loss, the teacher that stays outside of the student, and its checks."""

import copy
import shutil

import pytest
import torch
from torch.nn import functional as F

from resnet_lightning.cli.main import main
from resnet_lightning.errors import InputError
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.training.classifier import ImageClassifier
from resnet_lightning.training.distillation import Distillation, Teacher


def test_the_soft_loss_has_the_gradient_of_hinton():
    """(q - p) * T in the logits: the gradient of the cross-entropy with soft targets, times T squared."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, requires_grad=True)
    teacher = torch.randn(6, 5, generator=generator)
    Distillation(3.0, 0.5).soft_losses(logits, teacher).sum().backward()
    q, p = (values.detach().div(3).softmax(1) for values in (logits, teacher))
    torch.testing.assert_close(logits.grad, 3 * (q - p))
    torch.testing.assert_close(Distillation(3.0, 0.5).soft_losses(teacher, teacher), torch.zeros(6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"alpha": 1.5}, "alpha is 1.5; give a number from 0 to 1"),
        ({"temprature": 2}, "no 'temprature'; did you mean 'temperature'"),
    ],
)
def test_wrong_options_end_in_one_line(options, message):
    with pytest.raises(InputError, match=message):
        Distillation.of("a.ckpt", options)


def test_options_without_a_teacher():
    with pytest.raises(InputError, match=r"without model\.teacher"):
        ImageClassifier("resnet20", teacher_args={"alpha": 0.5})


def test_a_missing_teacher_is_needed_for_training_only():
    model = ImageClassifier("resnet20", teacher="gone.ckpt")
    assert model.hparams["teacher"] is None
    with pytest.raises(InputError, match=r"model.teacher is 'gone.ckpt', and there is no such file"):
        model.load_teacher()


def test_the_teacher_is_no_part_of_the_student(digits_run):
    model = ImageClassifier("resnet20", in_chans=1, teacher=str(digits_run / "checkpoints/best.ckpt"))
    before = list(model.state_dict()), len(list(model.parameters()))
    model.load_teacher()
    model.train()
    teacher = model._distillation.teacher
    assert (list(model.state_dict()), len(list(model.parameters()))) == before
    assert not any(part.training for part in teacher.model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert copy.deepcopy(model)._distillation.teacher is teacher


def test_the_teacher_sees_images_as_it_was_trained_on(digits_run):
    path = str(digits_run / "checkpoints/best.ckpt")
    loaded, teacher = load_model(path), Teacher.load(path, ImageClassifier)
    pixels = torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.3]), torch.tensor([0.2])
    teacher.match((mean, std))
    images = (pixels / 255 - mean) / std
    expected = loaded.probabilities(pixels)
    torch.testing.assert_close(teacher.logits(images, torch.float32).softmax(1), expected, rtol=1e-3, atol=1e-5)


def test_a_teacher_of_other_classes_or_images_is_refused(digits_run):
    teacher = Teacher.load(str(digits_run / "checkpoints/best.ckpt"), ImageClassifier)
    names = teacher.class_names
    teacher.check(10, 1, names, multilabel=False)
    for arguments, message in [
        ((10, 1, names[::-1], False), "same classes in the same order"),
        ((10, 3, names, False), "in_chans 1, but this model has 3"),
        ((12, 1, (), False), "num_classes 10, but this model has 12"),
        ((10, 1, names, True), "model.multilabel"),
    ]:
        with pytest.raises(InputError, match=message):
            teacher.check(*arguments)


def test_an_overwritten_teacher_is_noticed(digits_run):
    teacher = Teacher.load(str(digits_run / "checkpoints/best.ckpt"), ImageClassifier)
    stored = {"path": teacher.path, "sha256": teacher.digest}
    teacher.check_is_the_same(stored)
    teacher.check_is_the_same(None)
    teacher.check_is_the_same({"path": "another.ckpt", "sha256": "0"})
    with pytest.raises(InputError, match="has changed since the checkpoint was written"):
        teacher.check_is_the_same({**stored, "sha256": "0"})


def test_the_training_loss_is_the_weighted_sum(digits_run):
    path = str(digits_run / "checkpoints/best.ckpt")
    model = ImageClassifier("resnet20", in_chans=1, teacher=path, teacher_args={"temperature": 2, "alpha": 0.25})
    model.load_teacher()
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8)
    model.eval()  # the same statistics for both computations
    logits, taught = model(images), model._distillation.teacher.logits(images, torch.float32)
    soft = F.kl_div(logits.div(2).log_softmax(1), taught.div(2).softmax(1), reduction="batchmean") * 4
    for targets in labels, F.one_hot(labels, 10).float():  # labels, and those of mixed images
        expected = 0.75 * F.cross_entropy(logits, targets) + 0.25 * soft
        torch.testing.assert_close(model.training_step((images, targets), 0), expected)


@pytest.mark.slow
def test_a_student_trains_resumes_exactly_and_is_tested_without_its_teacher(digits_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(digits_run / "checkpoints/best.ckpt", "teacher.ckpt")
    short = ["--trainer.limit_train_batches", "4", "--trainer.accelerator", "cpu", "--model.teacher", "teacher.ckpt"]
    command = ["fit", "--config", "digits", "--trainer.max_epochs", "2", *short]
    assert main([*command, "--resume", "whole"]) == 0
    assert main([*command, "--resume", "parts", "--stop_after", "1"]) == 0
    assert main([*command, "--resume", "parts"]) == 0
    whole, parts = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "parts"))
    assert all(torch.equal(value, parts["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert not any("teacher" in name for name in whole["state_dict"])
    shutil.move("teacher.ckpt", "moved.ckpt")
    assert main(["test", "--ckpt_path", "whole/checkpoints/best.ckpt", "--trainer.accelerator", "cpu"]) == 0
    load_model("whole/checkpoints/best.ckpt")
    capsys.readouterr()
    assert main([*command, "--resume", "whole", "--trainer.max_epochs", "3"]) != 0
    assert "model.teacher is 'teacher.ckpt', and there is no such file" in capsys.readouterr().err
