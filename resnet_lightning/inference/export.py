"""A trained net as one file that other programs run: from the pixels of an image file to probabilities."""

import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .. import __version__
from ..data import DigitsDataModule
from ..data.loading.decode import read_image, scale_and_cut
from ..data.loading.files import list_images
from ..errors import InputError
from ..models.weights import check_state_dict, read_checkpoint
from ..training.classifier import ImageClassifier
from .loaded import LoadedModel, load_model
from .model_card import GENERATED, model_card
from .program import deployable, reason_of

FORMAT_VERSION = "1"
"""Of the metadata, to be counted up when a key changes its meaning."""

TOLERANCE = 1e-4
"""How far probabilities may differ: sums of float32 in another order move them by 1e-7 to 5e-5, in deep nets most."""

TOLERANCE_RESIZED = 1e-3
"""The same where images are scaled: in few of a million pixels a tie is rounded to the next of the 255 grey levels."""

MOST_FILES = 64
_OPSET = 18
_LARGEST = 2_000_000_000  # bytes; an ONNX file is one protobuf message, and those end at 2 GB


@dataclass(frozen=True)
class Exported:
    """A file that was written and compared.

    Args:
        path: of the file.
        difference: the largest one between a probability that the file gave and the checkpoint's.
        images: how many were compared.
    """

    path: Path
    difference: float
    images: int


Program = Callable[[Tensor], Tensor]
"""Pixels (B, H, W, C) uint8, as they are in the files, to probabilities (B, num_classes)."""


@dataclass(frozen=True)
class _Format:
    suffix: str
    write: Callable[[LoadedModel, Path, dict[str, str]], None]
    load: Callable[[LoadedModel, Path], Program]


