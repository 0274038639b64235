# SPDX-License-Identifier: Apache-2.0
"""Top level of the accelerator: wiring only."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.array.array import MatrixArray
from hw.array.array_control import ArrayControl
from hw.axi import LITE_MEMBERS, READ_MEMBERS, WRITE_MEMBERS, connect_flat, flat
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
from hw.interfaces import LINE_BITS
from hw.lib.queue import Queue
from hw.memory.key_memory import KeyMemory
from hw.memory.operand_memory import OperandMemory
from hw.memory.residual_memory import ResidualMemory
from hw.memory.value_memory import ValueMemory
from hw.memory.weight_ring import WeightRing
from hw.moe.gate import Gate
from hw.vector.epilogue import Epilogue
from hw.vector.layernorm import LayerNorm
from hw.vector.softmax import Softmax


def ports(cfg: MachineConfig) -> dict:
    """The ports, by the names integrators expect."""
    weights = {}
    for p in range(cfg.ports):
        weights |= flat(f"m_axi_weights{p}", READ_MEMBERS)
    return {
        "ap_clk": In(1), "ap_rst_n": In(1), "interrupt": Out(1),
        **flat("s_axi_control", LITE_MEMBERS, subordinate=True),
        **flat("m_axi_main", READ_MEMBERS | WRITE_MEMBERS), **weights,
    }


class Accelerator(wiring.Component):
    """Top level: the units of ``hw/README.md`` and the wires between them, as in the diagram there.

    Timing: everything in domain ``sync``, clocked by ``ap_clk``; ``ap_rst_n`` is synchronous and registered once.
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
        local_units = 6
        m.submodules.csr = csr = Csr(cfg)
        m.submodules.supervisor = supervisor = Supervisor(cfg, engines=cfg.ports + 2, locals_=local_units)

        def unit(name, component):
            m.submodules[name] = ResetInserter(supervisor.reset)(component)
            return component

        main = unit("main", MainPort())
        weights = unit("weights", WeightStream(cfg))
        front_end = unit("front_end", FrontEnd(cfg))
        sequencer = unit("sequencer", Sequencer(cfg))
        prefetcher = unit("prefetcher", WeightPrefetcher(cfg))
        activity = unit("activity", Activity())
        load_store = unit("load_store", LoadStore(cfg))
        norm = unit("norm", LayerNorm(cfg))
        gate = unit("gate", Gate(cfg))
        control = unit("control", ArrayControl(cfg))
        array = unit("array", MatrixArray(cfg))
        epilogue = unit("epilogue", Epilogue(cfg))
        softmax = unit("softmax", Softmax(cfg))
        operand = unit("operand", OperandMemory(cfg))
        residual = unit("residual", ResidualMemory(cfg))
        key = unit("key", KeyMemory(cfg))
        value = unit("value", ValueMemory(cfg))
        ring = unit("ring", WeightRing(cfg))
        params = unit("params", Queue(LINE_BITS, cfg.param_lines))
        norm_params = unit("norm_params", Queue(LINE_BITS, NORM_LINES))
        multipliers = unit("multipliers", Queue(LINE_BITS, MULTIPLIER_LINES))

        def join(*pairs):
            for source, destination in pairs:
                wiring.connect(m, source, destination)

        def assign(target, source, *same, **renamed):
            names = dict.fromkeys(same) | renamed
            m.d.comb += [getattr(target, mine).eq(getattr(source, theirs or mine)) for mine, theirs in names.items()]

        # Ports.
        connect_flat(m, "s_axi_control", LITE_MEMBERS, self, csr.axi, subordinate=True)
        connect_flat(m, "m_axi_main", READ_MEMBERS, self, main.read)
        connect_flat(m, "m_axi_main", WRITE_MEMBERS, self, main.write)
        for p in range(cfg.ports):
            connect_flat(m, f"m_axi_weights{p}", READ_MEMBERS, self, weights.axi[p])
        m.d.comb += self.interrupt.eq(csr.interrupt)

        # Registers and supervisor.
        for name in (*supervisor.bases, *supervisor.bounds, "job_limit"):
            m.d.comb += getattr(supervisor, name).eq(getattr(csr, name))
        assign(supervisor, csr, "start", "abort")
        assign(csr, supervisor, "busy", "done", "code", "drained", "err_index", "err_addr", "run_id", "clear")
        assign(main, csr, "read_lo", "read_hi", "write_lo", "write_hi", limit="bus_limit")
        assign(weights, csr, limit="bus_limit", lo="weight_lo", hi="weight_hi")
        assign(load_store, csr, "table_addr", "input_addr", "output_addr")
        assign(front_end, csr, addr="program_addr")
        m.d.comb += [weights.base[p].eq(getattr(csr, f"weight_addr{p}")) for p in range(cfg.ports)]
        for engine in (main, weights):
            m.d.comb += engine.halt.eq(supervisor.halt)

        for n, (prefix, side) in enumerate((("read_", main), ("write_", main))):
            fault = supervisor.bus_fault[n]
            assign(fault, side, valid=f"{prefix}fault", code=f"{prefix}fault_code", addr=f"{prefix}fault_addr")
            m.d.comb += [fault.index.eq(load_store.at), supervisor.expired[n].eq(getattr(side, f"{prefix}expired")),
                         supervisor.quiet[n].eq(getattr(side, f"{prefix}quiet"))]
        for p in range(cfg.ports):
            fault = supervisor.bus_fault[2 + p]
            m.d.comb += [
                fault.valid.eq(weights.fault[p]), fault.code.eq(weights.fault_code[p]),
                fault.addr.eq(weights.fault_addr[p]), fault.index.eq(sequencer.at),
                supervisor.expired[2 + p].eq(weights.expired[p]), supervisor.quiet[2 + p].eq(weights.quiet[p]),
            ]
        for n, source in enumerate((load_store, operand, residual, gate, array, epilogue)):
            assign(supervisor.local_fault[n], source, valid="fault", code="fault_code")
            m.d.comb += supervisor.local_fault[n].index.eq((load_store if source is load_store else sequencer).at)
        assign(supervisor, front_end, program_fault="fault", program_code="fault_code", program_index="fault_index")
        assign(supervisor, sequencer, "finished", "at")

        # Program.
        assign(front_end, supervisor, start="begin")
        assign(main, front_end, "fetching")
        join((front_end.o_request, main.i_fetch), (main.o_fetch, front_end.i_data))
        assign(front_end, prefetcher, prefetcher_index="index")
        assign(front_end, sequencer, sequencer_index="index")
        assign(prefetcher, front_end, word="prefetcher_word", start="loaded")
        assign(sequencer, front_end, word="sequencer_word", start="loaded")
        assign(sequencer, activity, "idle")
        assign(sequencer, gate, arrivals="o_arrivals", count="o_count")
        assign(prefetcher, gate, arrivals="o_arrivals", round="o_round")
        assign(gate, sequencer, i_count_expert="count_expert")
        for n, reader in enumerate((sequencer, prefetcher)):
            m.d.comb += [gate.i_place[n].eq(reader.place), reader.arrival.eq(gate.o_arrival[n])]
        join((sequencer.o_total, prefetcher.i_total), (sequencer.o_dma, load_store.i), (sequencer.o_norm, norm.i),
             (sequencer.o_array, control.i), (sequencer.o_gate, gate.i))
        assign(activity, control, control="idle_issue")
        m.d.comb += activity.context.eq(control.o_context.valid)
        for name, source in (("dma", load_store), ("norm", norm), ("gate", gate), ("array", array),
                             ("epilogue", epilogue), ("softmax", softmax)):
            m.d.comb += getattr(activity, name).eq(source.idle)

        # Weight stream.
        join((prefetcher.o_chunk, weights.i_chunk), (prefetcher.o_route, weights.i_route), (weights.o_ring, ring.i),
             (weights.o_param, params.i), (weights.o_norm, norm_params.i), (weights.o_multipliers, multipliers.i),
             (params.o, epilogue.i_param), (norm_params.o, norm.i_param), (multipliers.o, control.i_multipliers))
        assign(prefetcher, control, "ring_release", "ring_release_en")
        m.d.comb += [
            prefetcher.param_release.eq(params.o.valid & params.o.ready),
            prefetcher.norm_release.eq(norm_params.o.valid & norm_params.o.ready),
            prefetcher.multipliers_release.eq(multipliers.o.valid & multipliers.o.ready),
        ]
        assign(control, ring, "ring_level", "ring_data")
        assign(ring, control, "ring_row", "ring_en", "ring_release", "ring_release_en")

        # Load and store.
        join((load_store.o_load, main.i_load), (main.o_load, load_store.i_data), (load_store.o_store, main.i_store),
             (load_store.o_data, main.i_data))
        assign(load_store, main, "stored")

        # Memories.
        join((control.o_operand_read, operand.i_read[0]), (load_store.o_operand_read, operand.i_read[1]),
             (epilogue.o_operand, operand.i_write[0]), (norm.o, operand.i_write[1]),
             (load_store.o_operand_write, operand.i_write[2]),
             (epilogue.o_residual_read, residual.i_read[0]), (norm.o_read, residual.i_read[1]),
             (load_store.o_residual_read, residual.i_read[2]),
             (epilogue.o_residual, residual.i_write[0]), (load_store.o_residual_write, residual.i_write[1]),
             (epilogue.o_key, key.i), (epilogue.o_value, value.i))
        m.d.comb += [
            control.i_operand_row.eq(operand.o_row[0]), load_store.i_operand_row.eq(operand.o_row[1]),
            epilogue.i_residual_row.eq(residual.o_row[0]), norm.i_row.eq(residual.o_row[1]),
            load_store.i_residual_row.eq(residual.o_row[2]),
        ]
        assign(key, control, row="key_row", en="key_en")
        assign(value, control, row="value_row", en="value_en")
        assign(control, key, key_data="o")
        assign(control, value, value_data="o")

        # Array, epilogue, softmax, gate.
        m.d.comb += [array.i.payload.eq(control.o_beat.payload), array.i.valid.eq(control.o_beat.valid),
                     control.o_beat.ready.eq(1)]
        assign(control, array, "release")
        join((array.o, epilogue.i), (control.o_context, epilogue.i_context),
             (epilogue.o_score, softmax.i), (epilogue.o_gate, gate.i_logits),
             (control.o_softmax_job, softmax.i_job), (softmax.o, control.i_softmax_done),
             (control.o_traverse, gate.i_traverse), (gate.o_entry, control.i_entry))
        assign(softmax, control, "p_slot", "p_chunk", "p_plane", "p_en", "p_release")
        assign(control, softmax, "p_data")

        # Counters.
        retired = [sequencer.retire, load_store.retire, norm.retire, epilogue.retire, gate.retire]
        events = {
            "CYCLES": supervisor.busy, "RETIRED": sum(retired[1:], retired[0]), "ARRAY_BUSY": control.busy,
            "ARRAY_WEIGHTS": control.wait_weights, "ARRAY_OPERANDS": control.wait_operands,
            "ARRAY_DRAIN": control.wait_drain, "NORM_BUSY": ~norm.idle, "DMA_BUSY": ~load_store.idle,
            "MAIN_READ": main.read_beat, "MAIN_WRITTEN": main.write_beat,
            **{f"WEIGHT_READ{p}": weights.beat[p] for p in range(cfg.ports)},
        }
        m.d.comb += [csr.event[n].eq(events.get(counter.name, 0)) for n, counter in enumerate(COUNTERS)]
        return m
