# SPDX-License-Identifier: Apache-2.0
"""Kind of an on-chip memory, as the attribute that synthesis tools read."""


def ram_style(uram: bool) -> dict[str, str]:
    """Attributes of a memory: UltraRAM where ``uram``, else what the tool chooses.

    UltraRAM has one clock, 4096 words of 72 bits and no initial contents; all memories of this design are used so that
    this does not matter. In simulation the attribute has no meaning.
    """
    return {"ram_style": "ultra"} if uram else {}
