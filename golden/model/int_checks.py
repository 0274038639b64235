# SPDX-License-Identifier: Apache-2.0
"""Checks of a quantized model: names, types, shapes, ranges, and accumulators that cannot wrap."""

import numpy as np

from golden.files.errors import MissingTensor, ModelFileError, UnexpectedTensor, WrongDtype, WrongShape
from golden.ops.gate import split
from golden.spec.heads import WINDOWS
from golden.spec.isa import Opcode, bounds
from golden.spec.model import ModelConfig
from golden.spec.quantized import PACKED_BITS, HeadPlan, Plan, quantized_schema, weight_limit
from golden.spec.tables import (
    ACC_LIMIT,
    GATE_WEIGHT_MAX,
    PIXEL_PEAK,
    RESIDUAL_FRACS,
    UNSIGNED_MAX,
    WEIGHT_LEVELS,
    WIDE_PEAK,
    operand_peak,
    probabilities_fit,
)


class OutOfRange(ModelFileError):
    """A tensor with a value that the machine cannot hold, or that could make an accumulator wrap."""


def check_quantized(config: ModelConfig, plan: Plan, tensors: dict[str, np.ndarray]) -> None:
    """Raise a :class:`ModelFileError` unless ``tensors`` are a quantized model of ``config`` and ``plan``."""
    if len(plan.layers) != config.depth:
        raise WrongShape(f"The plan describes {len(plan.layers)} layers; "
                         f"the model {config.name!r} has {config.depth}.")
    if len(plan.task_heads) != len(config.task_heads):
        raise WrongShape(f"The plan describes {len(plan.task_heads)} task heads; "
                         f"the model {config.name!r} has {len(config.task_heads)}.")
    _check_schema(config, tensors)
    _check_ranges(config, plan, tensors)
    for name, peak in linears(config, plan).items():
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        weight = weight.reshape(len(weight), -1) if name.startswith("heads.") else weight
        _bound(f"{name}.weight", weight, peak, bias)
    for name in tensors:
        if _is_gate(name) and name.endswith(".weight"):
            bias = split(tensors[name.removesuffix("weight") + "bias"])
            for part, part_bias in zip(split(tensors[name]), bias, strict=True):
                _bound(name, part, WIDE_PEAK, part_bias)
    for i, layer in enumerate(plan.layers):
        shift = int(tensors[f"blocks.{i}.attn.p_shift"])
        if not probabilities_fit(config.keys(i), layer.prob, shift):
            raise OutOfRange(f"blocks.{i}.attn.p_shift is {shift}: {config.keys(i)} probabilities could bring an "
                             f"accumulator of P V beyond 2**31. Increase p_shift.")


def linears(config: ModelConfig, plan: Plan) -> dict[str, int]:
    """Every linear but the gates, with the largest magnitude of its operand."""
    peaks = {"patch_embed": PIXEL_PEAK}
    for i, layer in enumerate(plan.layers):
        b = f"blocks.{i}."
        peaks |= {f"{b}attn.{part}": operand_peak(layer.norm1) for part in "qkv"}
        peaks |= {f"{b}attn.proj": operand_peak(layer.attn), f"{b}mlp.fc1": operand_peak(layer.norm2),
                  f"{b}mlp.fc2": operand_peak(layer.hidden)}
    peaks |= {head: WIDE_PEAK if config.pooled else operand_peak(plan.head) for head in config.class_heads}
    for head, part in zip(config.task_heads, plan.task_heads, strict=True):
        peaks |= head_peaks(f"heads.{head.task}", part)
    return peaks


def head_peaks(name: str, plan: HeadPlan) -> dict[str, int]:
    """Every convolution of the task head ``name``, with the largest magnitude of its operand."""
    peaks = {f"{name}.conv_{layer}": UNSIGNED_MAX for layer in range(WINDOWS + 1)}
    peaks[f"{name}.conv_0"] = operand_peak(plan.norm)
    if plan.last:
        peaks[f"{name}.conv_{WINDOWS}"] = WIDE_PEAK
    return peaks


