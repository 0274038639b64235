# SPDX-License-Identifier: Apache-2.0
"""Token pruning of the float network: the tokens to which the class token pays most (``ModelConfig.keep``)."""

from collections.abc import Callable, MutableMapping

import torch
from torch import Tensor

from golden.spec.model import ModelConfig


def chosen(paid: Tensor, extra: int, patches: int) -> Tensor:
    """Numbers, ascending, of the tokens that stay, int64 [B, extra + patches]: the first ``extra`` ones and those of
    the largest scores ``paid`` [B, N], of equal ones the first."""
    order = paid[:, extra:].sort(dim=-1, descending=True, stable=True).indices[:, :patches]
    return torch.cat([torch.arange(extra, device=paid.device).expand(len(paid), -1), extra + order.sort(-1).values], 1)


def add_attention(config: ModelConfig, layer: int, attention: Callable[..., Tensor], x: Tensor, y: Tensor,
                  probe: MutableMapping[str, Tensor]) -> Tensor:
    """The stream x [B, N, D] after block ``layer`` added its attention of y, of the tokens that the block keeps.

    Their numbers go to ``blocks.i.kept`` of the probe, the mean over the heads of what the class token pays to each
    token to ``blocks.i.paid``.
    """
    name, seen = f"blocks.{layer}.", {}
    x = x + attention(y, seen, name)
    patches = dict(config.keep).get(layer)
    if patches is not None:
        seen[f"{name}paid"] = seen[f"{name}attn.prob"][:, :, 0].mean(1)
        seen[f"{name}kept"] = chosen(seen[f"{name}paid"], config.extra_tokens, patches)
        x = x.gather(1, seen[f"{name}kept"][..., None].expand(-1, -1, x.shape[-1]))
    for key, value in seen.items():
        probe[key] = value
    return x
