# SPDX-License-Identifier: Apache-2.0
"""Program fuzzer: whatever a program says, the reference and RTL give the same bytes or the same named status."""

import os

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from golden.spec import isa
from golden.spec.machine import NANO
from golden.spec.model import ConfigError
from golden.spec.status import Status
from sim.board.settings import DramSettings
from sim.device import SimDevice
from tests.fuzz.machines import TWO_LINES
from tests.fuzz.mutations import mutations
from tests.fuzz.profile import PROGRAMS, examples
from tests.fuzz.programs import finished, programs
from tests.fuzz.rig import Contents, Rig, on_golden

pytestmark = pytest.mark.rtl
MACHINES = (NANO, *((TWO_LINES,) if os.environ.get("FUZZ_MACHINES") else ()))
"""Programs name any line of the weight stream: on the second one also the middle of a stream beat."""


@pytest.fixture(scope="module", params=MACHINES, ids=lambda machine: machine.name)
def rig(request):
    device = SimDevice(request.param, dram_bytes=8 << 20)
    yield Rig(device)
    device.close()


def listing(words: list[int]) -> str:
    """A line for each word of a program, some of which may be no instruction, above all after END."""
    return "\n".join(f"{i}: {_decoded(word)}" for i, word in enumerate(words))


def _decoded(word: int) -> str:
    try:
        return str(isa.decode(word))
    except ConfigError:
        return f"0x{word:064x}"


@given(st.data(), st.integers(0, 15), st.sampled_from([0.0, 0.0, 0.4]))
@examples(PROGRAMS)
def test_programs_mean_the_same(rig, data, seed, stall):
    machine = rig.device.board.config
    words = [isa.encode(opcode, **fields) for opcode, fields in finished(data.draw(programs(machine)), machine)]
    mutated = data.draw(st.booleans())
    if mutated:
        words = data.draw(mutations(words))
    contents = Contents.of(seed)
    wanted = on_golden(words, contents, machine)
    assert mutated or wanted.status is Status.OK, "the grammar makes legal programs"
    event(f"{'mutated' if mutated else 'legal'}: {wanted.status.name}")
    rig.device.board.configure(DramSettings(latency=20, stall=stall, seed=seed + 1))
    came = rig.run(words, contents)
    if wanted.status is Status.RANGE_READ or came.status is Status.RANGE_READ:
        # The weight stream is prefetched: its fault may come before another one, and blame an earlier instruction.
        assert {wanted.status, came.status} <= {Status.RANGE_READ, Status.RANGE_WRITE}, (wanted.status, came.status)
        return
    assert (came.status, came.index) == (wanted.status, wanted.index), listing(words)
    if wanted.status is Status.OK:
        assert not came.differs(wanted), f"{came.differs(wanted)}\n{listing(words)}"
        assert came.retired == wanted.retired
