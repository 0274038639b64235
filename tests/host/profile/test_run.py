# SPDX-License-Identifier: Apache-2.0
"""A profiled run adds up: on golden to the prediction, on the simulated board to every counter of the machine."""

from dataclasses import replace

import pytest

from golden.device import GoldenDevice
from golden.spec import machine
from golden.spec.boards import BOARDS
from golden.spec.isa import UNIT
from golden.spec.machine import NANO, ZCU102
from golden.spec.program.outputs import FEATURES
from host.driver.errors import AccelError, DeviceLost
from host.driver.remote.token import VALUE
from host.driver.result import same
from host.profile import run, work
from host.profile.layers import total
from host.profile.page import load_by_layer
from host.profile.run import MEASURED, MODEL, memory_of, port_bytes, profile
from host.profile.timing import timed_by_device
from sim.device import SimDevice
from tests.host.support.devices import compiled, exact, picture
from tests.host.support.served import TOKEN, Serving

BOTH = "task0+task1"


def nano(device):
    network, image = compiled()
    with device:
        return network, profile(image, device, picture(), BOTH)


def test_on_golden_times_are_the_models_and_add_up():
    network, found = nano(GoldenDevice(NANO))
    whole = total(found.layers)
    assert found.timing == found.cycles_from == MODEL and not found.measured and found.exact is None
    assert whole.cycles == pytest.approx(found.predicted) == found.cycles
    assert found.bytes == whole.bytes and found.memory == BOARDS["kv260"].dram
    exact(found.result, network, found.pixels, BOTH)
    assert found.device == "golden:nano" and found.clock == "assumed 300 MHz" and len(found.fingerprint) == 32


def test_work_is_that_of_the_model():
    """Multiply-accumulates of the instructions against the sum over the network's layers."""
    _, found = nano(GoldenDevice(NANO))
    config, tokens = found.image.model, found.image.model.tokens
    by_name = {layer.name: layer for layer in found.layers}
    padded = -(-config.patch_dim // 16) * 16
    assert by_name["embedding"].macs == config.patches * padded * config.dim
    assert by_name["blocks.0.attn"].macs == 4 * tokens * config.dim ** 2 + 2 * tokens ** 2 * config.dim
    assert by_name["blocks.0.ffn"].macs == 2 * tokens * config.dim * config.mlp_hidden
    stored = [output for output in found.image.results(BOTH) if output.kind == FEATURES]
    assert len(stored) == 2 and sum(layer.stored for layer in found.layers) >= 2 * len(stored) * tokens * config.dim


def test_experts_have_all_tokens():
    """Each task's gate sends each of its tokens to top_k experts; those of both tasks pass one loop."""
    _, found = nano(GoldenDevice(NANO))
    config, moe = found.image.model, next(layer for layer in found.layers if layer.kind == "MoE FFN")
    load = load_by_layer(found)
    assert list(load) == ["blocks.1 task0", "blocks.1 task1"]
    assert [sum(row) for row in load.values()] == [config.top_k * config.tokens] * 2
    together = [sum(counts) for counts in zip(*load.values(), strict=True)]
    assert {expert: count for expert, count in enumerate(together) if count} == moe.queues
    assert moe.experts == config.experts


def test_weights_of_experts_without_tokens_are_skipped():
    """As many experts as were not hit, each with the bytes that one that was hit takes."""
    network, image = compiled()
    with GoldenDevice(NANO) as device:
        found = next(run for seed in range(20) for run in [profile(image, device, picture(seed=seed), "task0")]
                     if any(layer.skipped for layer in run.layers))
    moe = next(layer for layer in found.layers if layer.experts)
    body = [entry for entry in found.entries if entry.expert == next(iter(moe.queues))]
    each = sum(work.weight_bytes(entry, NANO) for entry in body)
    assert moe.skipped == (moe.experts - len(moe.queues)) * each


@pytest.mark.rtl
def test_on_the_simulated_board_every_sum_is_a_counter():
    network, found = nano(SimDevice(NANO))
    counters, whole = found.result.counters, total(found.layers)
    assert found.timing == found.cycles_from == MEASURED and found.exact is True
    exact(found.result, network, found.pixels, BOTH)
    assert whole.cycles == counters["CYCLES"] == found.cycles
    assert (whole.weights, whole.loaded, whole.stored) == port_bytes(counters, NANO)
    assert whole.steps == counters["ARRAY_BUSY"] and whole.bytes == found.bytes
    end = found.layers[-1]
    assert end.name == "end" and 0 <= end.cycles < 64, "the watched ends miss the end of the job"
    assert all(layer.macs <= layer.cycles * NANO.macs_per_cycle for layer in found.layers)
    assert found.predicted == pytest.approx(found.cycles, rel=0.03)
    model = {(item.entry.index, item.entry.expert): item.cycle for item in nano(GoldenDevice(NANO))[1].timed}
    ends = [(model[item.entry.index, item.entry.expert], item.cycle) for item in found.timed
            if item.entry.opcode.name != "GATE"]
    assert max(abs(ours - measured) for ours, measured in ends) < 0.05 * found.cycles


def test_a_device_that_saw_another_program_is_an_error():
    _, found = nano(GoldenDevice(NANO))
    ends = [(int(UNIT[item.entry.opcode]), round(item.cycle)) for item in found.timed]
    assert len(timed_by_device(found.entries, ends)) == len(ends)
    with pytest.raises(AccelError, match="that the program lacks"):
        timed_by_device(found.entries, [*ends, ends[-1]])
    with pytest.raises(AccelError, match="did not see 1 instruction"):
        timed_by_device(found.entries, ends[:-1])


def test_memory_of_a_machine():
    class Simulated:
        name, dram = "sim:x", "its own"

    assert memory_of(Simulated, ZCU102) == ("its own", "of sim:x")  # type: ignore[arg-type]
    assert memory_of(object(), machine.U280)[0] == BOARDS["u280"].dram  # type: ignore[arg-type]


def test_a_device_elsewhere_is_compared_with_the_reference_model(monkeypatch):
    """One bit of its result is another one in the second run."""
    monkeypatch.setenv(VALUE, TOKEN)
    serving = Serving(lambda: GoldenDevice(NANO))
    try:
        with serving.open() as device:
            found = profile(compiled()[1], device, picture(), BOTH)
            assert found.exact is True and found.timing == found.cycles_from == MODEL
            result = found.result
            result.residuals["task1"][3, 5] ^= 1
            assert not same(result, profile(compiled()[1], device, picture(), BOTH).result)
            monkeypatch.setattr(run, "same", lambda one, other: same(replace(one, residuals=result.residuals), other))
            assert profile(compiled()[1], device, picture(), BOTH).exact is False
    finally:
        serving.stop()


class Watched:
    """Golden with units that could be watched; its jobs are lost."""

    def __init__(self):
        self.golden, self.retired, self.heard = GoldenDevice(NANO), None, []

    def __getattr__(self, name):
        return getattr(self.golden, name)

    def wait(self, limit, progress):
        self.heard.append(self.retired)
        raise DeviceLost("The cable is gone.")


def test_a_lost_job_is_no_longer_watched():
    device = Watched()
    with pytest.raises(DeviceLost, match="cable"):
        profile(compiled()[1], device, picture(), BOTH)
    assert device.heard[0] is not None and device.retired is None
