# SPDX-License-Identifier: Apache-2.0
"""Trained models that come with the package."""

from pathlib import Path

STREET_MODEL = Path(__file__).parent / "m3vit-street.safetensors"
"""Two-task model for street scenes, trained by ``make train``; its notes hold recipe, classes and figures."""
SCENE_DATA = "street scenes"
"""What the notes of a model that was trained on rendered scenes say of its data."""


def default_model() -> Path | None:
    """The file of the street model; None where a checkout has none."""
    return STREET_MODEL if STREET_MODEL.exists() else None
