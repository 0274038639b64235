# SPDX-License-Identifier: Apache-2.0
"""Names of programs: tasks joined by ``+``; after an ``@`` the fraction of the neurons of every FFN that it uses; after
a ``#`` how many pictures it computes.
"""

from golden.spec.model import ModelConfig, require

MOST_PICTURES = 16
"""Most pictures of one program."""


def program_name(tasks: tuple[str, ...], width: float = 1, pictures: int = 1) -> str:
    """Name of the program that runs ``tasks`` at an FFN width on so many pictures.

    >>> program_name(("a", "b")), program_name(("a",), 0.5), program_name(("a",), 0.5, 4)
    ('a+b', 'a@0.5', 'a@0.5#4')
    """
    return with_pictures("+".join(tasks) + ("" if width == 1 else f"@{width:g}"), pictures)


def with_pictures(name: str, pictures: int) -> str:
    """Name of the program that does on several pictures what the one called ``name`` does on one."""
    return name if pictures == 1 else f"{name}#{pictures}"


def _parts(name: str, config: ModelConfig) -> tuple[str, str, str]:
    """Tasks, width and pictures in a program's name, the last two empty where it has none: a task may be called like
    a program."""
    if name in config.tasks:
        return name, "", ""
    rest, mark, pictures = name.rpartition("#")
    rest, pictures = (rest, pictures) if mark else (name, "")
    if rest in config.tasks:
        return rest, "", pictures
    tasks, mark, width = rest.rpartition("@")
    return (tasks, width, pictures) if mark else (rest, "", pictures)


def width_of(name: str, config: ModelConfig) -> float:
    """FFN width of the program called ``name``: 1 where the name has none. Raises ConfigError for one that is no
    fraction.
    """
    width = _parts(name, config)[1]
    return parse_width(width) if width else 1.0


def pictures_of(name: str, config: ModelConfig) -> int:
    """How many pictures the program called ``name`` computes: 1 where the name does not say. Raises ConfigError for
    what is no count.
    """
    pictures = _parts(name, config)[2]
    return parse_pictures(pictures) if pictures else 1


def tasks_of(name: str, config: ModelConfig) -> tuple[str, ...]:
    """Tasks that the program called ``name`` computes, in the order of their results."""
    joined = _parts(name, config)[0]
    return (joined,) if joined in config.tasks else tuple(joined.split("+"))


def parse_width(text: str) -> float:
    """The width that ``text`` states. Raises ConfigError unless it lies above 0 and is at most 1."""
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    require(0 < width <= 1, f"The width of an FFN is a fraction above 0 and at most 1, like 0.5, not {text!r}.")
    return width


def parse_pictures(text: str) -> int:
    """The number of pictures that ``text`` states. Raises ConfigError unless it lies in 1..:data:`MOST_PICTURES`."""
    count = int(text) if text.isdecimal() and len(text) < 4 else 0
    require(1 <= count <= MOST_PICTURES,
            f"A program computes 1 to {MOST_PICTURES} pictures, a whole number like 4, not {text!r}.")
    return count
