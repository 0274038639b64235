# SPDX-License-Identifier: Apache-2.0
"""Each expert that a token chose is read from DRAM exactly once, the others never: seen from the board's side."""

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.iss import Entry
from golden.spec import isa
from golden.spec.isa import Opcode
from golden.spec.machine import PARAM_LINES, MachineConfig
from golden.spec.tiling import attention_lines, linear_lines, norm_lines
from host.compiler.compile import compile_model
from host.compiler.passes import software_pipelining
from host.driver.session import Session
from sim.board.settings import DramSettings

pytestmark = pytest.mark.rtl
BEAT = 16


def lines_of(opcode: Opcode, fields: dict, machine: MachineConfig) -> np.ndarray:
    """Lines of the weight stream that an instruction takes, counted from where it starts."""
    if opcode is Opcode.LINEAR:
        tiles = np.arange(linear_lines(fields["tiles"], fields["slices"])).reshape(fields["tiles"], -1)
        return (tiles[:, :PARAM_LINES] if fields["reuse_weights"] else tiles).reshape(-1)
    if opcode is Opcode.NORM:
        return np.arange(norm_lines(fields["blocks"], machine))
    if opcode is Opcode.ATTENTION:
        return np.arange(attention_lines(fields["heads"], fields["head_slices"], machine))
    return np.arange(0)


def wanted_reads(program: bytes, trace: list[Entry], lines: int,
                 machine: MachineConfig) -> tuple[np.ndarray, list[tuple[set, set]]]:
    """How often each line of the stream is wanted: once for each instruction that uses it, an expert's lines once for
    each EXPERTS whose queues name it, whatever the instruction-set simulator read. Also, for each EXPERTS, the experts
    that some token chose and the others."""
    times, visits = np.zeros(lines, int), []
    code = isa.disassemble(program)
    queues = {entry.index: entry.queues for entry in trace if entry.queues is not None}
    body = range(0)
    for position, (opcode, fields) in enumerate(code):
        if opcode is Opcode.EXPERTS:
            last = queues[max(index for index in queues if index < position)]
            hit = {expert for expert, queue in enumerate(last) if len(queue)}
            visits.append((hit, set(range(fields["experts"])) - hit))
            body = range(position + 1, position + 1 + fields["body"])
            for expert in hit:
                for inner in body:
                    first = fields["stream"] + expert * fields["pitch"] + code[inner][1].get("stream", 0)
                    times[first + lines_of(*code[inner], machine)] += 1
        elif position not in body and "stream" in fields:
            times[fields["stream"] + lines_of(opcode, fields, machine)] += 1
    return times, visits


def board_reads(board, base: int, lines: int, config: MachineConfig) -> np.ndarray:
    """How often the DRAM was asked for each line of the first weight plane."""
    beats = np.zeros(lines * config.line_bytes_per_port // BEAT, int)
    for read in board.reads():
        if read["port"] == 1:
            first = (int(read["address"]) - base) // BEAT
            assert first >= 0
            beats[first:first + int(read["beats"])] += 1
    per_line = beats.reshape(lines, -1)
    assert (per_line == per_line[:, :1]).all(), "part of a line was read"
    return per_line[:, 0]


@pytest.mark.parametrize("together", [False, True], ids=["one task", "both tasks"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_hit_experts_are_read_once_and_the_others_never(together, stall, model, device, picture, monkeypatch):
    """Of programs that are cut wherever that is possible, so that weights are retained and reused."""
    monkeypatch.setitem(software_pipelining.__globals__, "LEAST_GAIN", -1 << 20)
    config = device.board.config
    image = compile_model(model, config)
    names = [name for name in image.programs if ("+" in name) is together]
    assert names
    seen_hit = seen_unhit = 0
    for name in names:
        device.board.configure(DramSettings(latency=40, stall=stall, seed=3))
        device.board.inject([])
        session = Session(image, device)
        device.board.log_reads()
        result = session.frame(picture, name)
        trace = []
        Session(image, GoldenDevice(config, trace=trace.append)).frame(picture, name)
        lines = len(image.planes[0]) // config.line_bytes_per_port
        wanted, visits = wanted_reads(image.program(name), trace, lines, config)
        read = board_reads(device.board, session.regs["WEIGHT_ADDR0"], lines, config)
        device.board.log_reads(False)
        assert np.array_equal(read, wanted), np.flatnonzero(read != wanted)
        assert any(fields.get("reuse_weights") for _,
                   fields in isa.disassemble(image.program(name))), "no LINEAR was cut"
        assert result.counters["WEIGHT_READ0"] * BEAT == wanted.sum() * config.line_bytes_per_port
        seen_hit += sum(len(hit) for hit, _ in visits)
        seen_unhit += sum(len(unhit) for _, unhit in visits)
    assert seen_hit
    assert seen_unhit or together, "every expert is hit: the picture proves nothing"
