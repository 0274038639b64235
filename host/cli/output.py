# SPDX-License-Identifier: Apache-2.0
"""Results of verbs on stdout: a table, or one JSON object; the usual facts about a model; wrong arguments."""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from golden.spec.model import ModelConfig

out = Console()


class UsageError(ValueError):
    """An argument that makes no sense; the message says what was wanted."""


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


def describe(config: ModelConfig) -> dict:
    """The usual facts about a model."""
    return {"model": config.name, "image": f"{config.image_height}x{config.image_width}", "tokens": config.tokens,
            "dim": config.dim, "depth": config.depth, "heads": config.heads, "moe_layers": len(config.moe_layers),
            "experts": config.experts, "top_k": config.top_k, "tasks": ", ".join(config.tasks), "macs": config.macs,
            "task_heads": ", ".join(f"{h.task} ({h.kind}, {h.classes} maps, {h.channels} channels)"
                                    for h in config.task_heads) or None}
