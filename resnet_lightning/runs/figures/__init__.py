"""Figures of runs and models. Each function returns a picture in one style; ``save`` writes it."""

from .clusters import embedding as embedding
from .curves import Curve as Curve
from .curves import learning_curves as learning_curves
from .curves import learning_rates as learning_rates
from .grid import decode_png as decode_png
from .grid import images_in_a_grid as images_in_a_grid
from .matrix import confusion_matrix as confusion_matrix
from .reliability import reliability as reliability
from .robustness import robustness as robustness
from .style import as_svg as as_svg
from .style import save as save
