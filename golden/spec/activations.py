# SPDX-License-Identifier: Apache-2.0
"""Activations as a table: ``relu(x) - delta(|x|)`` serves all, so one is an exact function and its table of deltas.

Adding one: host/doc/add-an-activation.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

ACT_IN_FRAC = 9
"""Fraction bits of an activation's input (int16) with ``act_shift`` 0; each step of it takes one away."""
ACT_SHIFT_MAX = 4
"""Largest ``act_shift``: inputs to +-1024."""
ACT_OUT_FRAC = 14
"""Fraction bits of its result; of ``none``, those of its input."""
ACTIVATION_BITS = 3
CHORDS = 256
"""Chords of a table, from 0 to where ReLU is exact."""
STEPS_LOG2 = (-5, -4)
"""log2 of a chord's length, the finer first: tables end at 8 or at 16."""


def none(x: float) -> float:
    return x


def relu(x: float) -> float:
    return max(x, 0.0)


def gelu(x: float) -> float:
    """x * Phi(x)."""
    return 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


def gelu_tanh(x: float) -> float:
    """GELU with Phi by a tanh."""
    return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)))


def silu(x: float) -> float:
    """x * sigmoid(x)."""
    return 0.5 * x * (1.0 + math.tanh(x / 2.0))


FUNCTIONS: dict[str, Callable[[float], float]] = {
    "none": none, "relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu,
}
"""Every activation by its name, in the order of their codes in LINEAR. Those after ``none`` are x * gate(x) with
gate(-x) = 1 - gate(x), and ReLU from 16 on."""


@dataclass(frozen=True)
class Activation:
    """One entry of :data:`FUNCTIONS`, its ``code`` in LINEAR, and what follows from its function."""

    name: str
    code: int
    exact: Callable[[float], float]

    @property
    def passes(self) -> bool:
        """Whether a result is its input, in the input's steps."""
        return self.code == 0

    @cached_property
    def step_log2(self) -> int:
        """The finest step at whose table's end ReLU is exact. Raises ``ValueError`` when there is none."""
        for step in STEPS_LOG2:
            end = CHORDS * 2.0 ** step
            if self.passes or round((end - self.exact(end)) * 2 ** ACT_OUT_FRAC) == 0:
                return step
        raise ValueError(f"{self.name} is no ReLU at {CHORDS * 2.0 ** STEPS_LOG2[-1]:g} yet: no table reaches its end.")

    @cached_property
    def delta(self) -> tuple[int, ...]:
        """relu(x) - exact(x), 14 fraction bits, where chords of the table meet: ``CHORDS + 1`` values, from x = 0 on.
        Empty where all are 0.

        But for the first, points are moved by a quarter of what a chord of step h deviates at most, h^2 / 8 * exact'':
        where they stand, rounding would add to the deviation (of GELU, 2.11 * 2**-14 becomes 1.78).
        """
        step = 2.0 ** self.step_log2
        points = tuple(round((x - self.exact(x) + step ** 2 / 32 * self._curvature(x, step / 8)) * 2 ** ACT_OUT_FRAC)
                       for x in (i * step for i in range(1, CHORDS + 1)))
        return () if self.passes or not any(points) else (0, *points)

    def _curvature(self, x: float, h: float) -> float:
        return (self.exact(x - h) - 2.0 * self.exact(x) + self.exact(x + h)) / h ** 2

    def out_frac(self, act_shift: int) -> int:
        """Fraction bits of a result."""
        return ACT_IN_FRAC - act_shift if self.passes else ACT_OUT_FRAC


ACTIVATIONS = {name: Activation(name, code, exact) for code, (name, exact) in enumerate(FUNCTIONS.items())}
BY_CODE = tuple(ACTIVATIONS.values())
CURVED = tuple(activation for activation in BY_CODE if activation.delta)
"""Those with a table; it holds them in this order."""
assert len(BY_CODE) <= 1 << ACTIVATION_BITS
