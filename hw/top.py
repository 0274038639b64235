# SPDX-License-Identifier: Apache-2.0
"""Top level of the accelerator: wiring only."""

from types import SimpleNamespace

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import BEAT_BYTES, NORM_PARAM_LINES, PARAM_LINES, MachineConfig
from hw.array.array_control import ArrayControl
from hw.axi import LITE_MEMBERS, WRITE_MEMBERS, connect_flat, flat, read_members
from hw.cluster.arrays import ClusterArrays
from hw.cluster.epilogues import ClusterEpilogues
from hw.cluster.key_value import KeyBanks, ValueBanks
from hw.cluster.layernorms import ClusterLayerNorms
from hw.cluster.softmaxes import ClusterSoftmaxes
from hw.ctrl.credits import MULTIPLIER_LINES, NORM_LINES
from hw.ctrl.csr import COUNTERS, Csr
from hw.ctrl.front_end import FrontEnd
from hw.ctrl.perf_events import Activity
from hw.ctrl.sequencer import Sequencer
from hw.ctrl.supervisor import Supervisor
from hw.ctrl.weight_prefetcher import WeightPrefetcher
from hw.dma.load_store import LoadStore
from hw.dma.main_port import MainPort
from hw.dma.weight_stream import WeightStream
from hw.lib.own_reset import add_with_own_reset
from hw.memory.operand_memory import OperandMemory
from hw.memory.parameter_queue import ParameterQueue
from hw.memory.residual_memory import ResidualMemory
from hw.memory.weight_ring import WeightRing
from hw.moe.gate import Gate

FAULTY = ("load_store", "operand", "residual", "gate", "array", "epilogue")
"""Units that report what a program did wrong within the machine."""


def ports(cfg: MachineConfig) -> dict:
    """The ports, by the names integrators expect."""
    weights = {}
    for p in range(cfg.ports):
        weights |= flat(f"m_axi_weights{p}", read_members(cfg.port_bytes))
    return {
        "ap_clk": In(1), "ap_rst_n": In(1), "interrupt": Out(1),
        **flat("s_axi_control", LITE_MEMBERS, subordinate=True),
        **flat("m_axi_main", read_members(BEAT_BYTES) | WRITE_MEMBERS), **weights,
    }


