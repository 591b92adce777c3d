"""Trained models in repositories of the Hugging Face Hub: pushed with their card, pulled, and loaded by name.

A repository holds ``model.ckpt``, the checkpoint without the state of its training, which every command reads;
``model.safetensors``, the weights of the network alone; ``config.json``, what other programs need to use them; and
``README.md``, the model card. What is read from a repository is a checkpoint from outside: see ``trust.py``.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from ..atomic_write import atomic_write
from ..checkpoint_file import append_checksum, check_file, read_checkpoint
from ..errors import InputError
from .export import export, metadata
from .loaded import LoadedModel, load_model
from .model_card import GENERATED, model_card

PREFIX = "hf:"
CHECKPOINT, WEIGHTS, CONFIG, CARD = "model.ckpt", "model.safetensors", "config.json", "README.md"

# The rest of a checkpoint is the state of its training.
_PARTS = "state_dict", "hyper_parameters", "run", "global_step", "epoch", "pytorch-lightning_version"
_NAME = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class Repository:
    """A repository of models.

    Args:
        name: such as ``"user/repo"``.
        revision: a branch, a tag or a commit; None for the newest version.
    """

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``user/repo``, ``hf:user/repo`` or ``hf:user/repo@revision``.

        Raises:
            InputError: if it has another form.
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise InputError(
                f"{text!r} is no repository of the Hugging Face Hub; give user/name, or user/name@revision"
            )
        return cls(found[1], found[2])

    def download(self, file: str) -> Path:
        """Returns a file of the repository, from the library's cache or the network.

        Raises:
            InputError: if there is no such repository or file, or if it cannot be reached.
        """
        hub = _library()
        with self._errors_in_one_line(file):
            return Path(hub.hf_hub_download(self.name, file, revision=self.revision, endpoint=_endpoint()))

    def upload(self, folder: Path, private: bool | None) -> str:
        """Uploads the files in a folder, and creates the repository if there is none. An edited card is kept.

        Args:
            folder: the files.
            private: whether a new repository is private; None for the account's default.

        Returns:
            The address of the repository.

        Raises:
            InputError: if it cannot be written.
        """
        hub = _library()
        api = hub.HfApi(endpoint=_endpoint())
        with self._errors_in_one_line(""):
            address = api.create_repo(self.name, private=private, exist_ok=True)
            if api.file_exists(self.name, CARD):
                before = Path(api.hf_hub_download(self.name, CARD)).read_text(encoding="utf-8", errors="replace")
                if GENERATED not in before:
                    (folder / CARD).unlink()
            api.upload_folder(repo_id=self.name, folder_path=folder, commit_message="Pushed by lightning push")
        return str(address)

    @contextlib.contextmanager
    def _errors_in_one_line(self, file: str) -> Iterator[None]:
        from huggingface_hub import errors
        from huggingface_hub.utils import logging

        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # it logs each of the times that it tries again
        place = f"{PREFIX}{self.name}" + (f"@{self.revision}" if self.revision else "")
        login = "log in with `hf auth login`, or set HF_TOKEN"
        try:
            yield
        except errors.GatedRepoError as error:
            raise InputError(f"{place} asks for an agreement on its page first; agree there, and {login}") from error
        except errors.RepositoryNotFoundError as error:
            raise InputError(f"there is no repository {place}, or it is private; {login}") from error
        except errors.RevisionNotFoundError as error:
            raise InputError(
                f"{self.name} has no revision {self.revision!r}; give one of its branches or tags"
            ) from error
        except errors.LocalEntryNotFoundError as error:
            reason = _reason(error.__cause__ or error)
            raise InputError(f"{place} is not in the cache, and {_endpoint()} cannot be reached: {reason}") from error
        except errors.EntryNotFoundError as error:
            raise InputError(f"{place} has no {file}; only what `lightning push` has written can be loaded") from error
        except errors.HFValidationError as error:
            raise InputError(f"{self.name!r} is no name of a repository: {_reason(error)}") from error
        except errors.HfHubHTTPError as error:
            is_refused = getattr(error.response, "status_code", 0) in (401, 403)
            why = f"this account may not write it; {login}" if is_refused else _reason(error)
            raise InputError(f"{place} cannot be used: {why}") from error
        except InputError:
            raise
        except Exception as error:  # of the library that speaks HTTP, which changes with the version
            raise InputError(f"{place}: {_endpoint()} cannot be reached: {_reason(error)}") from error
        finally:
            logging.set_verbosity(verbosity)


def push(
    checkpoint: str | Path, repository: str, private: bool | None = None, trust: Iterable[str] = ()
) -> tuple[str, LoadedModel]:
    """Uploads the model of a checkpoint with its card to the Hugging Face Hub.

    Args:
        checkpoint: a checkpoint of ``lightning fit``.
        repository: ``"user/repo"``; it is created if there is none.
        private: whether a new repository is private; None for the account's default.
        trust: the packages of which the checkpoint may name classes; see ``load_model``.

    Returns:
        The address of the repository, and the model.

    Raises:
        InputError: if the checkpoint cannot be read, or the repository cannot be written.
    """
    target = Repository.parse(repository)
    if target.revision:
        raise InputError(f"{repository!r} names a revision; push to {target.name!r}, which gets a new one")
    _library()
    trained = load_model(checkpoint, trust)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export(checkpoint, "safetensors", folder / WEIGHTS, trust=trust)
        (folder / "MODEL_CARD.md").unlink()
        (folder / CARD).write_text(_card(trained, target), encoding="utf-8")
        (folder / CONFIG).write_text(json.dumps(_config(trained), indent=2) + "\n", encoding="utf-8")
        _write_checkpoint(checkpoint, folder / CHECKPOINT)
        return target.upload(folder, private), trained


def pull(repository: str, folder: str | Path | None = None) -> Path:
    """Downloads a model that was pushed, and returns the path of its checkpoint.

    Args:
        repository: ``"user/repo"``, ``"hf:user/repo"`` or either with ``@revision``.
        folder: a new folder for the files; by default it has the name of the repository.

    Raises:
        InputError: if it cannot be downloaded, is no model of this package, or if the folder is not empty.
    """
    source = Repository.parse(repository)
    target = Path(source.name.rpartition("/")[2] if folder is None else folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{str(target)!r} exists already; give another folder with --output")
    checkpoint = source.download(CHECKPOINT)
    check_file(checkpoint)
    found = {CHECKPOINT: checkpoint}
    for name in (WEIGHTS, CONFIG, CARD):
        found[name] = source.download(name)
    target.mkdir(parents=True, exist_ok=True)
    for name, file in found.items():
        shutil.copyfile(file, target / name)
    return target / CHECKPOINT


def from_pretrained(source: str | Path, trust: Iterable[str] = ()) -> nn.Module:
    """Loads the network of a trained model: ``from_pretrained("hf:user/repo")``.

    The ``pretrained_cfg`` of a network of this package has the mean and standard deviation, the size and the names of
    the classes.

    Args:
        source: a repository of the Hugging Face Hub that ``lightning push`` has written, ``"hf:user/repo"`` or
            ``"hf:user/repo@revision"``, or the path of a checkpoint.
        trust: the packages, modules or full names whose code the checkpoint may run; see ``trust.py``.

    Returns:
        The network, in eval mode on the CPU: normalized images (B, C, H, W) -> logits (B, num_classes).

    Raises:
        InputError: if the model is not found, cannot be read, or names code that is not trusted.
    """
    text = os.fspath(source)
    if not text.startswith(PREFIX) and not Path(text).exists() and _NAME.fullmatch(text) and not text.endswith(".ckpt"):
        raise InputError(f"there is no file {text!r}; a repository of the Hugging Face Hub is {PREFIX + text!r}")
    file = Repository.parse(text).download(CHECKPOINT) if text.startswith(PREFIX) else Path(text)
    trained = load_model(file, trust)
    network: Any = trained.classifier.backbone
    spec = trained.data.image_spec
    if described := getattr(network, "pretrained_cfg", None):
        own = {"input_size": (spec.in_chans, *spec.image_size), "mean": spec.mean, "std": spec.std}
        network.pretrained_cfg = network.default_cfg = {**described, **own, "label_names": list(spec.class_names)}
    return network.eval()


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError("the Hugging Face Hub needs an extra: pip install 'resnet-lightning[hub]'") from error
    return huggingface_hub


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _reason(error: BaseException) -> str:
    """Returns the first sentence of an error's message."""
    return re.split(r"[.;]?\s*\n|\. ", str(error).strip() or type(error).__name__)[0][:100]


