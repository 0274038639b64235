# SPDX-License-Identifier: Apache-2.0
"""Nested FFNs (MatFormer): the network that uses the first neurons only of every FFN, float and quantized.

The bias of a quantized ``fc2`` contains minus the weights times the offsets of all neurons. Of absent neurons that
product, ``rest``, is added to the residual stream again, rounded by itself through the same multiplier, before ``fc2``
(:meth:`golden.model.int_forward.Forward.absent`): the parameters of ``fc2`` stay those of the whole network, so one
weight stream serves all widths.
"""

import numpy as np

from golden.model.int_checks import OutOfRange
from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.ops.arith import rsh
from golden.spec.model import ModelConfig, require
from golden.spec.tables import ACC_LIMIT

_HIDDEN_AXIS = {"fc1.weight": -2, "fc2.weight": -1, "fc1.bias": -1, "fc1.multiplier": -1, "fc1.gain": -1,
                "fc1.offset": -1}
"""Tensors of an FFN with an axis of neurons, and which it is."""


def narrow_float(model: FloatModel, width: float) -> FloatModel:
    """The float network with the fraction ``width`` of the neurons of every FFN
    (:meth:`golden.spec.model.ModelConfig.narrowed`)."""
    config = model.config.narrowed(width)
    return FloatModel(config, _sliced(config, model.tensors))


def narrow(model: IntModel, width: float) -> IntModel:
    """The quantized network with the same neurons; ``model`` itself where all are used."""
    config, t = model.config.narrowed(width), model.tensors
    if config == model.config:
        return model
    require(not model.rest, "Only a whole network can be narrowed.")
    rest = {}
    for i in range(config.depth):
        name, kept = f"blocks.{i}.mlp", config.ffn_hidden(i)
        weight, offset = t[f"{name}.fc2.weight"].astype(np.int64), t[f"{name}.fc1.offset"].astype(np.int64)
        total = (weight[..., kept:] * offset[..., None, kept:]).sum(-1)
        rest[name] = rsh(total, int(t[f"{name}.fc1.shift2"]))
        if np.abs(rest[name]).max(initial=0) >= ACC_LIMIT:
            raise OutOfRange(f"The neurons of {name!r} beyond {kept} leave up to {np.abs(rest[name]).max()} in the "
                             f"bias of fc2; an accumulator holds less than {ACC_LIMIT}.")
    return IntModel(config, model.plan, _sliced(config, t), model.source, rest)


def _sliced(config: ModelConfig, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All tensors, those of FFNs cut to the neurons that ``config`` has."""
    result = dict(tensors)
    for i in range(config.depth):
        for tensor, axis in _HIDDEN_AXIS.items():
            name = f"blocks.{i}.mlp.{tensor}"
            if name in tensors:
                index = [slice(None)] * tensors[name].ndim
                index[axis] = slice(config.ffn_hidden(i))
                result[name] = tensors[name][tuple(index)]
    return result
