"""Makes ``digits.npz`` from the copy that scikit-learn carries: ``pip install scikit-learn && python make_digits.py``.

The 17 grey levels of the source, 0 to 16, are spread over [0, 255].
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

if __name__ == "__main__":
    digits = load_digits()
    np.savez_compressed(
        Path(__file__).with_name("digits.npz"),
        images=np.round(digits.images * (255 / 16)).astype(np.uint8),
        labels=digits.target.astype(np.uint8),
    )
