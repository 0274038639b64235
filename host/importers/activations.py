# SPDX-License-Identifier: Apache-2.0
"""What other projects call the activations."""

from golden.files.errors import UnsupportedModel

NAMES = {"linear": "none", "relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
         "gelu_tanh": "gelu_tanh", "silu": "silu", "swish": "silu"}
"""Hugging Face's ``hidden_act`` and timm's ``act_layer``, to the names of :mod:`golden.spec.activations`."""


def activation_named(name: object, where: str) -> str | None:
    """Our name of what a checkpoint calls ``name`` in its ``where``; None where it tells nothing. Raises
    :class:`UnsupportedModel` for others.
    """
    if name is None:
        return None
    if not isinstance(name, str) or name.lower() not in NAMES:
        raise UnsupportedModel(f"{where} must be one of {', '.join(NAMES)}, not {name!r}.")
    return NAMES[name.lower()]
