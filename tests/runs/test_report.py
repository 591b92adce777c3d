"""The report: its numbers, its sections for different data, its command, and how it looks in a browser."""

import base64
import io
import json
import math
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from resnet_lightning.cli.main import main
from resnet_lightning.cli.report import command as report_command
from resnet_lightning.errors import InputError
from resnet_lightning.runs import figures
from resnet_lightning.runs.comparison import Spread, by_data, by_seed, data_label, differences, final_metrics
from resnet_lightning.runs.formatting import duration
from resnet_lightning.runs.reader import find_runs, read_run
from resnet_lightning.runs.report.curves import Series, chart
from resnet_lightning.runs.report.page import COLORS, render
from resnet_lightning.runs.report.tables import confusion_rows
from runs_alike import DIGITS, draw_no_figures, working_in


@pytest.fixture(scope="module")
def trained(digits_run, tmp_path_factory) -> Path:
    """Two runs that differ in their seed and root, ``a`` and ``b``; ``c`` is ``a`` with another learning rate."""
    root = tmp_path_factory.mktemp("trained")
    options = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "8", "--trainer.accelerator", "cpu"]
    place = ["--trainer.default_root_dir", "other"]
    with working_in(root), pytest.MonkeyPatch.context() as patch:
        draw_no_figures(patch)
        assert main(["fit", "--config", DIGITS, *options, "--seed_everything", "1", *place]) == 0
        (second,) = Path("other/digits").iterdir()
        copy(digits_run, root / "a")
        copy(second, root / "b")
        copy(digits_run, root / "c")
        edit_text(root / "c/config.yaml", "  lr: 0.1\n", "  lr: 0.02\n")
    return root


@pytest.fixture(scope="module")
def page(trained) -> str:
    """The report on the three, unchanged."""
    return page_of(*(trained / name for name in "abc"))


@pytest.fixture
def folders(trained, tmp_path, monkeypatch) -> list[Path]:
    """Copies of the three."""
    monkeypatch.chdir(tmp_path)
    return [copy(trained / name, Path("runs/digits") / name) for name in "abc"]


def copy(folder: Path, to: Path) -> Path:
    return shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.ckpt"))


def page_of(*folders: Path) -> str:
    return render([read_run(folder) for folder in folders])


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self._in_cell = False
        self._is_word_split = False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._is_word_split = tag == "wbr"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell &= tag not in ("th", "td")

    def handle_data(self, data):
        if self._in_cell:
            cell = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = cell + data if self._is_word_split or not cell else f"{cell} {data}"


def tables_of(page: str) -> list[list[list[str]]]:
    """The text of all tables, by row and cell."""
    parser = _Text()
    parser.feed(page)
    return parser.tables


