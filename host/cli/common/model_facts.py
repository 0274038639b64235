# SPDX-License-Identifier: Apache-2.0
"""The usual facts about a model, as verbs print them."""

from golden.spec.model import ModelConfig

_POOLED = {"class": "class tokens", "mean": "the mean of the patches",
           "class_mean": "the class token and the mean of the patches"}


def describe(config: ModelConfig) -> dict:
    """The usual facts about a model."""
    return {"model": config.name, "image": f"{config.image_height}x{config.image_width}", "tokens": config.tokens,
            "dim": config.dim, "depth": config.depth, "heads": config.heads, "moe_layers": len(config.moe_layers),
            "experts": config.experts, "top_k": config.top_k, "tasks": ", ".join(config.tasks),
            "activation": config.activation, "classes": config.classes or None,
            "classifier_reads": _POOLED[config.pool] + ", normalised" * config.fc_norm if config.classes else None,
            "pixels": f"code / {config.pixel_scale:g}, mean {_listed(config.pixel_mean)}, "
                      f"std {_listed(config.pixel_std)}",
            "picture": config.fit if config.fit == "middle" else
            f"{config.fit}, {config.interpolation}, of which {config.crop_share:g} is kept", "macs": config.macs,
            "task_heads": ", ".join(f"{h.task} ({h.kind}, {h.classes} maps, {h.channels} channels)"
                                    for h in config.task_heads) or None}


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
