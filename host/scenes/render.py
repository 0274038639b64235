# SPDX-License-Identifier: Apache-2.0
"""Renderer: ray casting of a scene's solids and ground to a picture, labels and depth.

Nearest solid a pixel, then colours of visible points, then shadows along the direction to the sun, then light, fog and
sensor. Only operations that every processor rounds alike are used, so a scene has the same bytes on every machine.
"""

from dataclasses import dataclass

import numpy as np

from host.scenes.camera import Camera
from host.scenes.classes import DEPTH_STEP, FARTHEST, SKY
from host.scenes.layout import furnish
from host.scenes.light import Weather
from host.scenes.materials import SURFACES
from host.scenes.palette import Draw
from host.scenes.shapes import F, Solid
from host.scenes.street import Street

FAR = np.float32(1e6)
SHADOW_RANGE = 70.0
"""Metres ahead up to which solids cast shadows."""


@dataclass(frozen=True)
class Scene:
    """One rendered scene: ``image`` uint8 [H, W, 3], ``label`` uint8 [H, W], ``depth`` float32 metres, 0 invalid."""

    image: np.ndarray
    label: np.ndarray
    depth: np.ndarray

    @property
    def depth_codes(self) -> np.ndarray:
        """The depth in steps of :data:`host.scenes.classes.DEPTH_STEP`, uint16 [H, W]."""
        return (self.depth / DEPTH_STEP).astype(np.uint16)


def scene(number: int, seed: int = 0, height: int = 128, width: int = 256, ahead: float = 0.0) -> Scene:
    """Scene ``number`` of the endless series ``seed``, seen from ``ahead`` metres farther along the road; the same
    bytes on every machine.
    """
    draw = Draw(seed * 1_000_003 + number)
    street, weather = Street.drawn(draw), Weather.drawn(draw)
    lane = -draw.between(0.2, 0.6) * street.half
    (x, y), slope = street.place(ahead, lane)[0], float(street.middle(F(ahead))[1])
    camera = Camera(
        height, width, y=y, z=draw.between(1.2, 2.3), yaw=draw.between(-0.12, 0.12) + slope,
        pitch=draw.between(-0.1, 0.06), roll=draw.between(-0.02, 0.02), focal=draw.between(0.7, 1.0), x=x)
    return render(camera, street, weather, furnish(draw, street))


def render(camera: Camera, street: Street, weather: Weather, solids: list[Solid]) -> Scene:
    """Picture, labels and depth of ``solids`` on ``street``."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth, owner, face = _nearest(camera, solids)
        rays, origin = camera.rays, camera.origin
        down = rays[2] < 0
        ground = np.where(down, -origin[2] / np.where(down, rays[2], F(-1)), FAR)
        on_ground = ground < depth
        depth = np.minimum(depth, ground)
        owner = np.where(on_ground, -1, owner)
        points = origin[:, None, None] + rays * depth
        label, colour, normals = _surfaces(points, depth, owner, face, street, solids)
        sky = depth >= FAR
        seen = ~sky
        lightness = np.ones_like(depth)
        if sum(weather.sunlight) > 0:
            lightness = _shadows(camera, weather, solids, points, seen)
        picture = np.empty_like(colour)
        occluded = _contact(points, owner, solids, camera)
        picture[:, seen] = weather.lit(colour[:, seen] * occluded[seen], normals[:, seen], lightness[seen], depth[seen])
        picture[:, sky] = weather.sky(rays[:, sky])
    label[sky] = SKY
    valid = np.where(seen & (depth <= F(FARTHEST)), depth, F(0))
    steps = np.floor(valid * F(1 / DEPTH_STEP) + F(0.5))
    return Scene(weather.developed(picture), label.astype(np.uint8), steps * F(DEPTH_STEP))


def _nearest(camera: Camera, solids: list[Solid]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth of the nearest solid, its number (-1: none) and the plane that was met, for every pixel."""
    depth = np.full(camera.rays.shape[1:], FAR)
    owner, face = np.full(depth.shape, -1, np.int32), np.zeros(depth.shape, np.int8)
    windows = camera.windows(np.stack([solid.corners for solid in solids]))
    for number, (solid, window) in enumerate(zip(solids, windows, strict=True)):
        if window is None:
            continue
        enter, leave, plane = solid.meet(camera.origin, camera.rays[(slice(None), *window)])
        hit = (enter < leave) & (enter > F(0.3)) & (enter < depth[window])
        depth[window] = np.where(hit, enter, depth[window])
        owner[window] = np.where(hit, number, owner[window])
        face[window] = np.where(hit, plane, face[window])
    return depth, owner, face


