# SPDX-License-Identifier: Apache-2.0
"""Units of the mutation tool: the source files of each, and the benches that must find a defect in them."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench_folders() -> list[str]:
    """Folders below ``tests/hw`` with benches on Verilator: all but those about implementation and boards."""
    folders = {bench.parent.name for bench in (ROOT / "tests" / "hw").glob("*/test_*.py")}
    return sorted(folders - {"implementation", "platform"})


@dataclass(frozen=True)
class Unit:
    """``sources``: patterns below ``hw``; ``benches``: files below ``tests/hw``, the fastest first."""

    sources: tuple[str, ...]
    benches: tuple[str, ...]

    def files(self) -> list[Path]:
        """Source files, sorted."""
        return sorted({path for pattern in self.sources for path in (ROOT / "hw").glob(pattern)
                       if path.stem != "__init__"})

    def bench_files(self) -> list[str]:
        """Paths from the root of the repository."""
        return [f"tests/hw/{bench}.py" for bench in self.benches]


UNITS = {
    "array": Unit(("array/array.py", "array/array_control.py", "array/issue.py", "array/lane_buffer.py",
                   "array/linear_schedule.py", "array/attention_schedule.py", "array/operand_loader.py",
                   "array/token_iterator.py", "array/output_iterator.py", "array/score_iterator.py",
                   "array/window_*.py"),
                  ("array/test_array", "array/test_lane_buffer", "array/test_operand_loader",
                   "array/test_array_control")),
    "softmax": Unit(("vector/softmax/*.py", "arith/exp2.py", "arith/reciprocal.py"),
                    ("arith/test_exp2", "arith/test_reciprocal", "vector/test_softmax")),
    "norm": Unit(("vector/layernorm/*.py", "arith/rsqrt.py"), ("arith/test_rsqrt", "vector/test_layernorm")),
    "epilogue": Unit(("vector/epilogue/*.py", "vector/requantize.py", "vector/activation.py", "vector/parts.py",
                      "arith/round_shift.py", "arith/block_quantize.py"),
                     ("vector/test_activation", "vector/test_requantize", "arith/test_block_quantize",
                      "vector/test_epilogue")),
    "gate": Unit(("moe/*.py",), ("moe/test_top_k", "moe/test_expert_queues", "moe/test_gate")),
    "sequencer": Unit(("ctrl/sequencer.py", "ctrl/issue_registers.py", "ctrl/program_pointer.py", "ctrl/front_end.py"),
                      ("ctrl/test_issue_registers", "ctrl/test_sequencer", "ctrl/test_front_end")),
    "prefetcher": Unit(("ctrl/weight_prefetcher.py", "ctrl/weight_segments.py", "ctrl/credits.py",
                        "ctrl/expert_lines.py"), ("ctrl/test_weight_prefetcher",)),
    "engines": Unit(("dma/read_engine.py", "dma/write_engine.py", "dma/splitter.py", "dma/bus_timer.py",
                     "dma/window_guard.py", "dma/response_check.py", "dma/weight_port.py", "dma/weight_stream.py",
                     "dma/range_builder.py", "dma/line_router.py", "dma/load_store.py"),
                    ("dma/test_splitter", "dma/test_bus_timer", "dma/test_window_guard", "dma/test_read_engine",
                     "dma/test_write_engine", "dma/test_weight_port", "dma/test_load_store")),
    "memory": Unit(("memory/*.py",), ("memory/test_parameter_queue", "memory/test_weight_ring",
                                      "memory/test_residual_memory", "memory/test_operand_memory",
                                      "memory/test_key_memory", "memory/test_value_memory")),
    "supervisor": Unit(("ctrl/supervisor.py", "ctrl/csr.py", "ctrl/counters.py"),
                       ("ctrl/test_supervisor", "ctrl/test_csr")),
    "legality": Unit(("ctrl/bounds_check.py", "ctrl/checker.py"), ("ctrl/test_bounds_check", "ctrl/test_front_end")),
}
