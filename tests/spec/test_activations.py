# SPDX-License-Identifier: Apache-2.0
"""Activations: their codes, their tables' ends, and functions that no table reaches."""

import pytest

from golden.spec.activations import ACTIVATIONS, BY_CODE, CHORDS, CURVED, Activation
from golden.spec.isa import FORMATS, LIMITS, Opcode


def test_codes_are_places_in_the_table_and_fit_their_field():
    assert [kind.code for kind in BY_CODE] == list(range(len(BY_CODE)))
    assert ACTIVATIONS["none"].code == 0 and ACTIVATIONS["none"].passes and not ACTIVATIONS["relu"].passes
    field = next(field for field in FORMATS[Opcode.LINEAR].fields if field.name == "activation")
    assert LIMITS[Opcode.LINEAR]["activation"] == (0, len(BY_CODE) - 1) and len(BY_CODE) - 1 <= field.high


def test_tables_begin_and_end_at_zero():
    assert {kind.name for kind in CURVED} >= {"gelu", "gelu_tanh", "silu"}
    for kind in CURVED:
        assert len(kind.delta) == CHORDS + 1 and kind.delta[0] == kind.delta[-1] == 0 and min(kind.delta) == 0
    assert ACTIVATIONS["relu"].delta == ACTIVATIONS["none"].delta == ()
    assert ACTIVATIONS["gelu"].step_log2 == -5 and ACTIVATIONS["silu"].step_log2 == -4


def test_exact_values():
    assert ACTIVATIONS["gelu"].exact(1.0) == pytest.approx(0.8413447, abs=1e-7)
    assert ACTIVATIONS["silu"].exact(1.0) == pytest.approx(0.7310586, abs=1e-7)
    assert ACTIVATIONS["silu"].exact(-1000.0) == 0.0  # nothing overflows


def test_a_function_that_does_not_become_relu_is_refused():
    with pytest.raises(ValueError, match="half is no ReLU at 16"):
        _ = Activation("half", 1, lambda x: x / 2).delta
