"""A checkpoint labels a folder of images without the images that it was trained on."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from commands import error_line
from image_files import DAMAGES, random_pixels, write_images
from resnet_lightning import ImageClassifier
from resnet_lightning.cli.main import main
from runs_alike import DIGITS, SMALL, working_in

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

CLASSES = ["ant", "bee", "cow", "dog"]
SIDE = 8  # of the images that the net was trained with
MODEL = {"backbone": "resnet_lightning.models.cifar.cifar_resnet", "backbone_args": {"depth": 8}, "lr": 0.05}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint and the config of a run whose images are no longer there."""
    folder = tmp_path_factory.mktemp("trained")
    for number, name in enumerate(CLASSES):
        write_images(folder / "images" / "train" / name, 12, seed=number, size=(SIDE, SIDE))
        write_images(folder / "images" / "test" / name, 3, seed=10 + number, size=(SIDE, SIDE))
    data = {"root": str(folder / "images"), "image_size": SIDE, "batch_size": 8}
    config = {"data": {"class_path": "ImageFolderDataModule", "init_args": data}, "model": MODEL}
    (folder / "animals.yaml").write_text(yaml.safe_dump({**config, "trainer": {"max_epochs": 2}}))
    with working_in(folder):
        assert main(["fit", "--config", "animals.yaml", "--resume", "run"]) == 0
    shutil.rmtree(folder / "images")
    return folder


@pytest.fixture
def checkpoint(trained):
    return str(trained / "run" / "checkpoints" / "best.ckpt")


def predict(checkpoint: str, *options: str) -> tuple[list[str], list[list[str]]]:
    """The header and the lines of the table."""
    assert main(["predict", "--ckpt_path", checkpoint, *options]) == 0
    return table()


def table() -> tuple[list[str], list[list[str]]]:
    (path,) = Path("runs").glob("*/*/predictions.csv")
    assert list(path.parent.iterdir()) == [path]
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    shutil.rmtree("runs")
    return header, lines


@torch.no_grad()
def probabilities_of(checkpoint: str, files: list[Path], mean=None, std=None) -> np.ndarray:
    """Of files that Pillow reads, and scales and cuts where they have not the net's size."""
    kept = torch.load(checkpoint, weights_only=True)["run"]["data"]
    images = []
    for file in files:
        with Image.open(file) as image:
            scale = SIDE / min(image.size)
            size = [round(side * scale) for side in image.size]
            left, top = ((side - SIDE) // 2 for side in size)
            scaled = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
            images.append(np.array(scaled.crop((left, top, left + SIDE, top + SIDE))))
    pixels = (np.stack(images) / 255 - np.array(mean or kept["mean"])) / np.array(std or kept["std"])
    net = ImageClassifier.load_from_checkpoint(checkpoint, weights_only=True).eval()
    powers = np.exp(net(torch.from_numpy(pixels).float().permute(0, 3, 1, 2)).double().numpy())
    return powers / powers.sum(1, keepdims=True)


def assert_are_the_most_likely(lines: list[list[str]], probabilities: np.ndarray, k: int, abs=2e-6) -> None:
    """Compares lines of file, label, probability, label, probability, ... with the probabilities of all classes."""
    assert len(lines) == len(probabilities)
    for line, of_classes in zip(lines, probabilities, strict=True):
        ranking = np.argsort(-of_classes)[:k]
        assert line[1::2] == [CLASSES[label] for label in ranking]
        assert [float(p) for p in line[2::2]] == pytest.approx(list(of_classes[ranking]), abs=abs)


# What is in the table.


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3, 4])
def test_a_folder_is_labelled_without_the_training_images(checkpoint, k):
    write_images(Path("new"), 20, seed=50, size=(SIDE, SIDE))
    header, lines = predict(checkpoint, "--data.predict_folder", "new", *(["--top_k", str(k)] if k > 1 else []))
    names = ["label", "probability", "label_2", "probability_2", "label_3", "probability_3", "label_4", "probability_4"]
    assert header == ["file", *names[: 2 * k]]
    files = sorted(Path("new").iterdir())
    assert [line[0] for line in lines] == [str(file) for file in files]
    probabilities = probabilities_of(checkpoint, files)
    assert len(set(probabilities.argmax(1))) > 1
    assert_are_the_most_likely(lines, probabilities, k)


