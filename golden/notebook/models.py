# SPDX-License-Identifier: Apache-2.0
"""Texts and tables of models, from their configuration."""

from collections.abc import Iterable

from golden.spec.model import ModelConfig
from golden.spec.program.html_table import html_table


def one_line(kind: str, config: ModelConfig, more: str) -> str:
    """``<IntModel 'nano': 2 blocks of 64, 4 experts, tasks task0, task1; fast plan, 112 kB>``."""
    experts = f", {config.experts} experts" if config.moe_layers else ""
    shape = f"{config.depth} blocks of {config.dim}{experts}"
    return f"<{kind} {config.name!r}: {shape}, tasks {', '.join(config.tasks)}; {more}>"


def model_table(kind: str, config: ModelConfig, more: Iterable[tuple[str, object]]) -> str:
    """The facts of a configuration, and ``more``."""
    moe = f"{config.experts} in blocks {', '.join(map(str, config.moe_layers))}; top {config.top_k}"
    return html_table(f"{kind} {config.name}", [
        ("image", f"{config.image_height} x {config.image_width}"), ("tokens", config.tokens),
        ("blocks", f"{config.depth} of {config.dim} channels, {config.heads} heads"),
        ("experts", moe if config.moe_layers else None), ("tasks", ", ".join(config.tasks)),
        ("task heads", ", ".join(f"{head.task} ({head.kind})" for head in config.task_heads)),
        ("classes", config.classes or None), ("multiply-accumulates", f"{config.macs / 1e6:,.1f} M a task"), *more])
