# SPDX-License-Identifier: Apache-2.0
"""Visual prompts (VPT, shallow and deep), next to the tensors of any network with a class token.

``prompt_embeddings`` (1, prompts, dim) or (prompts, dim) stand after the class token before the first block;
``deep_prompt_embeddings`` (depth - 1, prompts, dim) replace what the block before left of them, one set before each of
the other blocks. Neither has positions. Both names may have anything before them, as VPT's ``enc.transformer.``.
"""

from dataclasses import dataclass, replace

import numpy as np

from golden.files.errors import MissingTensor, UnsupportedModel, WrongShape
from golden.model.params import FloatModel
from golden.spec.model import ConfigError
from host.importers.build import as_float32

SHALLOW, DEEP, PROJECTION = "prompt_embeddings", "deep_prompt_embeddings", "prompt_proj"


@dataclass(frozen=True)
class Prompts:
    """Prompts before the first block [prompts, dim] and before each of the others [depth - 1, prompts, dim], if any."""

    first: np.ndarray
    later: np.ndarray | None


def take_prompts(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Prompts | None]:
    """The tensors without prompts, and these. Raises :class:`ModelFileError` for prompts that are incomplete."""
    rest, found = {}, {}
    for name, array in tensors.items():
        parts = name.split(".")
        if parts[-1] in (SHALLOW, DEEP):
            found[parts[-1]] = as_float32(name, array)
        elif len(parts) > 1 and parts[-2] == PROJECTION:
            raise UnsupportedModel(f"The prompts go through a projection ({name!r}): apply it to them, and save its "
                                   f"results as {SHALLOW} and {DEEP}.")
        else:
            rest[name] = array
    if not found:
        return tensors, None
    if SHALLOW not in found:
        raise MissingTensor(f"There is {DEEP!r}, but no {SHALLOW!r}: the prompts before the first block.")
    first, later = found[SHALLOW], found.get(DEEP)
    first = first[0] if first.ndim == 3 and len(first) == 1 else first
    if first.ndim != 2 or not first.size:
        raise WrongShape(f"{SHALLOW!r} must have the shape (1, prompts, dim), not {found[SHALLOW].shape}.")
    return rest, Prompts(first, later)


def with_prompts(model: FloatModel, prompts: Prompts) -> FloatModel:
    """``model`` with prompts after its class token. Raises :class:`ModelFileError` where they do not fit it."""
    c, (count, dim) = model.config, prompts.first.shape
    if dim != c.dim:
        raise WrongShape(f"{SHALLOW!r} must have {c.dim} channels, as the network, not {dim}.")
    if c.extra_tokens != 1:
        raise UnsupportedModel(f"Prompts stand after the class token; this network has {c.extra_tokens} extra tokens.")
    tensors, layers = dict(model.tensors), ()
    if prompts.later is not None:
        if prompts.later.shape != (c.depth - 1, count, dim):
            raise WrongShape(f"{DEEP!r} must have the shape {(c.depth - 1, count, dim)}, one set before each block but "
                             f"the first, not {prompts.later.shape}.")
        layers = tuple(range(1, c.depth))
        tensors |= {f"blocks.{i}.prompts": np.ascontiguousarray(rows)
                    for i, rows in zip(layers, prompts.later, strict=True)}
    try:
        config = replace(c, extra_tokens=1 + count, prompts=count if layers else 0, prompt_layers=layers)
    except ConfigError as error:
        raise UnsupportedModel(f"With {count} prompts no model can run: {error}") from None
    rows = tensors["pos_embed"]
    tensors["pos_embed"] = np.concatenate([rows[:1], prompts.first, rows[1:]])
    if len(config.class_heads) > len(c.class_heads):  # two extra tokens have a head each; the prompt's says nothing
        for kind in ("weight", "bias"):
            head = tensors[f"head.{kind}"]
            tensors[f"head.{kind}"], tensors[f"head_dist.{kind}"] = 2 * head, np.zeros_like(head)
    return FloatModel(config, tensors)
