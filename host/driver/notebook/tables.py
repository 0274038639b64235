# SPDX-License-Identifier: Apache-2.0
"""Facts of objects as small HTML tables, which notebooks show instead of their text."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from golden.spec.program.html_table import html_table


class Shown(ABC):
    """Shows itself in notebooks as a table under its one-line text."""

    @abstractmethod
    def _facts(self) -> Iterable[tuple[str, object]]:
        """Names and values, in their order; nothing that touches a device. Values that are None are left out."""

    def _repr_html_(self) -> str:
        return html_table(repr(self).strip("<>"), self._facts())