def _surfaces(points, depth, owner, face, street: Street, solids):
    """Labels, reflectances and normals of all visible points; the sky's are undefined."""
    shape = depth.shape
    label = np.zeros(shape, np.int32).reshape(-1)
    colour = np.zeros((3, label.size), np.float32)
    normals = np.zeros((3, label.size), np.float32)
    flat, planes = points.reshape(3, -1), face.reshape(-1)
    order = np.argsort(owner, axis=None, kind="stable")
    numbers, starts = np.unique(owner.reshape(-1)[order], return_index=True)
    for number, pixels in zip(numbers, np.split(order, starts[1:]), strict=True):
        x, y, z = flat[:, pixels]
        if number < 0:
            pixels = pixels[depth.reshape(-1)[pixels] < FAR]
            x, y, z = flat[:, pixels]
            label[pixels], colour[:, pixels] = street.ground(x, y)
            normals[2, pixels] = 1
            continue
        solid = solids[number]
        own = np.stack(solid.local(x, y, z))
        n = solid.normals(own, planes[pixels])
        label[pixels] = solid.label
        colour[:, pixels] = SURFACES[solid.material.kind](own, n, solid.material)
        normals[:, pixels] = np.stack(solid.to_street(*n))
    return label.reshape(shape), colour.reshape(3, *shape), normals.reshape(3, *shape)


def _shadows(camera: Camera, weather: Weather, solids, points, seen) -> np.ndarray:
    """1 where the sun reaches a visible point, 0 where a solid is in between."""
    light = np.ones(seen.shape, np.float32)
    sun = np.array(weather.sun, np.float32)
    solids = [solid for solid in solids if solid.corners[:, 0].min() <= SHADOW_RANGE]
    corners = np.stack([solid.corners for solid in solids])
    shade = corners - sun * (np.maximum(corners[..., 2:], 0) / sun[2])
    for solid, window in zip(solids, camera.windows(np.concatenate([corners, shade], 1)), strict=True):
        if window is None:
            continue
        part = points[(slice(None), *window)]
        enter, leave, _ = solid.meet(part, sun[:, None, None])
        dark = (enter < leave) & (leave > F(0.05)) & seen[window]
        light[window] = np.where(dark, F(0), light[window])
    return light


def _contact(points, owner, solids, camera: Camera) -> np.ndarray:
    """Factor of the light on the ground, below 1 under and around solids that stand on it."""
    factor = np.ones(owner.shape, np.float32)
    solids = [solid for solid in solids if solid.centre[2] + solid.bounds[0][2] <= 0.5
              and solid.centre[0] <= SHADOW_RANGE and solid.bounds[1][2] <= 6]
    if not solids:
        return factor
    flat = np.stack([solid.corners for solid in solids])
    flat[..., 2] = 0
    middle = (flat[:, :1] + flat[:, 7:]) * F(0.5)
    for solid, window in zip(solids, camera.windows(flat + (flat - middle) * F(0.4)), strict=True):
        if window is None:
            continue
        low, high = solid.bounds
        x, y, _ = solid.local(*points[(slice(None), *window)])
        away = [np.maximum(np.maximum(F(low[a]) - v, v - F(high[a])), F(0)) for a, v in ((0, x), (1, y))]
        near = np.maximum(1 - (away[0] + away[1]) * F(2.5), F(0))
        shade = np.where(owner[window] == -1, 1 - F(0.5) * near, F(1))
        factor[window] = np.minimum(factor[window], shade)
    return factor
