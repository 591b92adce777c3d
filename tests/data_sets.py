"""Small data sets in the formats of MNIST and CIFAR, written by several tests."""

import hashlib
import pickle

import numpy as np


def write_idx(file, array):
    """The format of MNIST: 0, 0, 8 (uint8), the number of axes, their lengths as big-endian 32 bits, the values."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    file.write_bytes(header + array.tobytes())


def write_mnist(root, name="MNIST"):
    """Forty training images of each of ten classes, and one for testing."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    arrays = {}
    for prefix, n in (("train", 400), ("t10k", 10)):
        arrays[prefix] = generator.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n, dtype=np.uint8) % 10
        write_idx(raw / f"{prefix}-images-idx3-ubyte", arrays[prefix][0])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", arrays[prefix][1])
    return raw, arrays


def write_cifar(root, monkeypatch, dataset, labels_key, classes):
    """Two images of each class in every file, and the sums that torchvision then expects."""
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    arrays = {}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def write_batches(names):
        sums = []
        for name, _ in names:
            images = generator.integers(0, 256, (2 * classes, 32, 32, 3), np.uint8)
            labels = generator.permutation(2 * classes) % classes
            arrays[name] = images, labels.tolist()
            # One row an image: all of red, then green, then blue.
            rows = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
            sums.append([name, write(name, {"data": rows, labels_key: labels.tolist(), "batch_label": name})])
        return sums

    monkeypatch.setattr(dataset, "train_list", write_batches(dataset.train_list))
    monkeypatch.setattr(dataset, "test_list", write_batches(dataset.test_list))
    names = [f"class {number}" for number in range(classes)]
    meta = {**dataset.meta, "md5": write(dataset.meta["filename"], {dataset.meta["key"]: names})}
    monkeypatch.setattr(dataset, "meta", meta)
    return folder, arrays
