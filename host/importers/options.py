# SPDX-License-Identifier: Apache-2.0
"""What the user may add to, or change in, what a checkpoint says about itself."""

from dataclasses import dataclass, fields, replace

from golden.model.params import AmbiguousModel
from golden.spec.model import GateKind


@dataclass(frozen=True, kw_only=True)
class Options:
    """``None`` means: as the checkpoint says, else as its layout usually is, else asked for by name.

    ``image`` and ``source_image`` are (height, width) in pixels: of the model wanted, and of the images
    that the checkpoint's positional embedding was trained for. Where they differ the embedding is resized.
    """

    name: str | None = None
    heads: int | None = None
    top_k: int | None = None
    gate: GateKind | None = None
    tasks: tuple[str, ...] | None = None
    image: tuple[int, int] | None = None
    source_image: tuple[int, int] | None = None
    eps: float | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    pixel_scale: float | None = None

    def __post_init__(self):
        if self.gate is not None:
            object.__setattr__(self, "gate", GateKind(self.gate))
        for field in ("tasks", "image", "source_image", "pixel_mean", "pixel_std"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, tuple(getattr(self, field)))

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