def test_images_of_all_sizes_are_scaled_and_cut(checkpoint):
    """Pillow computes in whole numbers, which makes a difference of one in some pixels."""
    for number, size in enumerate([(8, 8), (16, 16), (40, 25), (25, 40), (9, 8), (300, 11), (1, 1), (3, 5)]):
        write_images(Path("new") / f"{number}", 1, seed=70 + number, size=size)
    _, lines = predict(checkpoint, "--data.predict_folder", "new", "--top_k", "4")
    files = sorted(Path("new").rglob("*.png"))
    found = [dict(zip(line[1::2], map(float, line[2::2]), strict=True)) for line in lines]
    expected = probabilities_of(checkpoint, files)
    for one, other in zip(found, expected, strict=True):
        assert [one[name] for name in CLASSES] == pytest.approx(list(other), abs=0.005)
    assert np.ptp(expected, axis=0).max() > 0.05


def test_images_of_all_modes_become_what_the_net_knows(checkpoint):
    """A grey gradient is the same in every mode."""
    folder = Path("new")
    folder.mkdir()
    grey = np.linspace(0, 255, SIDE * SIDE).astype(np.uint8).reshape(SIDE, SIDE)
    image = Image.fromarray(grey)
    image.convert("RGB").save(folder / "colour.png")
    image.save(folder / "grey.png")
    image.convert("RGBA").save(folder / "transparent.png")
    image.convert("LA").save(folder / "grey_transparent.png")
    image.quantize(256).save(folder / "palette.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "sixteen_bits.png")
    _, lines = predict(checkpoint, "--data.predict_folder", "new", "--top_k", "4")
    expected = probabilities_of(checkpoint, [folder / "colour.png"])
    assert len(lines) == 6
    assert_are_the_most_likely(lines, np.repeat(expected, 6, axis=0), 4)


def test_the_statistics_of_the_checkpoint_can_be_overruled(checkpoint):
    write_images(Path("new"), 6, seed=50, size=(SIDE, SIDE))
    mean, std = [0.1, 0.6, 0.9], [0.2, 0.5, 1.0]
    options = ["--data.predict_folder", "new", "--top_k", "4", "--data.mean", str(mean)]
    files = sorted(Path("new").iterdir())
    _, lines = predict(checkpoint, *options)
    assert_are_the_most_likely(lines, probabilities_of(checkpoint, files, mean=mean), 4)
    _, lines = predict(checkpoint, *options, "--data.std", str(std))
    assert_are_the_most_likely(lines, probabilities_of(checkpoint, files, mean=mean, std=std), 4)
    assert abs(probabilities_of(checkpoint, files) - probabilities_of(checkpoint, files, mean, std)).max() > 0.05


def test_the_size_of_the_checkpoint_can_be_overruled(checkpoint):
    write_images(Path("new"), 4, seed=3, size=(24, 24))
    lines = [
        predict(checkpoint, "--data.predict_folder", "new", *more)[1] for more in ([], ["--data.image_size", "24"])
    ]
    net = ImageClassifier.load_from_checkpoint(checkpoint).eval()
    kept = torch.load(checkpoint, weights_only=True)["run"]["data"]
    pixels = np.stack([np.array(Image.open(line[0]).convert("RGB")) for line in lines[1]])
    images = (pixels / 255 - np.array(kept["mean"])) / np.array(kept["std"])
    with torch.no_grad():
        expected = net(torch.from_numpy(images).permute(0, 3, 1, 2).float()).softmax(1).max(1).values
    assert [float(line[2]) for line in lines[1]] == pytest.approx(expected.tolist(), abs=2e-6)
    assert lines[0] != lines[1]


def test_names_that_are_no_unicode_cost_no_prediction(checkpoint):
    write_images(Path("new"), 1, seed=3, size=(8, 8))
    (file,) = Path("new").iterdir()
    file.rename(os.fsdecode(b"new/\xff.png"))
    assert main(["predict", "--ckpt_path", checkpoint, "--data.predict_folder", "new"]) == 0
    (path,) = Path("runs").glob("*/*/predictions.csv")
    assert b"\nnew/\xff.png," in path.read_bytes()


@pytest.mark.slow
def test_batches_and_workers_change_nothing(checkpoint, caplog):
    write_images(Path("new"), 30, seed=50, size=(20, 30))
    DAMAGES[0][1](Path("new/007.jpg"))
    options = ["--data.predict_folder", "new", "--top_k", "2"]
    header, lines = predict(checkpoint, *options, "--data.num_workers", "0")
    assert len(lines) == 31
    for more in ["--data.batch_size", "4", "--data.num_workers", "2"], ["--data.batch_size", "31"]:
        other_header, others = predict(checkpoint, *options, *more)
        assert other_header == header
        for one, other in zip(lines, others, strict=True):
            assert one[:2] == other[:2]
            assert [cell and float(cell) for cell in one[2::2]] == pytest.approx(
                [cell and float(cell) for cell in other[2::2]], abs=2e-6
            )


# Files that cannot be read.


def test_files_that_cannot_be_read_are_listed(checkpoint, capsys):
    """The first one among them, and a name with a comma."""
    write_images(Path("new"), 6, seed=50, size=(SIDE, SIDE))
    for number, (name, damage) in enumerate(DAMAGES):
        damage(Path("new", f"{number * 2:03},{name}"))
    Path("new/000.png").write_bytes(b"")
    header, lines = predict(checkpoint, "--data.predict_folder", "new", "--top_k", "2")
    assert len(header) == 5
    broken = sorted(Path("new", f"{number * 2:03},{name}") for number, (name, _) in enumerate(DAMAGES))
    broken = [Path("new/000.png"), *broken]
    assert [line[0] for line in lines] == [str(file) for file in sorted(Path("new").iterdir())]
    assert [line for line in lines if line[1] == ""] == [[str(file), "", "", "", ""] for file in sorted(broken)]
    readable = [Path("new", f"{number:03}.png") for number in range(1, 6)]
    assert_are_the_most_likely([line for line in lines if line[1]], probabilities_of(checkpoint, readable), 2)
    out = capsys.readouterr().out
    assert out.count("7 images could not be read and were skipped") == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_folder_of_which_nothing_can_be_read_is_listed_too(checkpoint, capsys, workers):
    Path("new").mkdir()
    for name, damage in DAMAGES:
        damage(Path("new", name))
    options = ["--data.predict_folder", "new", "--data.num_workers", workers, "--data.batch_size", "4"]
    _, lines = predict(checkpoint, *options)
    assert lines == [[str(file), "", ""] for file in sorted(Path("new").iterdir())]
    assert "6 images could not be read and were skipped" in capsys.readouterr().out


def test_the_summary_counts_labels_and_names_the_least_sure_images(checkpoint, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write_images(Path("new"), 9, seed=50, size=(SIDE, SIDE))
    for name, damage in DAMAGES:
        damage(Path("new", name))
    capsys.readouterr()
    _, lines = predict(checkpoint, "--data.predict_folder", "new", "--data.num_workers", "0", "--top_k", "2")
    shown = " ".join(capsys.readouterr().out.split())
    read = [line for line in lines if line[1]]
    assert len(read) == 9
    assert f"unreadable │ {len(DAMAGES)}, without a label" in shown
    for label in {line[1] for line in read}:
        assert f"{label} {sum(line[1] == label for line in read)}" in shown
    least_sure = shown.partition("least sure")[2]
    places = [least_sure.index(f"{line[0]}: {line[1]}") for line in sorted(read, key=lambda line: float(line[2]))[:3]]
    assert places == sorted(places)
    assert least_sure.count("new/") == 3


# Images and the file that the command line names.


def labelled(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_files_and_folders_are_labelled_into_a_file_of_ones_own(checkpoint, capsys):
    """The checkpoint first, as other commands have it; a photo twice, one without an extension, and one unreadable."""
    write_images(Path("a"), 3, seed=50, size=(SIDE, SIDE))
    write_images(Path("b"), 2, seed=60, size=(SIDE, SIDE))
    Path("b/000.png").rename("scan")
    Path("notes.png").write_text("no image")
    capsys.readouterr()
    words = [checkpoint, "scan", "a", "notes.png", "a/001.png", "b", "--output", "new/labels.csv"]
    assert main(["predict", *words]) == 0
    lines = labelled(Path("new/labels.csv"))
    files = [Path(name) for name in ("a/000.png", "a/001.png", "a/002.png", "b/001.png", "notes.png", "scan")]
    assert [line[0] for line in lines] == [str(file) for file in files]
    assert [line[0] for line in lines if not line[1]] == ["notes.png"]
    readable = [file for file in files if file.name != "notes.png"]
    assert_are_the_most_likely([line for line in lines if line[1]], probabilities_of(checkpoint, readable), 1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "1, without a label in the file: notes.png" in shown
    assert "new/labels.csv" in shown
    assert not Path("runs").exists()


def test_a_folder_as_output_and_a_list_in_the_option(checkpoint):
    write_images(Path("a"), 2, seed=50, size=(SIDE, SIDE))
    write_images(Path("b"), 1, seed=60, size=(SIDE, SIDE))
    Path("out").mkdir()
    for output in "out", "later/":
        assert main(["predict", checkpoint, "--data.predict_folder", "[a, b/000.png]", "--output", output]) == 0
        lines = labelled(Path(output, "predictions.csv"))
        assert [line[0] for line in lines] == ["a/000.png", "a/001.png", "b/000.png"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.png"], "there is no image 'missing.png'"),
        (["photos", "missing"], "there is no folder 'missing'"),
        (["https://example.org/a.png"], "download them first"),
        (["photos", "--data.predict_folder", "photos"], "give the images once: 'photos' or --data.predict_folder"),
        (["--data.predict_folder", "[]"], "data.predict_folder is empty"),
        (["photos", "--output", "labels.json"], "--output is 'labels.json'; give a file whose name ends in .csv"),
        (["photos", "--output", "photos/000.png/a.csv"], "nothing can be written into"),
        (["photos", "--output", "a.csv", "--trainer.fast_dev_run", "true"], "leave out trainer.fast_dev_run"),
    ],
)
def test_images_and_files_that_cannot_be_used_are_named(checkpoint, capsys, words, reason):
    write_images(Path("photos"), 1, size=(SIDE, SIDE))
    assert reason in error_line(capsys, "predict", "--ckpt_path", checkpoint, *words)


# What is asked for wrongly.


@pytest.mark.parametrize(
    ("k", "words"),
    [
        ("0", ["--top_k is 0", "at least 1"]),
        ("-2", ["--top_k is -2", "at least 1"]),
        ("5", ["--top_k is 5", "4 classes"]),
        ("two", ["top_k", "two"]),
    ],
)
def test_an_impossible_number_of_labels_is_refused(checkpoint, capsys, k, words):
    write_images(Path("new"), 2, size=(SIDE, SIDE))
    line = error_line(capsys, "predict", "--ckpt_path", checkpoint, "--data.predict_folder", "new", "--top_k", k)
    assert all(word in line for word in words), line


def test_a_folder_that_is_missing_or_empty_is_named(checkpoint, capsys):
    command = ["predict", "--ckpt_path", checkpoint, "--data.predict_folder", "new"]
    assert "there is no folder 'new'" in error_line(capsys, *command)
    Path("new").mkdir()
    Path("new/notes.txt").write_text("no image")
    assert "there is no image in 'new'" in error_line(capsys, *command)


def test_only_predict_takes_the_number_of_labels(checkpoint, capsys):
    assert "top_k" in error_line(capsys, "test", "--ckpt_path", checkpoint, "--top_k", "2")


# What needs the data set as before.


def test_without_a_folder_the_test_images_are_labelled(checkpoint, trained, capsys):
    assert "images" in error_line(capsys, "predict", "--ckpt_path", checkpoint)  # which are no longer there
    for number, name in enumerate(CLASSES):
        write_images(Path("images") / "train" / name, 2, seed=20 + number, size=(SIDE, SIDE))
        write_images(Path("images") / "test" / name, 3, seed=10 + number, size=(SIDE, SIDE))
    header, lines = predict(checkpoint, "--data.root", "images", "--top_k", "2")
    assert header == ["index", "label", "probability", "label_2", "probability_2"]
    assert [line[0] for line in lines] == [str(number) for number in range(12)]
    files = [Path("images/test", name, f"{number:03}.png") for name in CLASSES for number in range(3)]
    assert_are_the_most_likely(lines, probabilities_of(checkpoint, files), 2)


def test_a_checkpoint_of_others_needs_a_config_and_its_images(checkpoint, capsys):
    """Lightning's own, without what this command adds."""
    kept = torch.load(checkpoint, weights_only=True)
    run = kept.pop("run")
    torch.save(kept, "bare.ckpt")
    write_images(Path("new"), 5, seed=50, size=(SIDE, SIDE))
    command = ["predict", "--ckpt_path", "bare.ckpt"]
    folder = ["--data.predict_folder", "new"]
    assert "stores no config" in error_line(capsys, *command, *folder)
    Path("config.yaml").write_text(run["config"])
    assert "there is no folder" in error_line(capsys, *command, "--config", "config.yaml", *folder)
    for name in CLASSES:
        write_images(Path("images") / "train" / name, 5, size=(SIDE, SIDE))
    statistics = {"mean": run["data"]["mean"], "std": run["data"]["std"]}
    options = ["--data.root", "images", *(f"--data.{name}={values}" for name, values in statistics.items())]
    _, lines = predict("bare.ckpt", "--config", "config.yaml", *folder, *options)
    assert_are_the_most_likely(lines, probabilities_of(checkpoint, sorted(Path("new").iterdir())), 1)


def test_an_old_checkpoint_that_knows_too_little_is_named(checkpoint, capsys):
    kept = torch.load(checkpoint, weights_only=True)
    del kept["run"]["data"]["in_chans"]
    torch.save(kept, "old.ckpt")
    write_images(Path("new"), 1)
    line = error_line(capsys, "predict", "--ckpt_path", "old.ckpt", "--data.predict_folder", "new")
    assert "does not state the in_chans of its images" in line


def test_grey_nets_make_colour_images_grey(capsys):
    """Digits; and classes that were chosen keep their order."""
    options = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.classes", "[7, 1, 4]"]
    digits = ["--config", DIGITS, *SMALL]
    assert main(["fit", *digits, *options, "--resume", "run"]) == 0
    pixels = random_pixels(0, 8, 8)
    Path("new").mkdir()
    Image.fromarray(pixels).save("new/colour.png")
    Image.fromarray(pixels).convert("L").save("new/grey.png")
    _, lines = predict("run/checkpoints/best.ckpt", "--data.predict_folder", "new", "--top_k", "3")
    assert lines[0][1:] == lines[1][1:]
    assert sorted(lines[0][1::2]) == ["1", "4", "7"]
    kept = torch.load("run/checkpoints/best.ckpt", weights_only=True)["run"]["data"]
    net = ImageClassifier.load_from_checkpoint("run/checkpoints/best.ckpt", weights_only=True).eval()
    image = (np.array(Image.fromarray(pixels).convert("L")) / 255 - kept["mean"][0]) / kept["std"][0]
    with torch.no_grad():
        most_likely = int(net(torch.from_numpy(image).float()[None, None]).argmax())
    assert lines[0][1] == ["7", "1", "4"][most_likely]


# Several processes.


@pytest.mark.slow
def test_two_processes_write_the_table_of_one(checkpoint, commands):
    """New processes, which have only the checkpoint. Some images cannot be read, by one process or the other."""
    write_images(Path("new"), 21, seed=50, size=(12, 10))
    for number, (name, damage) in enumerate(DAMAGES):
        damage(Path("new", f"{number * 3:03}_{name}"))
    options = ["--data.predict_folder", "new", "--top_k", "3", "--data.batch_size", "4", "--data.num_workers", "1"]
    header, lines = predict(checkpoint, *options)
    in_two = ["--trainer.accelerator", "cpu", "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    code, _, errors = commands.run("predict", "--ckpt_path", checkpoint, *options, *in_two)
    assert code == 0, errors
    assert "Traceback" not in errors
    other_header, others = table()
    assert other_header == header
    assert len(others) == len(lines) == 27
    for one, other in zip(lines, others, strict=True):
        assert one[:2] == other[:2]
        assert one[3::2] == other[3::2]
        assert [cell and float(cell) for cell in one[2::2]] == pytest.approx(
            [cell and float(cell) for cell in other[2::2]], abs=2e-6
        )
