# SPDX-License-Identifier: Apache-2.0
"""Results of verbs on stdout: a table, or one JSON object; the usual facts about a model; wrong arguments."""

import json
import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from golden.spec.model import ModelConfig

out = Console()
MODELS = (".safetensors",)
"""Suffixes of model files: by them they are known."""
_POOLED = {"class": "class tokens", "mean": "the mean of the patches",
           "class_mean": "the class token and the mean of the patches"}
DRAWINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".webp")
"""Suffixes of what matplotlib draws."""


class UsageError(ValueError):
    """An argument that makes no sense; the message says what was wanted."""


def check_output(path: Path | None, *sources: Path | None, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a file that could not be written, would not be known by its suffix, or is, or lies in,
    one of the ``sources`` that are read. Raises UsageError.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} for {path.name}.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file to write.")
    if suffixes and path.suffix not in suffixes:
        raise UsageError(f"The output must be a file {', '.join(suffixes)}, not {path.name!r}.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a pipe or device; name a file to write.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"The folder {path.parent} of {path.name} may not be written to.")
    for source in sources:
        if source is None or not source.exists():
            continue
        if path.exists() and path.samefile(source):
            raise UsageError(f"{path} is the input; name another file to write.")
        if source.is_dir() and path.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{path} lies in the folder {source}, which is the input; name a place outside of it.")


def show(as_json: bool, title: str, facts: dict) -> None:
    """Print ``facts``, one a row under ``title``, or as JSON."""
    if as_json:
        print(json.dumps(facts))
        return
    table = Table(title=escape(title), show_header=False)
    for key, value in facts.items():
        shown = "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(key.replace("_", " "), escape(shown))
    out.print(table)


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


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