def _write_checkpoint(source: str | Path, file: Path) -> None:
    """Writes a checkpoint without the state of its training."""
    checkpoint = read_checkpoint(source)
    with atomic_write(file) as opened:
        torch.save({name: checkpoint[name] for name in _PARTS if name in checkpoint}, opened)
        append_checksum(opened)


def _config(trained: LoadedModel) -> dict[str, Any]:
    """Returns what another program needs to use the weights."""
    stated = metadata(trained, "safetensors")
    as_json = "class_names", "image", "backbone", "backbone_args", "metrics", "thresholds"
    as_text = "name", "input", "output", "resnet_lightning_version", "torch_version", "checkpoint_sha256"
    parsed = {name: json.loads(stated[name]) for name in as_json if name in stated}
    return {"library_name": "resnet-lightning", **{name: stated[name] for name in as_text}, **parsed}


def _card(trained: LoadedModel, repository: Repository) -> str:
    folder = repository.name.rpartition("/")[2]
    lines = (
        "```python\nfrom resnet_lightning import from_pretrained\n\n"
        f'net = from_pretrained("{PREFIX}{repository.name}")\n```\n\n'
        f"`lightning pull {repository.name}` downloads the files; `lightning predict {folder}/{CHECKPOINT} my_images` "
        "then labels images. With the weights alone:\n\n"
    )
    title = "## How to load it\n\n"
    return model_card(trained, WEIGHTS).replace(title, title + lines)
