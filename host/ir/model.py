# SPDX-License-Identifier: Apache-2.0
"""Interface of a quantized model: what the compiler asks of one, whether it holds its weights or not."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan


class QuantizedModel(Protocol):
    """A quantized model: shape, operand widths and the tensors of :func:`golden.spec.quantized.quantized_schema`."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def tensors(self) -> Mapping[str, np.ndarray]: ...

    @property
    def rest(self) -> Mapping[str, np.ndarray]:
        """Of a narrowed network, by FFN, what is added for its absent neurons (:mod:`golden.model.nested`)."""
        ...
