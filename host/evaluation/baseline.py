# SPDX-License-Identifier: Apache-2.0
"""Baseline that shows how hard a set of pictures is: a classifier that sees nothing but the colour of each pixel."""

from collections.abc import Callable

import numpy as np

from host.datasets.folder import FolderError
from host.evaluation.evaluate import Pictures
from host.evaluation.metrics import confusion
from host.scenes.classes import IGNORE

SCENES = 100
"""Scenes of the training series that it learns from, where no other pictures are given."""
LEAF = 200
"""Fewest pixels in a leaf of the decision tree."""


def colour_classifier(known: Pictures, others: Pictures,
                      report: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
    """Confusion matrix on ``others`` of a decision tree on red, green and blue, trained on ``known``."""
    from sklearn.tree import DecisionTreeClassifier

    total, classes = len(known) + len(others), len(known.classes)
    colours, labels = [], []
    for index in range(len(known)):
        image, label = _pixels(known, index)
        colours.append(image)
        labels.append(label)
        report(index + 1, total)
    tree = DecisionTreeClassifier(min_samples_leaf=LEAF, random_state=0)
    tree.fit(np.concatenate(colours), np.concatenate(labels))
    matrix = np.zeros((classes, classes), np.int64)
    for index in range(len(others)):
        image, label = _pixels(others, index)
        matrix += confusion(tree.predict(image), label, classes)
        report(len(known) + index + 1, total)
    return matrix


def _pixels(pictures: Pictures, index: int) -> tuple[np.ndarray, np.ndarray]:
    sample = pictures.read(index)
    if sample.label is None:
        raise FolderError(f"{sample.name} has no labels to learn colours from.")
    seen = sample.label != IGNORE
    return sample.image[seen], sample.label[seen]
