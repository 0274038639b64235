# SPDX-License-Identifier: Apache-2.0
"""Importer of our float model files, with the changes requested in the options."""

from dataclasses import replace

import numpy as np

from golden.files.errors import UnsupportedModel
from golden.model.params import FloatModel
from golden.spec.model import ConfigError
from host.importers.facts import Facts
from host.importers.pixels import for_channels
from host.importers.resize import resize_positions


def adjust(model: FloatModel, facts: Facts) -> FloatModel:
    """The same parameters under the options given; another image size resizes the positional embedding: bilinear for
    models with experts, as M3ViT, else bicubic with antialias, as timm, unless the option ``resize`` says otherwise.
    """
    config = model.config
    given = for_channels(facts.options, config.channels).given
    for unused in ("source_image", "head_kinds", "architecture", "key", "pool"):  # known from the file
        given.pop(unused, None)
    if "window_blocks" in given:
        given["window_layers"] = given.pop("window_blocks")
    if given.pop("backbone_only", False):
        model = FloatModel(replace(config, task_heads=()), {
            name: array for name, array in model.tensors.items() if not name.startswith("heads.")})
        config = model.config
    if "tasks" in given and given["tasks"] != config.tasks:
        raise UnsupportedModel(f"The file's tasks are {config.tasks}; they are renamed at the first import only.")
    kind = given.pop("resize", "bilinear" if config.moe_layers else "bicubic_antialias")
    image = given.pop("image", (config.image_height, config.image_width))
    try:
        new = replace(config, **given, image_height=image[0], image_width=image[1])
    except ConfigError as error:
        raise UnsupportedModel(f"The model cannot be changed so: {error}") from None
    if new.grid != config.grid:
        facts.resized(config.grid, new.grid, kind)
    rows, extra = model["pos_embed"], config.extra_tokens
    rows = np.concatenate([rows[:extra], resize_positions(rows[extra:], config.grid, new.grid, kind)])
    return FloatModel(new, model.tensors | {"pos_embed": rows})
