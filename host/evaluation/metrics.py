# SPDX-License-Identifier: Apache-2.0
"""Metrics of segmentation and depth, accumulated over a set of pictures: sums first, one division at the end.

As M3ViT computes them: the IoU of a class is TP / (TP + FP + FN) of all pixels of the set; RMSE is over all valid
pixels of the set, not a mean over pictures. Sums of parts of a set add up, so pictures can be worked on in any order.
"""

from dataclasses import dataclass

import numpy as np

DEPTH_FLOOR = 1e-9
"""Least predicted depth in the logarithm of log-RMSE."""


def confusion(predicted: np.ndarray, label: np.ndarray, classes: int, ignore: int = 255) -> np.ndarray:
    """Pixels by label (row) and predicted class (column), int64 [classes, classes]; ``ignore`` labels do not count.

    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 255]), 2).tolist()
    [[1, 1], [0, 0]]
    """
    counted = label != ignore
    rows, columns = label[counted].astype(np.int64), predicted[counted].astype(np.int64)
    if rows.size and not (0 <= rows.min() and rows.max() < classes):
        raise ValueError(f"Labels must lie in 0..{classes - 1} or be {ignore}, not {sorted(set(rows.tolist()))[-3:]}.")
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def class_ious(matrix: np.ndarray) -> np.ndarray:
    """IoU of each class, float64; NaN for a class that neither labels nor predictions have.

    >>> class_ious(np.array([[1, 1], [0, 0]])).tolist()
    [0.5, 0.0]
    """
    hit = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    return np.divide(hit, union, out=np.full(len(matrix), np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean of :func:`class_ious` over the classes that occur; 0 where none does.

    >>> mean_iou(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    0.775
    """
    ious = class_ious(matrix)
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else 0.0


@dataclass(frozen=True)
class DepthSums:
    """Sums over valid pixels of a set: squared errors, squared errors of logarithms, absolute errors, relative ones.

    >>> one = DepthSums.of(np.array([2.0, 4.0, 9.0]), np.array([1.0, 4.0, 0.0]))
    >>> one.pixels, one.absolute
    (2, 1.0)
    >>> round((one + one).rmse, 4), round(one.relative_error, 4)
    (0.7071, 0.5)
    """

    pixels: int = 0
    squared: float = 0.0
    log_squared: float = 0.0
    absolute: float = 0.0
    relative: float = 0.0

    @classmethod
    def of(cls, predicted: np.ndarray, depth: np.ndarray) -> "DepthSums":
        """Sums of one or more maps; pixels whose true ``depth`` is not above 0 do not count."""
        valid = depth > 0
        p, d = predicted[valid].astype(np.float64), depth[valid].astype(np.float64)
        error, logs = p - d, np.log(np.maximum(p, DEPTH_FLOOR)) - np.log(d)
        return cls(int(valid.sum()), float((error ** 2).sum()), float((logs ** 2).sum()), float(np.abs(error).sum()),
                   float((np.abs(error) / d).sum()))

    def __add__(self, other: "DepthSums") -> "DepthSums":
        return DepthSums(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def rmse(self) -> float:
        """Root of the mean squared error, metres."""
        return (self.squared / max(self.pixels, 1)) ** 0.5

    @property
    def log_rmse(self) -> float:
        """Root of the mean squared difference of natural logarithms; predictions are at least ``DEPTH_FLOOR``."""
        return (self.log_squared / max(self.pixels, 1)) ** 0.5

    @property
    def mean_error(self) -> float:
        """Mean absolute error, metres."""
        return self.absolute / max(self.pixels, 1)

    @property
    def relative_error(self) -> float:
        """Mean of |error| / depth."""
        return self.relative / max(self.pixels, 1)


@dataclass
class Spread:
    """Mean and deviation of the depths of a set: what predicting the mean everywhere would give.

    >>> spread = Spread()
    >>> spread.add(np.array([1.0, 3.0, 0.0]))
    >>> spread.mean, spread.deviation
    (2.0, 1.0)
    """

    pixels: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, depth: np.ndarray) -> None:
        valid = depth[depth > 0].astype(np.float64)
        self.pixels, self.total = self.pixels + valid.size, self.total + float(valid.sum())
        self.squares += float((valid ** 2).sum())

    def __add__(self, other: "Spread") -> "Spread":
        return Spread(self.pixels + other.pixels, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        return self.total / max(self.pixels, 1)

    @property
    def deviation(self) -> float:
        return max(0.0, self.squares / max(self.pixels, 1) - self.mean ** 2) ** 0.5
