# SPDX-License-Identifier: Apache-2.0
"""What the Tab key finds besides files: tasks of the program that is named."""

import typer


def tasks(context: typer.Context, incomplete: str) -> list[str]:
    """Programs of the image on the command line, those that begin as typed; none where there is no such image."""
    from golden.spec.program.container import ProgramError
    from golden.spec.program.image import Image

    try:
        image = Image.load(context.params.get("path") or "")
    except (ProgramError, OSError, TypeError):
        return []
    return [name for name in image.programs if name.startswith(incomplete)]


def verbs(context: typer.Context, incomplete: str) -> list[str]:
    """The verbs that begin as typed."""
    group = context.find_root().command
    return [name for name in group.list_commands(context) if name.startswith(incomplete)]  # type: ignore[attr-defined]
