# SPDX-License-Identifier: Apache-2.0
"""Second pass of the layer norm: channels of a part become normalized and, with gain and offset, operands."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import NORM_PARAM_LINES, NORM_PARAMS, MachineConfig
from hw.arith.block_quantize import LATENCY as BLOCK_LATENCY
from hw.arith.block_quantize import block_quantize
from hw.arith.round_shift import LATENCY as ROUND_SHIFT_LATENCY
from hw.arith.round_shift import round_shift
from hw.interfaces import LINE_BITS
from hw.lib.pipeline import Pipeline, delay
from hw.shapes import INSTRUCTION, struct_of_record
from hw.vector.layernorm.block_pairs import part_layout
from hw.vector.layernorm.shapes import LEAST_SHIFT, MAX_BLOCKS, ROOT, S1_SHAPE, channels, part_tag

CHANNEL = struct_of_record(NORM_PARAMS)


def stages(cfg: MachineConfig) -> dict[str, int]:
    """Registers from a part's issue to its results: the exponent of a block waits for its last part."""
    return {"read": 1, "part": 1, "product": 1, "centred": 1, "scaled": 1,
            "moved": ROUND_SHIFT_LATENCY - 2, "normalized": 2,
            "gained": 1, "offset": 1, "v": ROUND_SHIFT_LATENCY, "wait": cfg.serialization - 1,
            "quantized": BLOCK_LATENCY}


class NormLanes(wiring.Component):
    """``normalized = sat16((D x - S1) r >> shift)``, ``v = rsh(normalized * gain + offset, shift)``, its bytes. ::

        ring, tokens -> [D x] -> [- S1] -> [x r] -> [>> shift, 3] -> normalized -> [x gain] -> [+ offset]
                     -> [>> shift, 3] -> [block exponent, 3] -> o

    Timing: free-running, LATENCY from ``issue`` to ``o_valid``; ``part``, ``s1``, ``root`` come a cycle after
    ``issue``, ``param_data`` a cycle after its address. II = 1 part; a block's parts follow each other.
    Domain: ``golden.spec.isa.LIMITS``.
    Reference model: ``golden.ops.layernorm.layernorm``.
    Members: ``norm``, ``issue``, ``tag``, ``part``, ``s1``, ``root`` In; ``param_number``, ``param_block`` Out ->
    ``param_data`` In; ``o``, ``o_valid`` Out.
    """

    II = 1

    norm: data.View
    issue: Signal
    tag: data.View
    part: Signal
    s1: Signal
    root: data.View
    param_number: Signal
    param_block: Signal
    param_data: Signal
    o: data.View
    o_valid: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.LATENCY = sum(stages(cfg).values())
        part_bits = LINE_BITS // cfg.serialization
        super().__init__({
            "norm": In(INSTRUCTION[Opcode.NORM]), "issue": In(1), "tag": In(part_tag(cfg)), "part": In(part_bits),
            "s1": In(S1_SHAPE), "root": In(ROOT), "param_number": Out(range(cfg.serialization)),
            "param_block": Out(range(MAX_BLOCKS)), "param_data": In(NORM_PARAM_LINES * part_bits),
            "o": Out(part_layout(channels(cfg))), "o_valid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, "n", stages(self.cfg), flags={"valid": self.issue}, tag={"tag": self.tag})
        normalized = self._normalized(m, pipe)
        v = self._with_gain(m, pipe, normalized)

        # Stages wait, quantized: values wait until it is known which exponent the block's last part needs.
        number = pipe.at("v").tag.number
        waited = [delay(m, value, pipe.cycles("v", "wait"), f"v_waits{k}") for k, value in enumerate(v)]
        bytes_, exponent = block_quantize(m, "quantize", v, waited, opens=number == 0,
                                        closes=number == self.cfg.serialization - 1)
        v = [delay(m, value, pipe.cycles("wait"), f"v_last{k}") for k, value in enumerate(waited)]
        normalized = [delay(m, value, pipe.cycles("normalized"), f"normalized_last{k}")
                      for k, value in enumerate(normalized)]
        self._give_out(m, pipe, v, bytes_, exponent, normalized)
        return m

    def _registers(self, shape, name: str) -> list[Signal]:
        return [Signal(shape, name=f"{name}{k}", reset_less=True) for k in range(channels(self.cfg))]

    def _normalized(self, m, pipe: Pipeline) -> list[Signal]:
        """Stages read .. normalized: (D x - S1) r, shifted."""
        part = delay(m, self.part, pipe.cycles("read", "part"), "x")
        s1 = delay(m, self.s1, pipe.cycles("read", "product"), "s1_waits")
        r = delay(m, self.root.r, pipe.cycles("read", "centred"), "r")
        shift = delay(m, self.root.shift, pipe.cycles("read", "scaled"), "shift")
        product, centred = self._registers(signed(22), "product"), self._registers(signed(27), "centred")
        scaled = self._registers(signed(45 - LEAST_SHIFT), "scaled")  # with one fraction bit for the least shift
        for k in range(channels(self.cfg)):
            m.d.sync += [product[k].eq(part.word_select(k, 16).as_signed() * self.norm.blocks),
                         centred[k].eq((product[k] << 5) - s1), scaled[k].eq(centred[k] * r >> LEAST_SHIFT - 1)]
        return round_shift(m, "normalized", scaled, shift, 16, halves=True)

    def _with_gain(self, m, pipe: Pipeline, normalized: list[Signal]) -> list[Signal]:
        """Stages gained, offset, v. The parameters are read two stages before they are needed."""
        ahead = pipe.at("moved").tag
        m.d.comb += [self.param_number.eq(ahead.number), self.param_block.eq(ahead.block)]
        parameters = delay(m, self.param_data, 1, "parameters")
        gained, offset, total = (self._registers(signed(32), "gained"), self._registers(signed(32), "offset"),
                                 self._registers(signed(33), "offset_sum"))
        for k in range(channels(self.cfg)):
            of_channel = data.View(CHANNEL, parameters[k * CHANNEL.size:(k + 1) * CHANNEL.size])
            m.d.sync += [gained[k].eq(normalized[k] * of_channel.gain),
                         offset[k].eq(of_channel.offset), total[k].eq(gained[k] + offset[k])]
        return round_shift(m, "v", total, self.norm.shift, 16)

    def _give_out(self, m, pipe: Pipeline, v, bytes_, exponent, normalized) -> None:
        """The four planes of a part."""
        done, wide, result = pipe.at("quantized"), self.norm.wide, self.o
        planes = [[Mux(wide, value[8:], byte.as_unsigned()) for value, byte in zip(v, bytes_, strict=True)],
                  [value[:8] for value in v], [value[8:] for value in normalized], [value[:8] for value in normalized]]
        for plane, values in zip(result.results.planes, planes, strict=True):
            m.d.comb += [plane.word_select(k, 8).eq(value) for k, value in enumerate(values)]
        m.d.comb += [self.o_valid.eq(done.valid), result.results.exp.eq(Mux(wide, 0, exponent)),
                     result.odd.eq(done.tag.block[0]), result.ends.eq(done.tag.ends), result.final.eq(done.tag.final)]
