# SPDX-License-Identifier: Apache-2.0
"""Generated street scenes: pictures with a class and a depth for every pixel, for training and for measuring."""

from host.scenes.render import Scene, scene

__all__ = ["Scene", "scene"]
