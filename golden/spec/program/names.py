# SPDX-License-Identifier: Apache-2.0
"""Names of programs: tasks joined by ``+``; after an ``@`` the fraction of the neurons of every FFN that it uses."""

from golden.spec.model import ModelConfig, require


def program_name(tasks: tuple[str, ...], width: float = 1) -> str:
    """Name of the program that runs ``tasks`` at an FFN width.

    >>> program_name(("a", "b")), program_name(("a",), 0.5)
    ('a+b', 'a@0.5')
    """
    return "+".join(tasks) + ("" if width == 1 else f"@{width:g}")


def width_of(name: str, config: ModelConfig) -> float:
    """FFN width of the program called ``name``: 1 where the name has none. Raises ConfigError for one that is no
    fraction.
    """
    _, mark, text = name.rpartition("@")
    if not mark or name in config.tasks:
        return 1.0
    return parse_width(text)


def tasks_of(name: str, config: ModelConfig) -> tuple[str, ...]:
    """Tasks that the program called ``name`` computes, in the order of their results."""
    before, mark, _ = name.rpartition("@")
    joined = before if mark and name not in config.tasks else name
    return (joined,) if joined in config.tasks else tuple(joined.split("+"))


def parse_width(text: str) -> float:
    """The width that ``text`` states. Raises ConfigError unless it lies above 0 and is at most 1."""
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    require(0 < width <= 1, f"The width of an FFN is a fraction above 0 and at most 1, like 0.5, not {text!r}.")
    return width
