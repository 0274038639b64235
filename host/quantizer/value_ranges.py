# SPDX-License-Identifier: Apache-2.0
"""Value ranges of the float network's residual stream and logits, and the fraction bits that fit them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.files.errors import ModelFileError
from golden.model.float_model import M3ViT, to_pixels
from golden.model.params import FloatModel
from golden.ops.arith import INT16
from golden.ops.layernorm import eps_code
from golden.spec.heads import NORM_EPS
from golden.spec.isa import Opcode, bounds
from golden.spec.tables import RESIDUAL_FRACS

_, INT16_MAX = INT16
MARGIN, FEW_ROOM, LOGIT_ROOM = 0.5, 1.25, 2.0
"""Headroom beyond the calibrated values: MARGIN times the range of each channel of each token of the residual stream
beyond its extremes, or, with too few images, the factor FEW_ROOM; the factor LOGIT_ROOM for logits.
"""
FIRST = 0.9
"""The first place with this share of the largest magnitude is reported as its cause."""
FEW = 8
"""With fewer images, extremes are unreliable."""
AT_ONCE = 4096
"""Tokens that the float network takes at a time."""


class NotQuantizable(ModelFileError):
    """A network that no integer format of the machine can hold; the message names the tensor and the reason."""


@dataclass(frozen=True)
class ValueRange:
    """Largest magnitudes: of the residual stream and of the values added to it, with headroom and the first place with
    about the largest; and of the logits.
    """

    residual: float
    place: str
    logits: float


class _Probe(dict):
    """Probe that records the extremes of each channel of each token of the residual stream, and of its additions."""

    def __init__(self, pos: Tensor):
        super().__init__()
        self.pos = self.before = pos
        self.extremes = {"pos_embed": (pos, pos)}

    def __setitem__(self, name: str, value: Tensor) -> None:
        if name != "embed" and not name.endswith((".mid", ".out")) or name.endswith("attn.out"):
            return
        place = name.removesuffix(".out").replace(".mid", ".attn")
        added = value - (self.pos if name == "embed" else self.before)
        self._see(place, value)
        self._see(f"the result of {place}", added)
        self.before = value

    def _see(self, place: str, value: Tensor) -> None:
        low, high = value.amin(0), value.amax(0)
        if place in self.extremes:
            low, high = torch.minimum(low, self.extremes[place][0]), torch.maximum(high, self.extremes[place][1])
        self.extremes[place] = low, high

    def furthest(self, images: int) -> tuple[float, str]:
        """Largest magnitude with headroom, and its place. Raises :class:`NotQuantizable` for values not finite."""
        sizes = {}
        for place, (low, high) in self.extremes.items():
            size = torch.maximum(high, -low)
            size = size * FEW_ROOM if images < FEW else size + MARGIN * (high - low)
            if not bool(torch.isfinite(size).all()):
                raise NotQuantizable(f"The float network itself gives values that are infinite or no numbers at "
                                     f"{place}; its weights there or before are too large. Check the checkpoint.")
            sizes[place] = float(size.max())
        most = max(sizes.values())
        return most, next(place for place, size in sizes.items() if size > FIRST * most)


@torch.inference_mode()
def value_range(model: FloatModel, images: np.ndarray) -> ValueRange:
    """Value range over uint8 images [B, height, width, C] and all tasks. Raises :class:`NotQuantizable` for a network
    that leaves the range of float32.
    """
    c, net, logits = model.config, M3ViT(model).eval(), 0.0
    probe, step = _Probe(net.ordered(net.pos_embed[None])[0]), max(1, AT_ONCE // c.tokens)
    for task in c.tasks:
        for start in range(0, len(images), step):
            x = net(to_pixels(c, images[start:start + step]), task, probe)
            if c.classes:
                logits = max([logits, *(float(scores.abs().max()) for scores in net.class_scores(x))])
    return ValueRange(*probe.furthest(len(images)), logits)


@torch.inference_mode()
def result_ranges(model: FloatModel, images: np.ndarray) -> dict[str, float]:
    """Largest magnitude of each task head's results over uint8 images [B, height, width, C]."""
    c, net, found = model.config, M3ViT(model).eval(), {}
    for task in c.tasks:
        for image in images if c.heads_of(task) else ():
            x = net(to_pixels(c, image), task)
            for head in c.heads_of(task):
                top = float(net.maps(x, head.task).abs().max())
                if not np.isfinite(top):
                    raise NotQuantizable(f"The task head {head.task!r} of the float network itself gives values that "
                                         f"are infinite or no numbers. Check its weights.")
                found[head.task] = max(found.get(head.task, 0.0), top)
    return found


def residual_frac(model: FloatModel, found: ValueRange) -> int:
    """The most fraction bits with which the residual stream fits int16 and the norms' epsilon fits its field. Raises
    :class:`NotQuantizable` where there are none.
    """
    c = model.config
    eps = max(c.eps, NORM_EPS) if c.task_heads else c.eps
    fits = [frac for frac in RESIDUAL_FRACS if eps_code(eps, c.dim, frac) <= bounds(Opcode.NORM, "eps")[1]]
    if not fits:
        raise NotQuantizable(f"The norms' epsilon of {eps} at dim {c.dim} is beyond what the machine holds.")
    if found.residual > INT16_MAX:
        raise NotQuantizable(f"The residual stream after {found.place} reaches {found.residual:.4g}; 16 bits hold "
                             f"{INT16_MAX} at most. Check the weights and biases there.")
    return max(frac for frac in fits if found.residual * 2 ** frac <= INT16_MAX)


def logit_frac(found: ValueRange) -> int:
    """The most fraction bits with which logits and their headroom fit int16. Raises :class:`NotQuantizable`."""
    return result_frac("logits of the head", found.logits, "head.weight and head.bias")


def result_frac(what: str, top: float, cause: str) -> int:
    """The most fraction bits with which results up to ``top`` and their headroom fit int16. Raises
    :class:`NotQuantizable`."""
    if top > INT16_MAX:
        raise NotQuantizable(f"The {what} reach {top:.4g}; 16 bits hold {INT16_MAX} at most. Check {cause}.")
    return max([frac for frac in RESIDUAL_FRACS if top * LOGIT_ROOM * 2 ** frac <= INT16_MAX], default=0)
