# SPDX-License-Identifier: Apache-2.0
"""Integer network: a quantized model and its bit-exact result for an image."""

import json
import os
from dataclasses import dataclass, field

import numpy as np

from golden.files import safetensors_file
from golden.files.errors import BadHeader, UnknownLayout
from golden.files.sealed_file import check_seal, write_sealed
from golden.model.int_checks import check_quantized
from golden.model.int_forward import Forward, Trace
from golden.model.int_heads import picture, run_head
from golden.notebook.models import model_table, one_line
from golden.ops.saturation import SaturationCounters
from golden.spec.model import ConfigError, ModelConfig, require
from golden.spec.quantized import FORMAT, FORMAT_VERSION, READABLE, Plan, newer_plan
from golden.spec.tables import RESIDUAL_FRAC


@dataclass(frozen=True)
class IntModel:
    """A quantized network, checked on construction against the schema, the ISA's limits and its accumulators' bounds.

    Raises a subclass of :class:`golden.files.errors.ModelFileError` for what does not fit. ``source``: free text,
    origin of the model. ``rest``: of a network narrowed by :func:`golden.model.nested.narrow`, what absent neurons left
    in the bias of ``fc2``. The residual stream is int16 [tokens, dim], step 2**-residual_frac of the plan
    (:meth:`features`).

    Named intermediates go to ``trace(name, array)``: ``embed``; for each block, with prefix ``blocks.i.``: ``norm1``,
    ``attn.q k v``, ``attn.score``, ``attn.prob``, ``attn.sum``, ``attn.mix`` (before gain), ``attn.out``,
    ``attn.residual``, ``norm2``; where tokens are pruned ``attn.class`` (the class token's query), ``attn.paid``
    (scores), ``kept`` (numbers of the tokens that stay) and ``norm1.kept``; dense: ``mlp.hidden``; MoE:
    ``norm2.normalized``, ``gate.logits``, ``gate.experts``, ``gate.weights``, and for each expert e with tokens
    ``mlp.tokens.e``, ``mlp.hidden.e``, ``mlp.out.e`` (weighted, before the residual); ``blocks.i``, the stream after
    the block; with a classifier ``norm`` and ``logits``; in a head ``heads.<task>.norm``, ``.conv_0`` to ``.conv_3``
    and ``.up_0`` to ``.up_2`` [positions, channels], ``.out``. An
    operand comes as int32 values, a block operand also as ``<name>.exp``, its exponents [N, ceil(K / 32)].
    """

    config: ModelConfig
    plan: Plan
    tensors: dict[str, np.ndarray] = field(repr=False)
    source: str = ""
    rest: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        check_quantized(self.config, self.plan, self.tensors)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def __repr__(self) -> str:
        return one_line("IntModel", self.config, f"{self.plan.name(self.config)} plan, {self._bytes / 1e3:,.0f} kB")

    def _repr_html_(self) -> str:
        return model_table("IntModel", self.config, [("plan", self.plan.name(self.config)), (
            "size", f"{self._bytes / 1e3:,.0f} kB in {len(self.tensors)} tensors"), ("source", self.source)])

    @property
    def _bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def run(self, image: np.ndarray, task: str | None = None, trace: Trace | None = None,
            saturation: SaturationCounters | None = None) -> np.ndarray:
        """Residual stream int16 [N, D] after the last block of a uint8 image [height, width, channels].

        ``task`` None means the first. With a trace, a classifier and the task's heads run too, to be traced.
        """
        forward = self._forward(trace, saturation)
        x = forward.embed(self._image(image))
        for i in range(self.config.depth):
            x = forward.block(i, x, self._task(task))
        if self.config.classes and trace is not None:
            forward.logits(x)
        for head in self.config.heads_of(self._task(task)) if trace is not None else ():
            run_head(forward, head, x)
        return x[forward.order.argsort()] if self.config.window else x

    def logits(self, residual: np.ndarray, trace: Trace | None = None,
               saturation: SaturationCounters | None = None) -> np.ndarray:
        """int16 [class heads, classes], step 2**-logit_frac, of :meth:`run`'s result."""
        require(self.config.classes > 0, f"The model {self.config.name!r} has no classifier head.")
        return self._forward(trace, saturation).logits(self._residual(residual))

    def normed(self, residual: np.ndarray) -> np.ndarray:
        """Features after the final norm, float32 [tokens, dim], of :meth:`run`'s result, as the host computes them."""
        require(self.config.final_norm, f"The model {self.config.name!r} has no final norm.")
        codes = self._forward(None, None).host_norm("features_norm", self._residual(residual))
        return dequantize(codes, int(self.tensors["features_norm.frac"]))

    def maps(self, residual: np.ndarray, task: str | None = None, trace: Trace | None = None,
             saturation: SaturationCounters | None = None) -> dict[str, np.ndarray]:
        """Results of the heads that follow a pass for ``task`` (None: the first), by name, of :meth:`run`'s result:
        int16 [8 h, 8 w, classes] of a token grid h x w, step 2**-frac of the head's plan. They have half the height and
        width of the picture (:meth:`pictures`).
        """
        forward = self._forward(trace, saturation)
        x = self._residual(residual)
        return {head.task: run_head(forward, head, x) for head in self.config.heads_of(self._task(task))}

    def pictures(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Results of all task heads at the picture's size, float32 [classes, height, width], of a uint8 image
        [height, width, channels].
        """
        plans = {head.task: plan for head, plan in zip(self.config.task_heads, self.plan.task_heads, strict=True)}
        return {name: picture(result, plans[name]) for task in self.config.tasks if self.config.heads_of(task)
                for name, result in self.maps(self.run(image, task), task).items()}

    def features(self, image: np.ndarray, task: str | None = None) -> np.ndarray:
        """:meth:`run` as float32 [tokens, dim]."""
        return dequantize(self.run(image, task), self.plan.residual_frac)

    def _task(self, task: str | None) -> str:
        require(task is None or task in self.config.tasks,
                f"task must be one of {list(self.config.tasks)}, not {task!r}.")
        return self.config.tasks[0] if task is None else task

    def _forward(self, trace: Trace | None, saturation: SaturationCounters | None) -> Forward:
        return Forward(self.config, self.plan, self.tensors, trace, saturation, self.rest)

    def _residual(self, residual: np.ndarray) -> np.ndarray:
        wanted = (self.config.last_tokens, self.config.dim)
        require(residual.dtype == np.int16 and residual.shape == wanted,
                f"A residual stream must be int16 of shape {wanted}, not {residual.dtype} {residual.shape}.")
        return residual

    def _image(self, image: np.ndarray) -> np.ndarray:
        image, c = np.asarray(image), self.config
        wanted = (c.image_height, c.image_width, c.channels)
        require(image.dtype == np.uint8 and image.shape == wanted,
                f"An image must be uint8 of shape {wanted}, not {image.dtype} {image.shape}.")
        return image

    def save(self, path: str | os.PathLike) -> None:
        """Write one .safetensors whose bytes depend on the model only, with a checksum. A narrowed model has none."""
        require(not self.rest, "A narrowed model has no file of its own: save the whole one and narrow it when it is "
                "loaded.")
        write_sealed(path, self.tensors, {
            "format": FORMAT, "version": str(FORMAT_VERSION), "model": _dump(self.config.to_json()),
            "plan": _dump(self.plan.to_json()), "source": self.source})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "IntModel":
        """Inverse of :meth:`save`. Raises a subclass of :class:`golden.files.errors.ModelFileError`."""
        tensors, metadata = safetensors_file.read(path)
        if metadata.get("format") != FORMAT:
            raise UnknownLayout(f"{path} is not a quantized model: its format should be {FORMAT!r}, "
                                f"not {metadata.get('format')!r}. Quantize the checkpoint first.")
        version = metadata.get("version")
        if version not in READABLE:
            raise UnknownLayout(f"{path} has format version {version!r}; this program reads the versions "
                                f"{' and '.join(READABLE)}. Quantize the checkpoint again.")
        check_seal(path, tensors, metadata)
        try:
            config = ModelConfig.from_json(json.loads(metadata.get("model", "null")))
            plan = Plan.from_json(newer_plan(json.loads(metadata.get("plan", "null")), version))
        except (ConfigError, ValueError, RecursionError) as error:
            raise BadHeader(f"{path}: its metadata does not describe a model and a plan: {error}") from None
        return cls(config, plan, tensors, metadata.get("source", ""))


def dequantize(codes: np.ndarray, frac: int = RESIDUAL_FRAC) -> np.ndarray:
    """Residual stream or logits int16 -> float32, exactly: times 2**-frac."""
    return codes.astype(np.float32) * np.float32(2.0 ** -frac)


def _dump(data: dict) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