def edit_text(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def edit_config(folder: Path, **data) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"]["init_args"].update(data)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def edit_json(file: Path, **facts) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def write_metrics(folder: Path, **final: float) -> None:
    """Replaces the metrics by these final ones, such as ``test_acc``. Test metrics have no curves, which take time."""
    names = [name.replace("_", "/") for name in final]
    (folder / "metrics.csv").write_text(f"epoch,{','.join(names)}\n1,{','.join(map(str, final.values()))}\n")


def png(side: int = 8) -> str:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# Comparing runs.


def test_the_settings_that_differ_are_named_as_on_the_command_line(folders):
    edit_config(folders[2], batch_size=32)
    assert differences([read_run(folder) for folder in folders]) == {
        "seed_everything": ["0", "1", "0"],
        "data.batch_size": ["64", "64", "32"],
        "model.lr": ["0.1", "0.1", "0.02"],
    }
    assert differences([read_run(folders[0])] * 2) == {}


def test_the_folder_of_a_run_is_no_difference(folders):
    runs = [read_run(folder) for folder in folders[:2]]
    assert runs[0].setting("trainer.default_root_dir") != runs[1].setting("trainer.default_root_dir")
    assert set(differences(runs)) == {"seed_everything"}


def test_runs_that_differ_in_their_seed_are_one_group_with_mean_and_deviation(folders):
    write_metrics(folders[0], test_acc=0.9, val_loss=1.0)
    write_metrics(folders[1], test_acc=0.8, val_loss=4.0)
    write_metrics(folders[2], test_acc=0.5)
    runs = [read_run(folder) for folder in folders]
    groups = by_seed(runs)
    assert [[run.folder for run in group] for group in groups] == [folders[:2], folders[2:]]
    metrics = final_metrics(groups[0])
    # Two values deviate by half their difference times the square root of two.
    assert metrics["test/acc"] == Spread(2, pytest.approx(0.85), pytest.approx(0.05 * math.sqrt(2)))
    assert metrics["val/loss"] == Spread(2, 2.5, pytest.approx(1.5 * math.sqrt(2)))
    assert final_metrics(groups[1])["test/acc"] == Spread(1, 0.5, None)
    (final,) = [table for table in tables_of(render(runs)) if table[0][1:2] == ["n"]]
    assert final == [
        ["", "n", "test/acc", "test/loss", "val/loss"],
        ["model.lr 0.1 runs 1, 2", "2", "85.00% ± 7.07%", final[1][3], "2.5000 ± 2.1213"],
        ["model.lr 0.02 run 3", "1", "50.00%", final[2][3], "-"],
    ]


def test_the_numbers_of_real_runs_are_those_in_their_files(trained, page):
    accuracies = [json.loads((trained / f / "evaluation.json").read_text())["metrics"]["test/acc"] for f in "ab"]
    assert accuracies[0] != accuracies[1]
    mean = sum(accuracies) / 2
    deviation = math.sqrt(sum((value - mean) ** 2 for value in accuracies))
    assert f"{mean:.2%} ± {deviation:.2%}" in page


def test_three_values_have_the_deviation_of_a_single_run(folders):
    third = copy(folders[0], folders[0].with_name("third"))
    edit_text(third / "config.yaml", "everything: 0", "everything: 7")
    for folder, accuracy in zip((*folders[:2], third), (0.7, 0.8, 0.9), strict=True):
        write_metrics(folder, test_acc=accuracy)
    (group,) = by_seed([read_run(folder) for folder in (*folders[:2], third)])
    assert final_metrics(group)["test/acc"] == Spread(3, pytest.approx(0.8), pytest.approx(0.1))


def test_the_same_seed_twice_counts_once_the_newest(folders):
    again = copy(folders[0], folders[0].with_name("again"))
    edit_json(again / "run.json", started="2090-01-01T00:00:00+00:00")
    for folder, accuracy in (folders[0], 0.1), (again, 0.9), (folders[1], 0.7):
        write_metrics(folder, test_acc=accuracy)
    (group,) = by_seed([read_run(folder) for folder in (again, *folders[:2])])
    assert final_metrics(group)["test/acc"] == Spread(2, pytest.approx(0.8), pytest.approx(0.1 * math.sqrt(2)))


@pytest.mark.parametrize("state", ["stopped", "failed", "running"])
def test_an_incomplete_run_is_shown_and_not_averaged(folders, state):
    for folder in folders[:2]:
        write_metrics(folder, test_acc=0.5)
    edit_json(folders[1] / "run.json", state=state)
    (group,) = by_seed([read_run(folder) for folder in folders[:2]])
    assert final_metrics(group)["test/acc"].n == 1
    shown = {"running": "killed"}.get(state, state)
    assert [row[2] for row in tables_of(page_of(*folders[:2]))[0][1:]] == ["finished", shown]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_no_mean(folders, value):
    write_metrics(folders[0], test_acc=0.9, train_loss=value, val_loss=value)
    (group,) = by_seed([read_run(folder) for folder in folders[:2]])
    spread = final_metrics(group)["val/loss"]
    assert math.isnan(spread.mean)
    assert spread.deviation is None
    assert "</html>" in page_of(*folders[:2])


# Different data.


@pytest.mark.parametrize(
    "options", [{"val_split": 0.2}, {"train_fraction": 0.5}, {"classes": [0, 1]}, {"root": "x"}, {"split_seed": 3}]
)
def test_runs_on_different_data_are_separate_and_labeled(folders, options):
    edit_config(folders[1], **options)
    groups = by_data([read_run(folder) for folder in folders])
    assert [[run.folder for run in group] for group in groups] == [[folders[0], folders[2]], [folders[1]]]
    ((key, value),) = options.items()
    assert data_label(groups[1], groups) == f"DigitsDataModule, data.{key} {value}"


def test_runs_on_different_data_are_shown_in_separate_sections(folders):
    edit_config(folders[1], val_split=0.2)
    page = page_of(*folders)
    assert page.index("These runs were trained on different data") < page.index("<h2>Runs</h2>")
    assert "run 2: DigitsDataModule, data.val_split 0.2" in page
    assert page.count("Learning curves") == 2
    assert "±" not in "".join(cell for table in tables_of(page) for row in table for cell in row)


def test_runs_whose_classes_have_other_names_are_on_different_data(folders):
    edit_json(folders[1] / "evaluation.json", classes=list("abcdefghij"))
    (folders[2] / "evaluation.json").unlink()
    for folder in folders:
        write_metrics(folder, test_acc=0.5)
    runs = [read_run(folder) for folder in folders]
    assert [len(group) for group in by_data(runs)] == [1, 1, 1]
    page = render(runs)
    assert "run 2: DigitsDataModule, classes a, b, c" in page
    assert "run 3: DigitsDataModule, unknown classes" in page
    assert len(by_data([runs[0], runs[2]])) == 1  # the classes may be the same


def test_runs_on_the_same_data_have_no_notice(page):
    assert "different data" not in page
    assert page.count("Learning curves") == 1


# The page.


def test_the_table_of_runs_shows_the_record(folders):
    record = {"state": "finished", "net": "resnet20", "parameters": 269434, "device": "1 x cpu"}
    edit_json(folders[0] / "run.json", **record, training_seconds=14.24, images_per_second=2800.4)
    write_metrics(folders[0], test_acc=0.25, val_acc=0.125)
    head, first = tables_of(page_of(folders[0]))[0]
    row = dict(zip(head, first, strict=True))
    assert (row["run"], row["state"], row["test acc"], row["best val acc"]) == (
        "digits a",
        "finished",
        "25.00%",
        "12.50%",
    )
    assert (row["epochs"], row["time"], row["images/s"]) == ("2/2", "14.2 s", "2,800")
    assert (row["net"], row["device"]) == ("resnet20 269,434 parameters", "1 x cpu")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(14.24, "14.2 s"), (89, "89.0 s"), (91, "2 min"), (7500, "2 h 5 min"), (None, "-"), (math.nan, "-")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_long_keys_wrap_at_the_ends_of_words_and_numbers_never(folders):
    edit_text(folders[2] / "config.yaml", "weight_decay: 0.0005", "weight_decay: 0.25")
    page = page_of(*folders)
    assert "<code>model.<wbr>optimizer_<wbr>args.<wbr>weight_<wbr>decay</code>" in page
    assert "decay 0.25" in page


def test_the_curves_name_their_first_epoch(folders):
    rows = [f"{epoch},{epoch},{1 + epoch}" for epoch in range(30)]
    (folders[0] / "metrics.csv").write_text("\n".join(["epoch,step,val/loss", *rows]))
    drawn = chart(0, "val/loss", [Series("#000", "run 1", {"1": read_run(folders[0])})])
    assert [tick.text for tick in drawn.x_ticks] == ["1", "10", "20", "30"]


def test_a_cell_of_the_confusion_matrix_states_its_share_where_the_pointer_rests(folders):
    evaluation = read_run(folders[0]).evaluation
    row = next(row for row in confusion_rows(evaluation) if sum(bool(cell.count) for cell in row.cells) > 1)
    total = sum(cell.count for cell in row.cells)
    page = page_of(folders[0])
    for other, cell in zip(evaluation.classes, row.cells, strict=True):
        share = f"{100 * cell.count / total:.2f}%"
        title = f"{cell.count} of {total} test images of {row.name}, predicted as {other}: {share}"
        assert (f'title="{title}"' in page) == bool(cell.count)


def test_the_confusion_matrix_and_the_accuracy_of_each_class(folders):
    confusion = [[3, 1, 0], [0, 4, 0], [2, 0, 0]]
    edit_json(folders[0] / "evaluation.json", classes=["ant", "bee", "cat"], confusion=confusion, mistakes=[])
    write_metrics(folders[0], test_acc=0.5)
    page = page_of(folders[0])
    table, scores = [table for table in tables_of(page) if table[0][0] == "class"]
    assert table == [
        ["class", "accuracy", "ant", "bee", "cat"],
        ["ant", "75.00%", "3", "1", ""],
        ["bee", "100.00%", "", "4", ""],
        ["cat", "0.00%", "2", "", ""],
    ]
    # The lowest F1 first. Wilson's interval of 4 images of 4 begins at 1 / (1 + 1.96**2 / 4).
    assert scores == [
        ["class", "images", "recall [95% interval]", "precision", "F1"],
        ["cat", "2", "0.00% [0.0, 65.8]", "0.00%", "0.00%"],
        ["ant", "4", "75.00% [30.1, 95.4]", "60.00%", "66.67%"],
        ["bee", "4", "100.00% [51.0, 100.0]", "80.00%", "88.89%"],
    ]
    assert "3 of 3 classes have fewer than 30 test images" in page
    (of_all,) = [table for table in tables_of(page) if table[0][0] == "score"]
    assert of_all[0] == ["score", "value", "95% interval"]
    assert of_all[1] == ["accuracy", "70.00%", "[39.7, 89.2]"]
    assert of_all[2][:2] == ["balanced accuracy", "58.33%"]


def test_the_reliability_diagram_states_the_calibration_errors(folders):
    one = {"low": 0.8, "high": 0.9, "images": 10, "right": 7, "confidence": 0.85}
    before = {**one, "confidence": 0.89}
    found = {"bins": [one], "before": [before], "temperature": 1.5, "error_by_chance": 0.12}
    edit_json(folders[0] / "evaluation.json", classes=["a", "b"], confusion=[[4, 1], [2, 3]], reliability=found)
    page = " ".join(page_of(folders[0]).split())
    assert "Expected calibration error 15.00% with temperature 1.50, 19.00% without it." in page
    assert "<title>10 images: confidence 85.00%, accuracy 70.00% [39.7, 89.2]</title>" in page
    assert "is up to 12.00% in 19 of 20 tests" in page
    edit_json(folders[0] / "evaluation.json", reliability={**found, "bins": [{**one, "right": 11}]})
    assert read_run(folders[0]).notes == ("evaluation.json is damaged",)


def test_the_interval_in_the_table_of_runs_is_that_of_the_test(trained, page):
    evaluation = json.loads((trained / "a/evaluation.json").read_text())
    score = evaluation["scores"]["accuracy"]
    text = f"{score['value']:.2%} [{100 * score['low']:.1f}, {100 * score['high']:.1f}], n = 355"
    assert tables_of(page)[0][1][3] == text


@pytest.mark.slow
def test_a_hundred_classes_are_a_figure_and_a_table_to_open(folders):
    classes, confusion = [f"kind {n}" for n in range(100)], np.eye(100, dtype=int)
    confusion[6, 6:8] = 0, 1
    edit_json(folders[0] / "evaluation.json", classes=classes, confusion=confusion.tolist())
    write_metrics(folders[0], test_acc=0.5)
    page = page_of(folders[0])
    assert '<figure role="img" aria-label="confusion matrix' in page
    (table,) = [table for table in tables_of(page) if table[0][0] == "class"]
    # The lowest first.
    assert table[1] == ["kind 6", "1", "0.00% [0.0, 79.3]", "0.00%", "0.00%"]
    assert table[2][:3] == ["kind 7", "1", "100.00% [20.7, 100.0]"]
    assert table[3][:3] == ["kind 0", "1", "100.00% [20.7, 100.0]"]


def test_a_group_shows_the_test_of_its_best_run_on_the_validation_images(folders):
    write_metrics(folders[0], val_acc=0.9, test_acc=0.1)
    write_metrics(folders[1], val_acc=0.2, test_acc=0.9)
    assert "<p>Run 1 (the best of its group on the validation images).</p>" in page_of(*folders[:2])


def test_the_worst_mistakes_have_an_image_and_a_caption(folders):
    mistake = {"image": "test/3/17.png", "label": "3", "prediction": "8", "confidence": 0.984, "png": png()}
    edit_json(folders[0] / "evaluation.json", mistakes=[mistake])
    write_metrics(folders[0], test_acc=0.5)
    page = page_of(folders[0])
    assert f'<img src="data:image/png;base64,{png()}" alt="test image test/3/17.png">' in page
    assert "<b>3</b>, predicted as <b>8</b>" in page
    assert "98.4% confidence, image test/3/17.png" in page


def test_the_command_the_commit_and_the_versions_are_there(folders):
    git = {"commit": "0123456789" * 4, "changed": True}
    edit_json(folders[0] / "run.json", command="lightning fit --config 'a b.yaml'", git=git)
    write_metrics(folders[0], test_acc=0.5)
    page = page_of(folders[0])
    assert "<pre><code>lightning fit --config &#39;a b.yaml&#39;\n" in page
    assert "lightning fit --config runs/digits/a/config.yaml</code></pre>" in page
    assert f"{git['commit']}, with uncommitted changes" in page
    versions = json.loads((folders[0] / "run.json").read_text())["versions"]
    assert f"torch {versions['torch']}" in page


def test_hostile_names_are_escaped_wherever_they_come_from(folders):
    evil = "<b>&\"'$x_"
    mistake = {"image": evil, "label": evil, "prediction": evil, "confidence": 0.5, "png": evil}
    edit_json(folders[0] / "evaluation.json", classes=[evil, *"123456789"], mistakes=[mistake])
    facts = {"name": evil, "command": evil, "net": evil, "device": evil, "git": {"commit": evil}}
    edit_json(folders[0] / "run.json", **facts, versions={evil: evil}, ended=evil)
    config = yaml.safe_load((folders[0] / "config.yaml").read_text())
    config["model"][evil] = config["data"]["init_args"]["root"] = evil
    (folders[0] / "config.yaml").write_text(yaml.safe_dump(config))
    moved = folders[0].rename(folders[0].with_name("<b>"))
    for page in page_of(moved), page_of(moved, *folders[1:]):
        assert evil not in page
        assert "<b>" not in re.sub("<figcaption>.*?</figcaption>", "", page, flags=re.S)  # where class names are bold
        assert "&lt;b&gt;&amp;&#34;&#39;$x_" in page


def test_dollar_signs_in_class_names_are_no_formulas():
    svg = figures.as_svg(figures.confusion_matrix(np.eye(2, dtype=np.int64), ["$a_$$", "<b>"]))
    assert "$a_$$</text>" in svg
    assert "&lt;b&gt;</text>" in svg


def test_the_page_is_self_contained(page):
    parser = _Text()
    parser.feed(page)
    assert not parser.tags & {"script", "iframe", "object", "embed", "form", "base"}
    sources = re.findall(r'(?<!:)\b(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert "@import" not in page
    assert all(name.startswith("#") for name in re.findall(r"url\(([^)]*)\)", page))


def test_many_runs_have_a_color_for_each_config(folders):
    write_metrics(folders[0], val_acc=0.5)
    several = []
    for number in range(20):
        folder = copy(folders[0], folders[0].with_name(f"{number:02}"))
        edit_text(folder / "config.yaml", "seed_everything: 0", f"seed_everything: {number}")
        edit_text(folder / "config.yaml", "lr: 0.1", f"lr: 0.{11 + number // 2}")
        several.append(folder)
    page = page_of(*several)
    assert page.count("<li><i style=") == len(COLORS)
    assert "Configs whose curves are left out: 2." in page
    assert "runs 1, 2: model.lr 0.11" in page


def test_the_curves_stand_out_from_light_and_dark_pages():
    for color in COLORS:
        for page in "#fdfdfc", "#16181b":
            assert contrast(rgb(color), rgb(page)) >= 3


def rgb(color: str) -> list[int]:
    return [int(color[place : place + 2], 16) for place in (1, 3, 5)]


def contrast(first: list[float], second: list[float]) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(color: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


# The command.


def test_the_command_writes_the_page_and_prints_a_summary(folders, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    report_command([str(folders[2]), "runs/digits", str(folders[0]), "--output", "page.html"])
    out = capsys.readouterr().out
    assert out.rstrip().endswith("page page.html")
    assert re.search(r"model.lr +0.02 +0.1 +0.1", out)
    spread = final_metrics([read_run(folder) for folder in folders[:2]])["test/acc"]
    assert re.search(rf"model.lr 0.1 \(runs 2, 3\) +{spread.mean:.2%} ± {spread.deviation:.2%}", out)
    # The one that was given first is first, and none of them is there twice.
    assert [row[1] for row in tables_of(Path("page.html").read_text())[0][1:]] == ["digits c", "digits a", "digits b"]
    assert {path.name for path in Path.cwd().iterdir()} == {"runs", "page.html"}


def test_a_folder_stands_for_all_runs_in_it_the_oldest_first(folders, capsys):
    for folder, year in zip(folders, (2003, 2001, 2002), strict=True):
        write_metrics(folder, test_acc=0.5)
        edit_json(folder / "run.json", started=f"{year}-01-01T00:00:00+00:00")
    report_command(["runs"])
    rows = tables_of(Path("report.html").read_text())[0][1:]
    assert [row[1] for row in rows] == ["digits b", "digits c", "digits a"]
    assert [run.folder for run in find_runs("runs")] == [folders[0], folders[2], folders[1]]
    report_command(["runs"])  # an HTML page may be replaced


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("notes.txt", r"'notes.txt' is not an HTML page, so it is not replaced; choose another --output"),
        ("runs", r"--output is 'runs', a folder; give the name of a file"),
    ],
)
def test_other_files_are_not_overwritten(folders, output, message):
    Path("notes.txt").write_text("mine")
    before = set(Path.cwd().rglob("*"))
    with pytest.raises(InputError, match=message):
        report_command(["runs", "--output", output])
    assert Path("notes.txt").read_text() == "mine"
    assert set(Path.cwd().rglob("*")) == before


def test_a_folder_without_runs_is_an_error_before_anything_is_written(folders):
    Path("empty").mkdir()
    for folder, message in ("empty", "no run in 'empty'"), ("gone", "no folder 'gone'"):
        with pytest.raises(InputError, match=message):
            report_command([folder, "--output", "page.html"])
    assert not Path("page.html").exists()


# In a browser.

OFFLINE = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"


@pytest.fixture(scope="module")  # a session's event loop would disturb the tests of notebooks
def browser():
    how = "needs a browser: `pip install playwright`, then `playwright install chromium`"
    playwright = pytest.importorskip("playwright.sync_api", reason=how)
    with playwright.sync_playwright() as started:
        program = _installed_browser(started.chromium.executable_path)
        opened = started.chromium.launch(executable_path=program, args=[*OFFLINE.split(), "--no-first-run"])
        yield opened
        opened.close()


def _installed_browser(of_playwright: str) -> str:
    names = "chromium", "chromium-browser", "google-chrome"
    found = [path for path in (*map(shutil.which, names), of_playwright) if path and Path(path).exists()]
    if found:
        return found[0]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in ["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]:
            subprocess.run(command, capture_output=True, timeout=300, check=False)
        if path := shutil.which("chromium"):
            return path
    return pytest.skip("needs a browser: `playwright install chromium`, or the system's package chromium")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(375, 812), (1280, 900)])
def test_the_page_in_a_browser(folders, browser, width, height, scheme):
    mistakes = [{"image": "1" * 80, "label": "3", "prediction": "8", "confidence": 0.9, "png": png()}] * 5
    edit_json(folders[0] / "evaluation.json", mistakes=mistakes)
    other = copy(folders[0], folders[0].with_name("other"))
    edit_config(other, root="/a/long/path/that/goes/on/and/on/without/an/end/or/a/place/to/break/the/line")
    many = {"classes": [f"kind {n}" for n in range(30)], "confusion": np.eye(30, dtype=int).tolist()}
    edit_json(other / "evaluation.json", **many)
    file = Path("page.html").absolute()
    file.write_text(page_of(*folders, other))
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    widths = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(widths) >= 10
    assert all(widths)
    boxes = page.evaluate("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().toJSON())")
    assert len(boxes) == 11  # four curves on each data, two reliability diagrams, the matrix of thirty classes
    assert all(box["width"] > 200 and box["height"] > 80 for box in boxes)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    colors = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    text, background = ([float(v) for v in re.findall(r"[\d.]+", color)[:3]] for color in colors)
    assert contrast(text, background) >= 7
    assert (sum(background) < 128) == (scheme == "dark")
    written = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert [float(v) for v in re.findall(r"[\d.]+", written)[:3]] == text
    quiet = page.evaluate("getComputedStyle(document.querySelector('.quiet')).color")
    assert contrast([float(v) for v in re.findall(r"[\d.]+", quiet)[:3]], background) >= 4.5
    page.close()


def test_a_run_of_others_harms_neither_page_nor_terminal(folders, tmp_path, capsys):
    hostile = "a\x1b]0;title\x07<script>alert(1)</script>$\\frac{"
    edit_json(folders[0] / "run.json", name=hostile, net=hostile)
    rows = [f"0,1,{value}" for value in ("1e308", "-1e308", "nan", "0.5")]
    text = "\n".join([f"epoch,step,{hostile}", *rows, f"{10**30},2,1", "-1,2,1"])
    (folders[0] / "metrics.csv").write_text(text + "\n")
    edit_text(folders[1] / "config.yaml", "monitor: val/loss", "monitor: [val/loss]")
    assert main(["report", *map(str, folders), "--output", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page + capsys.readouterr().out
