"""Models are pushed to and pulled from a stand-in of the Hugging Face Hub that speaks its HTTP interface."""

import json
import sys
from pathlib import Path

import pytest
import torch

from commands import error_line
from hub_server import TOKEN, running_hub
from resnet_lightning import ImageClassifier, InputError, from_pretrained
from resnet_lightning.checkpoint_file import matches_checksum, read_checkpoint
from resnet_lightning.cli.main import main
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.inference.model_card import GENERATED

library = pytest.importorskip("huggingface_hub", reason="speaks with the hub: pip install -e '.[dev]'")
safetensors = pytest.importorskip("safetensors.torch", reason="writes safetensors: pip install -e '.[dev]'")
pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


@pytest.fixture
def best(digits_run):
    return str(digits_run / "checkpoints" / "best.ckpt")


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """The stand-in, an account, and an empty cache."""
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield server


def test_a_model_comes_back_as_it_was(hub, best, capsys):
    assert main(["push", best, "ann/digits"]) == 0
    assert 'from_pretrained("hf:ann/digits"), or lightning pull ann/digits' in capsys.readouterr().out
    files = hub.files["ann/digits"]
    assert set(files) >= {"model.ckpt", "model.safetensors", "config.json", "README.md"}
    assert not hub.private["ann/digits"]
    card, config = files["README.md"].decode(), json.loads(files["config.json"])
    assert card.startswith("---\n")
    assert 'from_pretrained("hf:ann/digits")' in card
    assert "| `test/acc` | " in card
    assert (config["class_names"], config["backbone"]["in_chans"]) == (list("0123456789"), 1)

    assert main(["pull", "ann/digits"]) == 0
    assert {file.name: file.read_bytes() for file in Path("digits").iterdir()} == {
        name: data for name, data in files.items() if name != ".gitattributes"
    }
    assert matches_checksum("digits/model.ckpt")
    assert "optimizer_states" not in read_checkpoint("digits/model.ckpt")
    before, pulled = load_model(best), load_model("digits/model.ckpt")
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(pulled.probabilities(images), before.probabilities(images))
    net = from_pretrained("hf:ann/digits")
    assert not net.training
    assert torch.equal(net(torch.ones(2, 1, 8, 8)), before.classifier.backbone(torch.ones(2, 1, 8, 8)))
    assert net.pretrained_cfg["label_names"] == list("0123456789")
    assert net.pretrained_cfg["mean"] == pytest.approx(before.data.statistics()[0].tolist())
    assert "exists already" in error_line(capsys, "pull", "ann/digits")


@pytest.mark.slow
def test_an_edited_card_stays_and_a_private_repository_needs_its_account(hub, best, capsys, monkeypatch):
    assert main(["push", best, "ann/mine", "--private"]) == 0
    assert hub.private["ann/mine"]
    hub.files["ann/mine"]["README.md"] = b"# My own words\n"
    hub.files["ann/mine"]["model.ckpt"] = b""
    assert main(["push", best, "hf:ann/mine"]) == 0
    assert hub.files["ann/mine"]["README.md"] == b"# My own words\n"
    assert hub.files["ann/mine"]["model.ckpt"]
    hub.files["ann/mine"]["README.md"] = GENERATED.encode()
    assert main(["push", best, "ann/mine"]) == 0
    assert hub.files["ann/mine"]["README.md"] != GENERATED.encode()
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert "no repository hf:ann/mine, or it is private; log in with `hf auth" in error_line(capsys, "pull", "ann/mine")
    line = error_line(capsys, "push", best, "ann/other")
    assert "hf:ann/other cannot be used: this account may not write it; log in" in line


def test_what_cannot_be_found_is_one_line(hub, best, capsys, monkeypatch):
    hub.files["ann/notes"], hub.private["ann/notes"] = {"README.md": b"words"}, False
    assert "hf:ann/notes has no model.ckpt; only what `lightning push`" in error_line(capsys, "pull", "ann/notes")
    assert "ann/notes has no revision 'v2'" in error_line(capsys, "pull", "ann/notes@v2")
    assert "there is no repository hf:ann/none, or it is private" in error_line(capsys, "pull", "hf:ann/none")
    assert "'notes' is no repository of the Hugging Face Hub" in error_line(capsys, "pull", "notes")
    assert "names a revision; push to 'ann/notes'" in error_line(capsys, "push", best, "ann/notes@v2")
    assert "there is no checkpoint" in error_line(capsys, "push", "gone.ckpt", "ann/notes")
    with pytest.raises(InputError, match="Hub is 'hf:ann/notes'"):
        from_pretrained("ann/notes")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the times that the library tries
    for words in ("pull", "ann/notes"), ("push", best, "ann/notes"):
        assert "http://127.0.0.1:9 cannot be reached" in error_line(capsys, *words)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for words in ("pull", "ann/notes"), ("push", best, "ann/notes"):
        assert "pip install 'resnet-lightning[hub]'" in error_line(capsys, *words)


@pytest.mark.slow
def test_what_was_loaded_once_needs_no_network(hub, best, monkeypatch):
    assert main(["push", best, "ann/digits"]) == 0
    net = from_pretrained("hf:ann/digits")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    again = from_pretrained("hf:ann/digits")
    assert torch.equal(net.conv1.weight, again.conv1.weight)


@pytest.mark.slow
def test_no_file_of_a_repository_runs_code(hub, best, tmp_path):
    """Neither an object in the checkpoint, nor a class that its config names, nor a file of Python beside it."""
    assert main(["push", best, "eve/model"]) == 0
    checkpoint = read_checkpoint(best)
    checkpoint["hyper_parameters"]["backbone"] = "hostile_module.Net"
    torch.save(checkpoint, "named.ckpt")
    Path("pickled.ckpt").write_bytes(b"")
    torch.save({**checkpoint, "run": Runs(tmp_path / "trace")}, "pickled.ckpt")
    Path("hostile_module.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n")
    for file, reason in (("named.ckpt", "give --trust hostile_module"), ("pickled.ckpt", "carries code")):
        hub.files["eve/model"]["model.ckpt"] = Path(file).read_bytes()
        with pytest.raises(InputError, match=reason):
            from_pretrained("hf:eve/model")
    assert not (tmp_path / "trace").exists()


class Runs:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_a_checkpoint_on_this_machine_is_loaded_too(best):
    net = from_pretrained(best)
    assert torch.equal(net.conv1.weight, ImageClassifier.load_from_checkpoint(best).backbone.conv1.weight)
