"""Writes the model card of published weights: data, metrics, how to load them, limits and training config."""

from typing import Any

import yaml

from ..runs.configs import stored_config
from .loaded import LoadedModel

_SPLIT_OPTIONS = "classes", "val_split", "split_seed", "num_folds", "fold", "train_fraction"
_MAX_NAMES = 20

GENERATED = "<!-- Written by `resnet-lightning export`, which leaves a card without this line as it is. -->\n"


def model_card(trained: LoadedModel, file: str) -> str:
    """Returns a model card in Markdown, with Hugging Face front matter.

    All metrics are those of the checkpoint. The card names no license; whoever publishes the weights adds one.

    Args:
        trained: the model.
        file: the name of the safetensors file, which is in the card's folder.
    """
    sections = {
        "Data": _data(trained),
        "Metrics": _metrics(trained),
        "How to load it": _code(trained, file),
        "Limits": _limits(trained),
        "Recipe": _recipe(trained),
    }
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items())
    return f"---\n{_front_matter(trained)}---\n\n# {trained.name}\n\n{_summary(trained)}\n\n{body}\n{GENERATED}"


def _front_matter(trained: LoadedModel) -> str:
    backbone = trained.classifier.hparams["backbone"].rpartition(".")[2]
    head: dict[str, Any] = {"tags": ["image-classification", "pytorch", "resnet-lightning", backbone]}
    measured, kind = ("test/f1", "f1") if trained.classifier.multilabel else ("test/acc", "accuracy")
    if measured in trained.metrics:
        head["metrics"] = [kind]
        data = _data_module(trained)
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": data, "type": data, "split": "test"},
            "metrics": [{"type": kind, "value": round(trained.metrics[measured], 6)}],
        }
        head["model-index"] = [{"name": trained.name, "results": [result]}]
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


def _summary(trained: LoadedModel) -> str:
    parameters = sum(parameter.numel() for parameter in trained.classifier.backbone.parameters())
    images, count = f"{_images(trained)} of {_size(trained)} pixels", len(trained.data.class_names)
    task = f"classifies {images} into {count} classes"
    if trained.classifier.multilabel:
        task = f"assigns any of {count} labels to {images}"
    return (
        f"`{trained.classifier.hparams['backbone']}` with {parameters:,} parameters, which {task}. It was trained "
        f"with `resnet_lightning` on the data of `{_data_module(trained)}`."
    )


def _size(trained: LoadedModel) -> str:
    height, width = trained.data.image_spec.image_size
    return f"{width}x{height}"


def _images(trained: LoadedModel) -> str:
    return "grey images" if trained.data.in_chans == 1 else "colour images (RGB)"


def _config(trained: LoadedModel) -> dict[str, Any]:
    return stored_config(trained.config)


def _data_module(trained: LoadedModel) -> str:
    return str(_config(trained).get("data", {}).get("class_path", "unknown data")).rpartition(".")[2]


def _data(trained: LoadedModel) -> str:
    names, data = list(trained.data.class_names), trained.data
    mean, std = (", ".join(f"{value:.4g}" for value in values.tolist()) for values in data.statistics())
    more = f" and {len(names) - _MAX_NAMES} more, listed in the file's metadata" if len(names) > _MAX_NAMES else ""
    options = _config(trained).get("data", {}).get("init_args") or {}
    splits = ", ".join(f"{name} {options[name]}" for name in _SPLIT_OPTIONS if options.get(name) is not None)
    scaled = (
        f"the shorter side is scaled to {data.sizes()[1]}, then the centre is cropped"
        if data.image_size
        else "used unscaled"
    )
    rows = {
        "data module": f"`{_data_module(trained)}`",
        "classes": ", ".join(names[:_MAX_NAMES]) + more,
        "images": f"{_images(trained)}, {_size(trained)} pixels; image files: {scaled}",
        "mean (pixels in [0, 1])": mean,
        "standard deviation": std,
        **({"splits": splits} if splits else {}),
    }
    return _table(("", ""), rows)


def _metrics(trained: LoadedModel) -> str:
    metrics = trained.metrics
    if not metrics:
        return "The checkpoint stores no metrics."
    rows = {f"`{name}`": f"{value:.4f}" for name, value in metrics.items() if name.split("/")[0] != "train"}
    rows |= {f"`{name}`": f"{value:.4f}" for name, value in metrics.items() if name in ("train/loss", "train/acc")}
    accuracy = "Accuracies are fractions of 1: `acc` is top-1, `acc5` top-5."
    if trained.classifier.multilabel:
        accuracy = "All are fractions of 1: `mAP` and `f1` are means over the labels, `acc` counts whole images."
    return (
        f"{_table(('metric', 'value'), rows)}\n\n{accuracy} "
        "`test/` metrics are those of the test set; "
        "`val/` and `train/` metrics are the last ones that were logged in training."
    )