class Accelerator(wiring.Component):
    """Top level: the units of ``hw/README.md`` and the wires between them, as in the diagram there.

    Timing: everything is clocked by ``ap_clk``; ``ap_rst_n`` is synchronous and registered once.
    Domain: programs for the machine ``cfg``; anything else ends in a named status.
    Reference model: ``golden.iss``.

    Members: :func:`ports`.
    """

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__(ports(cfg))

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        m.domains.sync = ClockDomain()
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(~self.ap_rst_n)
        m.d.comb += [ClockSignal().eq(self.ap_clk), ResetSignal().eq(reset)]

        # Control survives the reset at the end of a job; everything else is cleared by it.
        m.submodules.csr = csr = Csr(cfg)
        m.submodules.supervisor = supervisor = Supervisor(cfg, engines=cfg.ports + 2, locals_=len(FAULTY))
        cleared = _units(cfg)
        for name, component in cleared.items():
            add_with_own_reset(m, name, component, supervisor.reset)
        u = SimpleNamespace(csr=csr, supervisor=supervisor, **cleared)
        for wire in (self._pins, self._registers, self._faults, self._program, self._weights, self._memories,
                     self._array, self._counters):
            wire(m, u)
        return m

    def _pins(self, m, u) -> None:
        """The machine's ports."""
        connect_flat(m, "s_axi_control", LITE_MEMBERS, self, u.csr.axi, subordinate=True)
        connect_flat(m, "m_axi_main", read_members(BEAT_BYTES), self, u.main.read)
        connect_flat(m, "m_axi_main", WRITE_MEMBERS, self, u.main.write)
        for p in range(self.cfg.ports):
            connect_flat(m, f"m_axi_weights{p}", read_members(self.cfg.port_bytes), self, u.weights.axi[p])
        m.d.comb += self.interrupt.eq(u.csr.interrupt)

    def _registers(self, m, u) -> None:
        """Registers and supervisor."""
        for name in (*u.supervisor.bases, *u.supervisor.bounds, "job_limit"):
            m.d.comb += getattr(u.supervisor, name).eq(getattr(u.csr, name))
        _assign(m, u.supervisor, u.csr, "start", "abort")
        _assign(m, u.csr, u.supervisor, "busy", "done", "code", "drained", "err_index", "err_addr", "run_id", "clear")
        _assign(m, u.main, u.csr, "read_lo", "read_hi", "write_lo", "write_hi", limit="bus_limit")
        _assign(m, u.weights, u.csr, limit="bus_limit", lo="weight_lo", hi="weight_hi")
        _assign(m, u.load_store, u.csr, "table_addr", "input_addr", "output_addr")
        _assign(m, u.front_end, u.csr, addr="program_addr")
        m.d.comb += [u.weights.base[p].eq(getattr(u.csr, f"weight_addr{p}")) for p in range(self.cfg.ports)]
        for engine in (u.main, u.weights):
            m.d.comb += engine.halt.eq(u.supervisor.halt)

    def _faults(self, m, u) -> None:
        """Who says that something went wrong, and where."""
        for n, (prefix, side) in enumerate((("read_", u.main), ("write_", u.main))):
            fault = u.supervisor.bus_fault[n]
            _assign(m, fault, side, valid=f"{prefix}fault", code=f"{prefix}fault_code", addr=f"{prefix}fault_addr")
            m.d.comb += [fault.index.eq(u.load_store.at), u.supervisor.expired[n].eq(getattr(side, f"{prefix}expired")),
                         u.supervisor.quiet[n].eq(getattr(side, f"{prefix}quiet"))]
        for p in range(self.cfg.ports):
            fault = u.supervisor.bus_fault[2 + p]
            m.d.comb += [
                fault.valid.eq(u.weights.fault[p]), fault.code.eq(u.weights.fault_code[p]),
                fault.addr.eq(u.weights.fault_addr[p]), fault.index.eq(u.sequencer.at),
                u.supervisor.expired[2 + p].eq(u.weights.expired[p]), u.supervisor.quiet[2 + p].eq(u.weights.quiet[p]),
            ]
        for fault, name in zip(u.supervisor.local_fault, FAULTY, strict=True):
            _assign(m, fault, getattr(u, name), valid="fault", code="fault_code")
            m.d.comb += fault.index.eq((u.load_store if name == "load_store" else u.sequencer).at)

    def _program(self, m, u) -> None:
        """Program, sequencer, and what these tell the units."""
        _assign(m, u.supervisor, u.front_end, program_fault="fault", program_code="fault_code",
                program_index="fault_index")
        _assign(m, u.supervisor, u.sequencer, "finished", "at")
        _assign(m, u.front_end, u.supervisor, start="begin")
        _assign(m, u.main, u.front_end, "fetching")
        _join(m, (u.front_end.o_request, u.main.i_fetch), (u.main.o_fetch, u.front_end.i_data))
        _assign(m, u.front_end, u.prefetcher, prefetcher_index="index")
        _assign(m, u.front_end, u.sequencer, sequencer_index="index")
        _assign(m, u.prefetcher, u.front_end, word="prefetcher_word", start="loaded")
        _assign(m, u.sequencer, u.front_end, word="sequencer_word", start="loaded")
        _assign(m, u.sequencer, u.activity, "idle")
        _assign(m, u.sequencer, u.gate, arrivals="o_arrivals", count="o_count")
        _assign(m, u.prefetcher, u.gate, arrivals="o_arrivals", round="o_round")
        _assign(m, u.gate, u.sequencer, i_count_expert="count_expert")
        for n, reader in enumerate((u.sequencer, u.prefetcher)):
            m.d.comb += [u.gate.i_place[n].eq(reader.place), reader.arrival.eq(u.gate.o_arrival[n])]
        _join(m, (u.sequencer.o_total, u.prefetcher.i_total), (u.sequencer.o_dma, u.load_store.i),
              (u.sequencer.o_norm, u.norm.i), (u.sequencer.o_array, u.control.i), (u.sequencer.o_gate, u.gate.i))
        _assign(m, u.activity, u.control, control="idle_issue")
        m.d.comb += u.activity.context.eq(u.control.o_context.valid)
        m.d.comb += u.activity.dma.eq(u.load_store.idle)
        for name in ("norm", "gate", "array", "epilogue", "softmax"):
            m.d.comb += getattr(u.activity, name).eq(getattr(u, name).idle)

    def _weights(self, m, u) -> None:
        """The weight stream and its four destinations."""
        _join(m, (u.prefetcher.o_chunk, u.weights.i_chunk), (u.prefetcher.o_route, u.weights.i_route),
              (u.weights.o_ring, u.ring.i), (u.weights.o_param, u.params.i), (u.weights.o_norm, u.norm_params.i),
              (u.weights.o_multipliers, u.multipliers.i), (u.params.o, u.epilogue.i_param),
              (u.norm_params.o, u.norm.i_param), (u.multipliers.o, u.control.i_multipliers))
        _assign(m, u.prefetcher, u.control, "ring_release", "ring_release_en")
        m.d.comb += [
            u.prefetcher.param_release.eq(u.params.release), u.prefetcher.norm_release.eq(u.norm_params.release),
            u.prefetcher.multipliers_release.eq(u.multipliers.release),
        ]
        _assign(m, u.control, u.ring, "ring_level", "ring_data")
        _assign(m, u.ring, u.control, "ring_row", "ring_en", "ring_release", "ring_release_en")

    def _memories(self, m, u) -> None:
        """Load and store, and the clients of each memory."""
        _join(m, (u.load_store.o_load, u.main.i_load), (u.main.o_load, u.load_store.i_data),
              (u.load_store.o_store, u.main.i_store), (u.load_store.o_data, u.main.i_data))
        _assign(m, u.load_store, u.main, "stored")
        _join(m, (u.control.o_operand_read, u.operand.i_read[0]), (u.load_store.o_operand_read, u.operand.i_read[1]))
        _join(m, *zip([*u.epilogue.o_operand, *u.norm.o, u.load_store.o_operand_write], u.operand.i_write, strict=True))
        _join(m, *zip([*u.epilogue.o_residual_read, *u.norm.o_read, u.load_store.o_residual_read], u.residual.i_read,
                      strict=True))
        _join(m, *zip([*u.epilogue.o_residual, u.load_store.o_residual_write], u.residual.i_write, strict=True))
        _join(m, *zip(u.epilogue.o_key, u.key.i, strict=True), *zip(u.epilogue.o_value, u.value.i, strict=True))
        m.d.comb += [u.control.i_operand_row.eq(u.operand.o_row[0]), u.load_store.i_operand_row.eq(u.operand.o_row[1])]
        rows = [*u.epilogue.i_residual_row, *u.norm.i_row, u.load_store.i_residual_row]
        m.d.comb += [row.eq(answer) for row, answer in zip(rows, u.residual.o_row, strict=True)]
        _assign(m, u.key, u.control, row="key_row", en="key_en")
        _assign(m, u.value, u.control, row="value_row", en="value_en")
        _assign(m, u.control, u.key, key_data="o")
        _assign(m, u.control, u.value, value_data="o")

    def _array(self, m, u) -> None:
        """Array, epilogue, softmax, gate."""
        m.d.comb += [u.array.i.payload.eq(u.control.o_beat.payload), u.array.i.valid.eq(u.control.o_beat.valid),
                     u.control.o_beat.ready.eq(1)]
        _assign(m, u.control, u.array, "release")
        _join(m, *zip(u.array.o, u.epilogue.i, strict=True), *zip(u.epilogue.o_score, u.softmax.i, strict=True))
        _join(m, (u.control.o_context, u.epilogue.i_context), (u.epilogue.o_gate, u.gate.i_logits),
              (u.control.o_softmax_job, u.softmax.i_job), (u.softmax.o, u.control.i_softmax_done),
              (u.control.o_traverse, u.gate.i_traverse), (u.gate.o_entry, u.control.i_entry))
        _assign(m, u.softmax, u.control, "p_slot", "p_chunk", "p_plane", "p_en", "p_release")
        _assign(m, u.control, u.softmax, "p_data")

    def _counters(self, m, u) -> None:
        """What the performance counters count."""
        retired = [u.sequencer.retire, u.load_store.retire, u.norm.retired, u.epilogue.retired, u.gate.retire]
        events = {
            "CYCLES": u.supervisor.busy, "RETIRED": sum(retired[1:], retired[0]), "ARRAY_BUSY": u.control.busy,
            "ARRAY_WEIGHTS": u.control.wait_weights, "ARRAY_OPERANDS": u.control.wait_operands,
            "ARRAY_DRAIN": u.control.wait_drain, "NORM_BUSY": ~u.norm.idle, "DMA_BUSY": ~u.load_store.idle,
            "MAIN_READ": u.main.read_beat, "MAIN_WRITTEN": u.main.write_beat,
            **{f"WEIGHT_READ{p}": u.weights.beat[p] for p in range(self.cfg.ports)},
        }
        m.d.comb += [u.csr.event[n].eq(events.get(counter.name, 0)) for n, counter in enumerate(COUNTERS)]


