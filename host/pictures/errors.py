# SPDX-License-Identifier: Apache-2.0
"""Refusals of pictures and videos; imports nothing, so that the command line is quick."""


class PictureError(ValueError):
    """A file that is no picture or video, or one that the model cannot look at."""


class AnimationError(ValueError):
    """An animation that cannot be written; the message states what would help."""
