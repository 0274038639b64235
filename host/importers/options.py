# SPDX-License-Identifier: Apache-2.0
"""Import options: values that complete or override those of a checkpoint."""

from dataclasses import dataclass, fields, replace

from golden.files.errors import AmbiguousModel
from golden.spec.model import FITS, INTERPOLATIONS, POOLS, GateKind, require
from host.importers.resize import KINDS


@dataclass(frozen=True, kw_only=True)
class Options:
    """Import options. ``None`` means: the checkpoint's value, else the layout's default, else an error.

    ``image`` and ``source_image`` are (height, width) in pixels: of the model wanted, and of the images
    that the checkpoint's positional embedding was trained for. Where they differ the embedding is resized.
    ``architecture`` is timm's name of the network; ``key`` names one of several dictionaries or networks in a
    checkpoint; ``resize`` is a kind of :data:`host.importers.resize.KINDS`.
    ``pool`` is what the classifier reads, one of :data:`golden.spec.model.POOLS`; ``fit``, ``crop_share`` and
    ``interpolation`` are how a picture becomes one of the model's size (:data:`golden.spec.model.FITS`).
    ``window`` is the side, in patches, of the windows that the blocks ``window_blocks`` look at.
    ``head_kinds`` are texts ``task=kind`` with a kind of :data:`golden.spec.heads.HEAD_KINDS`; ``backbone_only``
    leaves the task heads out.
    Raises :class:`ConfigError` for values of the wrong kind.
    """

    name: str | None = None
    heads: int | None = None
    top_k: int | None = None
    gate: GateKind | None = None
    activation: str | None = None
    tasks: tuple[str, ...] | None = None
    image: tuple[int, int] | None = None
    source_image: tuple[int, int] | None = None
    eps: float | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    pixel_scale: float | None = None
    head_kinds: tuple[str, ...] | None = None
    backbone_only: bool | None = None
    architecture: str | None = None
    key: str | None = None
    resize: str | None = None
    pool: str | None = None
    fit: str | None = None
    crop_share: float | None = None
    interpolation: str | None = None
    window: int | None = None
    window_blocks: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.gate is not None:
            kinds = {kind.value: kind for kind in GateKind}
            gate = self.gate.value if isinstance(self.gate, GateKind) else self.gate
            require(gate in kinds, f"gate must be one of {list(kinds)}, not {self.gate!r}.")
            object.__setattr__(self, "gate", kinds[gate])
        for field in ("tasks", "image", "source_image", "pixel_mean", "pixel_std", "head_kinds",
                      "window_blocks"):
            value = getattr(self, field)
            if value is not None:
                require(not isinstance(value, str), f"{field} must be a sequence, not the text {value!r}.")
                object.__setattr__(self, field, tuple(value))
        for field in ("image", "source_image"):
            value = getattr(self, field)
            require(value is None or len(value) == 2 and all(isinstance(v, int) and v > 0 for v in value),
                    f"{field} must be a height and a width in pixels, not {value!r}.")

        require(self.pixel_scale is None or 0 < self.pixel_scale < float("inf"),
                f"pixel_scale must be positive, not {self.pixel_scale}.")
        for field, names in (("pool", POOLS), ("fit", FITS), ("interpolation", INTERPOLATIONS)):
            value = getattr(self, field)
            require(value is None or value in names, f"{field} must be one of {list(names)}, not {value!r}.")
        require(self.resize is None or self.resize in KINDS,
                f"resize must be one of {list(KINDS)}, not {self.resize!r}.")

    def or_else(self, **usual) -> "Options":
        """A copy in which fields that are ``None`` take the value of ``usual``."""
        return replace(self, **{key: value for key, value in usual.items() if getattr(self, key) is None})

    def need(self, field: str, why: str):
        """The value of a field; raises :class:`AmbiguousModel` with the name of its option where there is
        none.
        """
        value = getattr(self, field)
        if value is None:
            raise AmbiguousModel(f"The checkpoint does not tell {why}: give --{field.replace('_', '-')} "
                                 f"({field}=... in Python).")
        return value

    @property
    def given(self) -> dict:
        """The fields that are not ``None``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
