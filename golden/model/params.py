# SPDX-License-Identifier: Apache-2.0
"""In-memory float model: produced by every importer, consumed by the quantizer and the float reference model."""

from dataclasses import dataclass

import numpy as np

from golden.files.errors import MissingTensor, NotFinite, UnexpectedTensor, WrongDtype, WrongShape
from golden.notebook.models import model_table, one_line
from golden.spec.heads import WINDOWS
from golden.spec.model import ModelConfig


def float_schema(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every float32 tensor of a model.

    Linear weights are (outputs, inputs); ``patch_embed.weight`` is (dim, channels * patch * patch), inputs ordered
    channel, row, column. ``pos_embed`` is (tokens, dim), the extra tokens' rows holding token + position already
    summed. Expert tensors are stacked: ``fc1.weight`` (experts, hidden, dim). Each task has its gate:
    ``blocks.i.gate.<task>.weight`` (experts, dim) and ``.bias`` (experts,), the bias zero unless a task embedding
    was folded into it. LayerScale is folded into ``proj`` and ``fc2``. ``blocks.i.prompts`` (prompts, dim) replace the
    last extra tokens before block i of ``prompt_layers``.
    """
    c = config
    shapes = {"patch_embed.weight": (c.dim, c.patch_dim), "patch_embed.bias": (c.dim,),
              "pos_embed": (c.tokens, c.dim)}
    for i in range(c.depth):
        b = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            shapes |= {f"{b}{norm}.weight": (c.dim,), f"{b}{norm}.bias": (c.dim,)}
        shapes |= {f"{b}attn.qkv.weight": (3 * c.dim, c.dim), f"{b}attn.qkv.bias": (3 * c.dim,),
                   f"{b}attn.proj.weight": (c.dim, c.dim), f"{b}attn.proj.bias": (c.dim,)}
        if i in c.prompt_layers:
            shapes[f"{b}prompts"] = (c.prompts, c.dim)
        lead, hidden = ((c.experts,), c.expert_hidden) if c.is_moe(i) else ((), c.mlp_hidden)
        shapes |= {f"{b}mlp.fc1.weight": (*lead, hidden, c.dim), f"{b}mlp.fc1.bias": (*lead, hidden),
                   f"{b}mlp.fc2.weight": (*lead, c.dim, hidden), f"{b}mlp.fc2.bias": (*lead, c.dim)}
        if c.is_moe(i):
            for task in c.tasks:
                shapes |= {f"{b}gate.{task}.weight": (c.experts, c.dim), f"{b}gate.{task}.bias": (c.experts,)}
    if c.final_norm:
        shapes |= {"norm.weight": (c.dim,), "norm.bias": (c.dim,)}
    if c.fc_norm:
        shapes |= {"fc_norm.weight": (c.dim,), "fc_norm.bias": (c.dim,)}
    for head in c.class_heads:
        shapes |= {f"{head}.weight": (c.classes, c.head_inputs), f"{head}.bias": (c.classes,)}
    return shapes | head_schema(c)


def head_schema(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of the tensors of all task heads, ``heads.<task>.norm`` and ``heads.<task>.conv_0`` .. ``conv_4``.

    Weights are (outputs, inputs, rows, columns); BatchNorm is folded into the convolutions.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for head in config.task_heads:
        prefix = f"heads.{head.task}."
        shapes |= {f"{prefix}norm.weight": (config.dim,), f"{prefix}norm.bias": (config.dim,)}
        for i in range(WINDOWS + 1):
            size = 3 if i < WINDOWS else 1
            shapes |= {f"{prefix}conv_{i}.weight": (head.outputs(i), head.inputs(i, config.dim), size, size),
                       f"{prefix}conv_{i}.bias": (head.outputs(i),)}
    return shapes


@dataclass(frozen=True)
class FloatModel:
    """A network and its float32 parameters, checked against :func:`float_schema` on construction.

    Raises a subclass of :class:`ModelFileError` when a tensor is missing, extra, of another shape or type, or not
    finite.
    """

    config: ModelConfig
    tensors: dict[str, np.ndarray]

    def __post_init__(self):
        schema = float_schema(self.config)
        for name, shape in schema.items():
            if name not in self.tensors:
                raise MissingTensor(f"The model {self.config.name!r} needs a tensor {name!r} of shape {shape}; "
                                    f"there is none. Check depth, experts and tasks.")
            array = self.tensors[name]
            if array.dtype != np.float32:
                raise WrongDtype(f"{name!r} must be float32, not {array.dtype}.")
            if array.shape != shape:
                raise WrongShape(f"{name!r} must have shape {shape}, not {array.shape}.")
            if not np.isfinite(array).all():
                raise NotFinite(f"{name!r} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite.")
        extra = sorted(set(self.tensors) - set(schema))
        if extra:
            raise UnexpectedTensor(f"The model {self.config.name!r} has no place for {extra[:5]}"
                                   f"{' and others' if len(extra) > 5 else ''}.")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def __repr__(self) -> str:
        return one_line("FloatModel", self.config, f"{self._parameters / 1e6:,.2f} M parameters")

    def _repr_html_(self) -> str:
        return model_table("FloatModel", self.config, [("parameters", f"{self._parameters:,}")])

    @property
    def _parameters(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())
