# SPDX-License-Identifier: Apache-2.0
"""Set of rendered scenes with the interface of a folder of pictures; each is rendered when it is read."""

from dataclasses import dataclass

from host.datasets.folder import Sample
from host.scenes.classes import CLASSES
from host.scenes.render import scene


@dataclass(frozen=True)
class SceneSet:
    """The first ``count`` scenes of the series ``seed``."""

    count: int
    seed: int
    height: int
    width: int

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(c.name for c in CLASSES)

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(c.colour for c in CLASSES)

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        made = scene(index, self.seed, self.height, self.width)
        return Sample(f"s{self.seed}-{index:06d}", made.image, made.label, made.depth)
