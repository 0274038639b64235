# SPDX-License-Identifier: Apache-2.0
"""Facts of models, from their configuration: as values for programs, as one line of text, as a table."""

from collections.abc import Iterable, Mapping

from golden.spec.model import ModelConfig
from golden.spec.program.html_table import html_table

_POOLED = {"class": "class tokens", "mean": "the mean of the patches",
           "class_mean": "the class token and the mean of the patches"}


def model_facts(config: ModelConfig) -> dict[str, object]:
    """The usual facts by name; None where a model has no such thing. ``backbone_macs`` and ``head_macs``:
    multiply-accumulates of the transformer for one task, and of each task's head, which come on top."""
    heads = {head.task: head.macs(config.dim, *config.grid) for head in config.task_heads}
    return {"model": config.name, "image": f"{config.image_height}x{config.image_width}", "tokens": config.tokens,
            "dim": config.dim, "depth": config.depth, "heads": config.heads, "moe_layers": config.moe_layers or None,
            "experts": config.experts if config.moe_layers else None,
            "top_k": config.top_k if config.moe_layers else None, "tasks": ", ".join(config.tasks),
            "activation": config.activation, "classes": config.classes or None,
            "classifier_reads": _POOLED[config.pool] + ", normalised" * config.fc_norm if config.classes else None,
            "pixels": f"code / {config.pixel_scale:g}, mean {_listed(config.pixel_mean)}, "
                      f"std {_listed(config.pixel_std)}",
            "picture": config.fit if config.fit == "middle" else
            f"{config.fit}, {config.interpolation}, of which {config.crop_share:g} is kept",
            "backbone_macs": config.macs, "head_macs": heads or None,
            "task_heads": ", ".join(f"{h.task} ({h.kind}, {h.classes} maps, {h.channels} channels)"
                                    for h in config.task_heads) or None}


def one_line(kind: str, config: ModelConfig, more: str) -> str:
    """``<IntModel 'nano': 2 blocks of 64, 4 experts, tasks task0, task1; fast plan, 112 kB>``."""
    experts = f", {config.experts} experts" if config.moe_layers else ""
    shape = f"{config.depth} blocks of {config.dim}{experts}"
    return f"<{kind} {config.name!r}: {shape}, tasks {', '.join(config.tasks)}; {more}>"


def model_table(kind: str, config: ModelConfig, more: Iterable[tuple[str, object]]) -> str:
    """The facts of a configuration, and ``more``."""
    facts = {name.replace("_", " "): _text(value) for name, value in model_facts(config).items() if name != "model"}
    return html_table(f"{kind} {config.name}", [*facts.items(), *more])


def _text(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else value


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