def _table(head: tuple[str, str], rows: dict[str, str]) -> str:
    cells = [head, ("---", "---"), *((name, value.replace("|", r"\|")) for name, value in rows.items())]
    return "\n".join(f"| {name} | {value} |" for name, value in cells)


def _code(trained: LoadedModel, file: str) -> str:
    """Returns example code that loads the weights from the card's folder."""
    data, hparams = trained.data, trained.classifier.hparams
    options = {name: hparams[name] for name in ("num_classes", "in_chans")}
    own = hparams["backbone_args"] or {}
    if "." in hparams["backbone"]:
        imports = "from resnet_lightning import ImageClassifier"
        arguments = _arguments({"backbone": hparams["backbone"], **options, "backbone_args": own})
        net = f"net = ImageClassifier({arguments}).eval().backbone\nnet.load_state_dict(load_file({file!r}))"
        safetensors = "from safetensors import safe_open\nfrom safetensors.torch import load_file"
    else:
        imports, safetensors = "from resnet_lightning import create_model", "from safetensors import safe_open"
        arguments = _arguments({**options, **own, "pretrained": file})
        net = f"net = create_model({hparams['backbone']!r}, {arguments}).eval()"
    mean, std = (values.tolist() for values in data.statistics())
    white = "" if data.white_level is None else f", white_level={data.white_level:g}"
    pixels = f"read_image(file, channels={data.in_chans}{white})"
    if data.image_size is not None:
        pixels = f"scale_and_cut({pixels}, shorter_side={data.sizes()[1]}, size={data.image_size})"
    calibration = trained.classifier.calibration
    scale = "" if calibration is None else f" / {calibration.temperature!r}"
    activation, meaning = (
        "softmax(dim=1)",
        '`class_names[probabilities("image.png").argmax()]` is the most likely class.',
    )
    if trained.classifier.multilabel:
        thresholds = ", ".join(f"{value:.4f}" for value in trained.classifier.thresholds.tolist())
        activation = "sigmoid()"
        meaning = f"An image has each label whose probability is at least its threshold: [{thresholds}]."
    logits = "net(((pixels - mean) / std)[None])"
    logits = f"({logits}{scale})" if scale else logits
    decode = "read_image, scale_and_cut" if data.image_size is not None else "read_image"
    return f"""```
pip install safetensors
```

```python
import json

import torch
{safetensors}

{imports}
from resnet_lightning.data.loading.decode import {decode}

{net}
with safe_open({file!r}, framework="pt") as weights:
    class_names = json.loads(weights.metadata()["class_names"])
mean, std = (255 * torch.tensor(values)[:, None, None] for values in ({mean}, {std}))


def probabilities(file):
    pixels = {pixels}
    with torch.no_grad():
        return {logits}.{activation}[0]
```

{meaning}"""


def _arguments(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def _limits(trained: LoadedModel) -> str:
    assigns, kind = ("assigns any of", "labels") if trained.classifier.multilabel else ("assigns one of", "classes")
    limits = [
        f"It {assigns} these {len(trained.data.class_names)} {kind} to every image, whatever the image shows.",
        "Only the metrics above were measured; its accuracy on images from other sources is unknown.",
        f"Its input has {_size(trained)} pixels; details that are too small for this resolution are lost.",
        _calibration(trained),
    ]
    if trained.data.image_size is not None:
        limits.append("Only the centre of an image that is not square is used.")
    if views := trained.classifier.test_views:
        limits.append(f"The metrics are those of the mean over several views ({views}); the code uses the image alone.")
    if trained.data.in_chans == 1:
        limits.append("Colours are ignored.")
    return "\n".join(f"- {limit}" for limit in limits)


def _calibration(trained: LoadedModel) -> str:
    found = trained.classifier.calibration
    if found is None:
        return (
            "Its probabilities are not calibrated: a prediction with probability 0.9 need not be right nine times in "
            "ten."
        )
    return (
        f"Its probabilities are calibrated with a temperature of {found.temperature:.3f} on {found.images:,} "
        f"validation images, where the expected calibration error was {found.error[0]:.2%} before and "
        f"{found.error[1]:.2%} after; on images of another kind they need not be."
    )


def _recipe(trained: LoadedModel) -> str:
    config = _config(trained)
    trainer = {name: value for name, value in (config.get("trainer") or {}).items() if value is not None}
    shown = {name: trainer[name] for name in ("max_epochs", "max_steps", "precision") if trainer.get(name, -1) != -1}
    parts = {"model": config.get("model"), "trainer": shown, "seed_everything": config.get("seed_everything")}
    short = yaml.safe_dump({name: part for name, part in parts.items() if part is not None}, sort_keys=False)
    return (
        f"```yaml\n{short}```\n\n<details><summary>The whole config</summary>\n\n"
        f"```yaml\n{trained.config.rstrip()}\n```\n\n</details>"
    )
