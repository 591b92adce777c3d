"""Exports a trained model to a file for other programs, and compares the file with the checkpoint."""

import copy
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
from ..checkpoint_file import read_checkpoint
from ..data import DigitsDataModule
from ..data.loading.decode import read_image, scale_and_cut
from ..data.loading.files import list_images
from ..errors import InputError
from ..models.weights import check_state_dict
from .loaded import LoadedModel, load_model
from .model_card import GENERATED, model_card
from .program import deployable, reason_of

FORMAT_VERSION = "1"
"""Version of the metadata; increased when a key changes its meaning."""

TOLERANCE = 1e-4
"""The allowed difference of probabilities. Reordered float32 sums change them by 1e-7 to 5e-5, most in deep nets."""

TOLERANCE_RESIZED = 1e-3
"""The same for scaled images, in which a few pixels of a million differ by one grey level from rounding ties."""

MOST_FILES = 64
_OPSET = 18
_ONNX_LIMIT = 2_000_000_000  # bytes; an ONNX file is one protobuf message, which cannot exceed 2 GB


@dataclass(frozen=True)
class Exported:
    """An exported file, and how it compares with its checkpoint.

    Args:
        path: the file.
        difference: the largest difference between a probability from the file and the same one from the checkpoint.
        images: the number of images that were compared.
    """

    path: Path
    difference: float
    images: int


Program = Callable[[Tensor], Tensor]
"""Maps the pixels of image files (B, H, W, C) uint8 to probabilities (B, num_classes)."""


@dataclass(frozen=True)
class _Format:
    suffix: str
    write: Callable[[LoadedModel, Path, dict[str, str]], None]
    load: Callable[[LoadedModel, Path], Program]