def export(
    checkpoint: str | Path, format: str, output: str | Path | None = None, images: str | Path | None = None
) -> Exported:
    """Writes a checkpoint's net to a file of its own, and compares what that computes with what the checkpoint does.

    Args:
        checkpoint: of ``lightning fit``.
        format: ``torch_export`` and ``onnx`` are programs from pixels to probabilities, see ``Deployable``;
            ``safetensors`` are the backbone's weights, with a ``MODEL_CARD.md`` beside them unless it was edited.
        output: the file; beside the checkpoint and named after it by default.
        images: a folder of images to compare with; handwritten digits of the package in several sizes by default.

    Raises:
        InputError: where the checkpoint or an image cannot be read, the net cannot be exported, the file cannot be
            written, or it computes something else. What was at its place before is still there then.
    """
    if format not in FORMATS:
        raise InputError(f"there is no format {format!r}; known: {', '.join(FORMATS)}")
    kind = FORMATS[format]
    path = Path(checkpoint).with_suffix(kind.suffix) if output is None else Path(output)
    if path.suffix != kind.suffix:
        raise InputError(f"the output {str(path)!r} is to be of the format {format}; let its name end in {kind.suffix}")
    if path.is_dir():
        raise InputError(f"the output {str(path)!r} is a folder; give a file")
    if format == "onnx":
        _check_onnx()
    trained = load_model(checkpoint)
    batches = list(_of_the_package(trained) if images is None else _of_a_folder(trained, Path(images)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            written = Path(folder, path.name)
            kind.write(trained, written, metadata(trained, format))
            difference = compare(trained, kind.load(trained, written), batches)
            for file in Path(folder).iterdir():
                if not _is_somebodys_card(path.with_name(file.name)):
                    os.replace(file, path.with_name(file.name))
    except OSError as error:
        raise InputError(f"the output {str(path)!r} cannot be written: {error.strerror or error}") from error
    return Exported(path, difference, sum(map(len, batches)))


def metadata(trained: LoadedModel, format: str) -> dict[str, str]:
    """What a file says of itself; values that are no plain text are JSON."""
    spec, hparams = trained.data.image_spec, trained.classifier.hparams
    image = {
        "channels": spec.in_chans,
        "image_size": spec.image_size,
        "shorter_side": spec.shorter_side,
        "mean": spec.mean,
        "std": spec.std,
    }
    pixels = "images (B, H, W, C) uint8, as a file's pixels are: grey for C = 1, RGB for C = 3"
    scaled = "of any size" if spec.is_square else "of exactly image_size"
    is_program = format != "safetensors"
    with trained.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format_version": FORMAT_VERSION,
        "name": trained.name,
        "class_names": json.dumps(spec.class_names),
        "input": f"{pixels}, {scaled}" if is_program else "images (B, C, H, W) float32, (pixels / 255 - mean) / std",
        "output": f"{'probabilities' if is_program else 'logits'} (B, num_classes) float32",
        "image": json.dumps(image),
        "backbone": json.dumps({name: hparams[name] for name in ("backbone", "num_classes", "in_chans")}),
        "backbone_args": json.dumps(hparams["backbone_args"] or {}),
        "config": trained.config,
        "metrics": json.dumps(trained.metrics),
        "resnet_lightning_version": __version__,
        "torch_version": torch.__version__,
        "checkpoint_sha256": digest,
    }


# Comparing.


def compare(trained: LoadedModel, program: Program, batches: Iterable[Tensor]) -> float:
    """The largest difference between a program's probabilities and those of the net that it was made of.

    Args:
        trained: the net.
        program: what was made of it.
        batches: images (B, H, W, C) uint8, unscaled.

    Raises:
        InputError: where it is too large, or not a number.
    """
    largest = 0.0
    for images in batches:
        expected = trained.probabilities(_as_trained(trained, images))
        found = program(images)
        if found.shape != expected.shape:
            raise InputError(f"the written file gives {tuple(found.shape)} instead of {tuple(expected.shape)}; removed")
        difference = float((found - expected).abs().max())
        is_scaled = trained.data.image_size is not None and min(images.shape[1:3]) != trained.data.sizes()[1]
        tolerance = TOLERANCE_RESIZED if is_scaled else TOLERANCE
        if not difference <= tolerance:
            height, width = images.shape[1:3]
            raise InputError(
                f"the written file is wrong and removed: on images of {width}x{height} its probabilities differ by "
                f"{difference:.2g} from those of the checkpoint, and {tolerance:g} is allowed"
            )
        largest = max(largest, difference)
    return largest


def _as_trained(trained: LoadedModel, images: Tensor) -> Tensor:
    """Images (B, H, W, C) of files to (B, C, height, width), as the data module reads them."""
    size, shorter_side = trained.data.sizes()
    planes = images.permute(0, 3, 1, 2)
    return planes if size is None else torch.stack([scale_and_cut(image, shorter_side, size) for image in planes])


def _of_the_package(trained: LoadedModel) -> Iterator[Tensor]:
    """Sheets of handwritten digits (B, H, W, C): other ones in each channel, so that none can be taken for another."""
    digits, _ = DigitsDataModule().read("test")
    channels, side = trained.data.in_chans, trained.data.sizes()[1]
    wanted = [(5, side, side), (1, side, side + side // 4 + 1)]
    wanted += [(2, 2 * side + 1, 3 * side), (2, 3 * side - 1, 2 * side), (2, side // 2 + 1, side)]
    if trained.data.image_size is None:
        wanted = [(count, *trained.data.image_spec.image_size) for count in (5, 1)]
    for count, height, width in wanted:
        rows, columns = -(-height // 8), -(-width // 8)
        chosen = torch.arange(count * channels * rows * columns).view(count, channels, rows, columns) % len(digits)
        sheets = digits[chosen].permute(0, 2, 4, 3, 5, 1).reshape(count, 8 * rows, 8 * columns, channels)
        yield sheets[:, :height, :width].contiguous()


def _of_a_folder(trained: LoadedModel, folder: Path) -> Iterator[Tensor]:
    """The first images below a folder, (1, H, W, C) each."""
    for name in list_images(folder)[:MOST_FILES]:
        image = read_image(name, trained.data.in_chans).permute(1, 2, 0).contiguous()
        if trained.data.image_size is None and image.shape[:2] != trained.data.image_spec.image_size:
            height, width = trained.data.image_spec.image_size
            raise InputError(
                f"the image {name!r} is {image.shape[1]}x{image.shape[0]}, and the net takes {width}x{height} alone"
            )
        yield image[None]


# Formats.


def _program_of(trained: LoadedModel) -> ExportedProgram:
    channels, sides = trained.data.in_chans, {}
    height, width = trained.data.image_spec.image_size
    if trained.data.image_size is not None:
        sides = {1: Dim("height"), 2: Dim("width")}
        height, width = height + 5, width + 9  # different ones, or torch takes them for one
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    shapes = {"images": {0: Dim("batch"), **sides}}
    module = deployable(trained)
    try:
        with _quiet():
            program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds for code that it cannot follow
        raise _cannot_be_exported(error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the file says nothing of the folders of this machine
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the graph of a net that cannot be followed, and where in torch that was: the error says why."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


def _cannot_be_exported(error: Exception) -> InputError:
    return InputError(f"this net cannot be exported: {reason_of(error)}; --format safetensors takes any")


def _write_torch_export(trained: LoadedModel, file: Path, described: dict[str, str]) -> None:
    torch.export.save(_program_of(trained), file, extra_files=described)


def _load_torch_export(trained: LoadedModel, file: Path) -> Program:
    return torch.no_grad()(torch.export.load(file).module())


def _check_onnx() -> None:
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise InputError(f"ONNX wants the library {missing[0]}: pip install onnx onnxscript onnxruntime")


def _write_onnx(trained: LoadedModel, file: Path, described: dict[str, str]) -> None:
    program = _program_of(trained)
    if sum(tensor.nbytes for tensor in program.state_dict.values()) > _LARGEST:
        raise InputError("the weights are larger than the 2 GB of an ONNX file; export to torch_export")
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=["probabilities"],
            opset_version=_OPSET,
            verbose=False,
        )
    except Exception as error:  # the exporter's own kinds, for operations that ONNX does not have
        raise _cannot_be_exported(error) from error
    assert exported is not None
    exported.model.metadata_props.update(described)
    exported.save(file, external_data=False)


def _load_onnx(trained: LoadedModel, file: Path) -> Program:
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["probabilities"], {"images": images.numpy()})[0])


def _write_safetensors(trained: LoadedModel, file: Path, described: dict[str, str]) -> None:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise InputError("safetensors wants its library: pip install safetensors") from error
    # Copies: the format knows neither weights that share memory nor channels that lie innermost.
    state = trained.classifier.backbone.state_dict()
    weights = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    file.write_bytes(save(weights, metadata=described))  # its `save_file` lets nobody else read the file
    file.with_name("MODEL_CARD.md").write_text(model_card(trained, file.name), encoding="utf-8")


def _is_somebodys_card(file: Path) -> bool:
    return (
        file.suffix == ".md" and file.exists() and GENERATED not in file.read_text(encoding="utf-8", errors="replace")
    )


def _load_safetensors(trained: LoadedModel, file: Path) -> Program:
    classifier = ImageClassifier(**{**trained.classifier.hparams, "compile": False}).eval()
    weights = read_checkpoint(file)
    check_state_dict(classifier.backbone.state_dict(), weights, repr(str(file)))
    classifier.backbone.load_state_dict(weights)
    loaded = replace(trained, classifier=classifier)
    return lambda images: loaded.probabilities(_as_trained(loaded, images))


FORMATS = {
    "torch_export": _Format(".pt2", _write_torch_export, _load_torch_export),
    "onnx": _Format(".onnx", _write_onnx, _load_onnx),
    "safetensors": _Format(".safetensors", _write_safetensors, _load_safetensors),
}
