# SPDX-License-Identifier: Apache-2.0
"""Refusals of the pictures of results; imports nothing, so that the command line is quick."""


class AnimationError(ValueError):
    """An animation that cannot be written; the message states what would help."""