def export(
    checkpoint: str | Path,
    format: str,
    output: str | Path | None = None,
    images: str | Path | None = None,
    trust: Iterable[str] = (),
) -> Exported:
    """Exports the model of a checkpoint to a file, and checks that both give the same probabilities.

    Args:
        checkpoint: a checkpoint of ``lightning fit``.
        format: ``torch_export`` and ``onnx`` write a program that maps pixels to probabilities, see ``Deployable``.
            ``safetensors`` writes the weights of the backbone, and a ``MODEL_CARD.md`` in the same folder. A model card
            that was edited is not overwritten.
        output: the file to write. By default it is next to the checkpoint and has the same name.
        images: a folder of images for the comparison. By default, images are composed of the package's handwritten
            digits, in several sizes.
        trust: the packages of which the checkpoint may name classes; see ``load_model``.

    Raises:
        InputError: if the checkpoint or an image cannot be read, the model cannot be exported, the file cannot be
            written, or its probabilities differ from the checkpoint's. Existing files are then kept.
    """
    if format not in FORMATS:
        raise InputError(f"there is no format {format!r}; known: {', '.join(FORMATS)}")
    kind = FORMATS[format]
    path = Path(checkpoint).with_suffix(kind.suffix) if output is None else Path(output)
    if path.suffix != kind.suffix:
        raise InputError(
            f"the output {str(path)!r} does not fit the format {format}; its name must end in {kind.suffix}"
        )
    if path.is_dir():
        raise InputError(f"the output {str(path)!r} is a folder; give a file")
    if format == "onnx":
        _check_onnx()
    trained = load_model(checkpoint, trust)
    batches = list(_package_images(trained) if images is None else _folder_images(trained, Path(images)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            written = Path(folder, path.name)
            kind.write(trained, written, metadata(trained, format))
            difference = compare(trained, kind.load(trained, written), batches)
            for file in Path(folder).iterdir():
                if not _is_edited_card(path.with_name(file.name)):
                    os.replace(file, path.with_name(file.name))
    except OSError as error:
        raise InputError(f"the output {str(path)!r} cannot be written: {error.strerror or error}") from error
    return Exported(path, difference, sum(map(len, batches)))


def metadata(trained: LoadedModel, format: str) -> dict[str, str]:
    """Returns the metadata of an exported file. Values that are not plain text are JSON."""
    spec, hparams = trained.data.image_spec, trained.classifier.hparams
    calibration = trained.classifier.calibration
    image = {
        "channels": spec.in_chans,
        "image_size": spec.image_size,
        "shorter_side": spec.shorter_side,
        "mean": spec.mean,
        "std": spec.std,
    }
    pixels = "images (B, H, W, C) uint8, the pixels of image files: grey for C = 1, RGB for C = 3"
    scaled = "of any size" if spec.is_square else "of exactly image_size"
    is_program = format != "safetensors"
    with trained.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format_version": FORMAT_VERSION,
        "name": trained.name,
        "class_names": json.dumps(spec.class_names),
        "input": f"{pixels}, {scaled}" if is_program else "images (B, C, H, W) float32, (pixels / 255 - mean) / std",
        "output": _output(trained, is_program),
        **({"thresholds": json.dumps(trained.classifier.thresholds.tolist())} if trained.classifier.multilabel else {}),
        **({"temperature": repr(calibration.temperature)} if calibration else {}),
        "image": json.dumps(image),
        "backbone": json.dumps({name: hparams[name] for name in ("backbone", "num_classes", "in_chans")}),
        "backbone_args": json.dumps(hparams["backbone_args"] or {}),
        "config": trained.config,
        "metrics": json.dumps(trained.metrics),
        "resnet_lightning_version": __version__,
        "torch_version": torch.__version__,
        "checkpoint_sha256": digest,
    }


def _output(trained: LoadedModel, is_program: bool) -> str:
    what = f"{'probabilities' if is_program else 'logits'} (B, num_classes) float32"
    if not trained.classifier.multilabel:
        return what
    chosen = ", and labels (B, num_classes) bool: those of at least its threshold" if is_program else ""
    return f"{what}, of each label by itself{chosen}"


# Comparison with the checkpoint.


def compare(trained: LoadedModel, program: Program, batches: Iterable[Tensor]) -> float:
    """Returns the largest difference between the probabilities of an exported program and those of its model.

    Args:
        trained: the model.
        program: the program that was exported from it.
        batches: images (B, H, W, C) uint8, unscaled.

    Raises:
        InputError: if the difference is too large or NaN, or the shapes differ.
    """
    largest = 0.0
    for images in batches:
        expected = trained.probabilities(_preprocess(trained, images))
        found = program(images)
        if found.shape != expected.shape:
            raise InputError(
                f"the exported file is wrong and was removed: its output has the shape {tuple(found.shape)} instead of "
                f"{tuple(expected.shape)}"
            )
        difference = float((found - expected).abs().max())
        is_scaled = trained.data.image_size is not None and min(images.shape[1:3]) != trained.data.sizes()[1]
        tolerance = TOLERANCE_RESIZED if is_scaled else TOLERANCE
        if not difference <= tolerance:
            height, width = images.shape[1:3]
            raise InputError(
                f"the exported file is wrong and was removed: on images of {width}x{height} its probabilities differ "
                f"by {difference:.2g} from those of the checkpoint; at most {tolerance:g} is allowed"
            )
        largest = max(largest, difference)
    return largest


def _preprocess(trained: LoadedModel, images: Tensor) -> Tensor:
    """Scales and cuts images (B, H, W, C) as the data module does, and returns (B, C, height, width)."""
    size, shorter_side = trained.data.sizes()
    planes = images.permute(0, 3, 1, 2)
    return planes if size is None else torch.stack([scale_and_cut(image, shorter_side, size) for image in planes])


def _package_images(trained: LoadedModel) -> Iterator[Tensor]:
    """Yields images (B, H, W, C) composed of handwritten digits.

    Each channel has different digits, so that the comparison detects swapped channels.
    """
    digits, _ = DigitsDataModule().read("test")
    channels, side = trained.data.in_chans, trained.data.sizes()[1]
    shapes = [(5, side, side), (1, side, side + side // 4 + 1)]
    shapes += [(2, 2 * side + 1, 3 * side), (2, 3 * side - 1, 2 * side), (2, side // 2 + 1, side)]
    if trained.data.image_size is None:
        shapes = [(count, *trained.data.image_spec.image_size) for count in (5, 1)]
    for count, height, width in shapes:
        rows, columns = -(-height // 8), -(-width // 8)
        chosen = torch.arange(count * channels * rows * columns).view(count, channels, rows, columns) % len(digits)
        sheets = digits[chosen].permute(0, 2, 4, 3, 5, 1).reshape(count, 8 * rows, 8 * columns, channels)
        yield sheets[:, :height, :width].contiguous()


def _folder_images(trained: LoadedModel, folder: Path) -> Iterator[Tensor]:
    """Yields the first ``MOST_FILES`` images below a folder, (1, H, W, C) each."""
    for name in list_images(folder)[:MOST_FILES]:
        image = read_image(name, trained.data.in_chans, trained.data.white_level).permute(1, 2, 0).contiguous()
        if trained.data.image_size is None and image.shape[:2] != trained.data.image_spec.image_size:
            height, width = trained.data.image_spec.image_size
            raise InputError(
                f"the image {name!r} is {image.shape[1]}x{image.shape[0]}, but the model takes only {width}x{height}"
            )
        yield image[None]


# Formats.


def _export_program(trained: LoadedModel) -> ExportedProgram:
    channels, sides = trained.data.in_chans, {}
    height, width = trained.data.image_spec.image_size
    if trained.data.image_size is not None:
        sides = {1: Dim("height"), 2: Dim("width")}
        height, width = height + 5, width + 9  # unequal, or torch.export would assume that they are always equal
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    shapes = {"images": {0: Dim("batch"), **sides}}
    module = deployable(trained)
    try:
        with _suppress_logs():
            program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch raises many types for code that it cannot trace
        raise _export_error(error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it contains paths of this machine
    return program


@contextmanager
def _suppress_logs() -> Iterator[None]:
    """Suppresses what torch logs when it cannot trace a model: the graph and a traceback. The error has the reason."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


def _export_error(error: Exception) -> InputError:
    return InputError(
        f"this model cannot be exported: {reason_of(error)}; use --format safetensors, which works for any model"
    )


def _write_torch_export(trained: LoadedModel, file: Path, file_metadata: dict[str, str]) -> None:
    torch.export.save(_export_program(trained), file, extra_files=file_metadata)


def _load_torch_export(trained: LoadedModel, file: Path) -> Program:
    program = torch.no_grad()(torch.export.load(file).module())
    return (lambda images: program(images)[0]) if trained.classifier.multilabel else program


def _check_onnx() -> None:
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise InputError(f"ONNX export needs the package {missing[0]}: pip install onnx onnxscript onnxruntime")


def _write_onnx(trained: LoadedModel, file: Path, file_metadata: dict[str, str]) -> None:
    program = _export_program(trained)
    if sum(tensor.nbytes for tensor in program.state_dict.values()) > _ONNX_LIMIT:
        raise InputError("the weights exceed 2 GB, the limit of an ONNX file; use --format torch_export")
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=["probabilities", "labels"] if trained.classifier.multilabel else ["probabilities"],
            opset_version=_OPSET,
            verbose=False,
        )
    except Exception as error:  # the exporter has its own types for operations that ONNX lacks
        raise _export_error(error) from error
    assert exported is not None
    exported.model.metadata_props.update(file_metadata)
    exported.save(file, external_data=False)


def _load_onnx(trained: LoadedModel, file: Path) -> Program:
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["probabilities"], {"images": images.numpy()})[0])


def _write_safetensors(trained: LoadedModel, file: Path, file_metadata: dict[str, str]) -> None:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise InputError("safetensors export needs the package safetensors: pip install safetensors") from error
    # Contiguous copies: the format supports neither weights that share memory nor the channels_last memory format.
    state = trained.classifier.backbone.state_dict()
    weights = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    # Not `save_file`: other users could not read its file.
    file.write_bytes(save(weights, metadata=file_metadata))
    file.with_name("MODEL_CARD.md").write_text(model_card(trained, file.name), encoding="utf-8")


def _is_edited_card(file: Path) -> bool:
    return (
        file.suffix == ".md" and file.exists() and GENERATED not in file.read_text(encoding="utf-8", errors="replace")
    )


def _load_safetensors(trained: LoadedModel, file: Path) -> Program:
    classifier = copy.deepcopy(trained.classifier)
    weights = read_checkpoint(file)
    check_state_dict(classifier.backbone.state_dict(), weights, repr(str(file)))
    classifier.backbone.load_state_dict(weights)
    loaded = replace(trained, classifier=classifier)
    return lambda images: loaded.probabilities(_preprocess(loaded, images))


FORMATS = {
    "torch_export": _Format(".pt2", _write_torch_export, _load_torch_export),
    "onnx": _Format(".onnx", _write_onnx, _load_onnx),
    "safetensors": _Format(".safetensors", _write_safetensors, _load_safetensors),
}