def _check_schema(config: ModelConfig, tensors: dict[str, np.ndarray]) -> None:
    schema = quantized_schema(config)
    for name, (dtype, shape) in schema.items():
        if name not in tensors:
            raise MissingTensor(f"The quantized model {config.name!r} needs a tensor {name!r}, {dtype} of shape "
                                f"{shape}; there is none.")
        array = tensors[name]
        if array.dtype != np.dtype(dtype):
            raise WrongDtype(f"{name!r} must be {dtype}, not {array.dtype}.")
        if array.shape != shape:
            raise WrongShape(f"{name!r} must have shape {shape}, not {array.shape}.")
    extra = sorted(set(tensors) - set(schema))
    if extra:
        raise UnexpectedTensor(f"The quantized model {config.name!r} has no place for {extra[:5]}"
                               f"{' and others' if len(extra) > 5 else ''}.")


def _check_ranges(config: ModelConfig, plan: Plan, tensors: dict[str, np.ndarray]) -> None:
    for name, array in tensors.items():
        gate, norm = _is_gate(name), "norm" in name.split(".")[-2:][0]
        if name.endswith(".weight"):
            bits = plan.bits(name.removesuffix(".weight"), config)
            peak = GATE_WEIGHT_MAX if gate else weight_limit(bits)
            _within(name, array, -peak, peak)
            if bits == PACKED_BITS and (wrong := np.setdiff1d(array, WEIGHT_LEVELS)).size:
                raise OutOfRange(f"{name!r} has the weight {wrong[0]}; one of {PACKED_BITS} bits is one of "
                                 f"{sorted(set(WEIGHT_LEVELS))}.")
        elif name.endswith(".shift"):
            field = (Opcode.GATE, "shift1") if gate else (Opcode.NORM, "shift") if norm else (Opcode.LINEAR, "shift1")
            _within(name, array, *bounds(*field))
        elif name.endswith(".frac"):
            _within(name, array, RESIDUAL_FRACS[0], RESIDUAL_FRACS[-1])
        elif name.endswith("score_shift"):
            _within(name, array, *bounds(Opcode.ATTENTION, "shift1"))
        elif name.endswith(".shift2"):
            _within(name, array, *bounds(Opcode.LINEAR, "shift2"))
        elif name.endswith(".eps"):
            _within(name, array, *bounds(Opcode.NORM, "eps"))
        elif name.endswith(".normalized_shift"):
            _within(name, array, *bounds(Opcode.NORM, "normalized_shift"))
        elif name.endswith(".act_shift"):
            _within(name, array, *bounds(Opcode.LINEAR, "act_shift"))
        elif name.endswith("p_shift"):
            least, most = bounds(Opcode.ATTENTION, "p_shift")
            _within(name, array, least, most if plan.layers[int(name.split(".")[1])].prob else least)


def _is_gate(name: str) -> bool:
    """Whether a tensor belongs to a gate; a task may have any name."""
    return name.startswith("blocks.") and ".gate." in name


def _within(name: str, array: np.ndarray, low: int, high: int) -> None:
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        raise OutOfRange(f"{name!r} must lie in {low}..{high}; it lies in {array.min()}..{array.max()}.")


def _bound(name: str, weight: np.ndarray, peak: int, bias: np.ndarray) -> None:
    """``sum |weight| * peak + |bias| < 2**31`` for every output channel."""
    worst = np.abs(weight.astype(np.int16)).sum(-1, dtype=np.int64) * peak + np.abs(bias.astype(np.int64))
    if worst.size and worst.max() >= ACC_LIMIT:
        where = tuple(int(i) for i in np.unravel_index(worst.argmax(), worst.shape))
        raise OutOfRange(f"{name!r}, channel {where}: sum |weight| * {peak} + |bias| is {worst.max()}, which may wrap "
                         f"an accumulator (2**31 = {ACC_LIMIT}). Use a larger weight step for this channel.")