def _units(cfg: MachineConfig) -> dict:
    """All units but registers and supervisor, by name."""
    return {
        "main": MainPort(max_burst=cfg.max_burst), "weights": WeightStream(cfg), "front_end": FrontEnd(cfg),
        "sequencer": Sequencer(cfg), "prefetcher": WeightPrefetcher(cfg), "activity": Activity(),
        "load_store": LoadStore(cfg), "norm": ClusterLayerNorms(cfg), "gate": Gate(cfg), "control": ArrayControl(cfg),
        "array": ClusterArrays(cfg), "epilogue": ClusterEpilogues(cfg), "softmax": ClusterSoftmaxes(cfg),
        "operand": OperandMemory(cfg), "residual": ResidualMemory(cfg), "key": KeyBanks(cfg), "value": ValueBanks(cfg),
        "ring": WeightRing(cfg), "params": ParameterQueue(cfg, lines=cfg.param_lines, record=PARAM_LINES),
        "norm_params": ParameterQueue(cfg, lines=NORM_LINES, record=NORM_PARAM_LINES),
        "multipliers": ParameterQueue(cfg, lines=MULTIPLIER_LINES, record=1),
    }


def _join(m, *pairs) -> None:
    for source, destination in pairs:
        wiring.connect(m, source, destination)


def _assign(m, target, source, *same, **renamed) -> None:
    """Ports of ``target`` get those of ``source``, of the same name or of that given as ``mine="theirs"``."""
    names = dict.fromkeys(same) | renamed
    m.d.comb += [getattr(target, mine).eq(getattr(source, theirs or mine)) for mine, theirs in names.items()]
