# SPDX-License-Identifier: Apache-2.0
"""Renderer: depths and outlines of single solids against geometry, windows that hold what they must, shadows."""

import math

import numpy as np
import pytest

from host.scenes.camera import Camera
from host.scenes.classes import CONSTRUCTION, VEGETATION
from host.scenes.light import Weather
from host.scenes.noise import fractal, hashed, smooth
from host.scenes.palette import Draw
from host.scenes.render import _nearest, _shadows
from host.scenes.shapes import Ellipsoid, Material, box, extruded

GREY = Material("plain", (0.5, 0.5, 0.5))
CAMERA = Camera(64, 128, y=0.0, z=1.5, focal=1.0)
TURN = (0.8, 0.6)


def nearest(*solids):
    with np.errstate(all="ignore"):
        return _nearest(CAMERA, list(solids))


def test_box_seen_from_the_front():
    depth, owner, face = nearest(box((10.0, 0.0, 0.0), (2, 4, 3), CONSTRUCTION, GREY))
    assert depth[31, 63] == pytest.approx(9.0) and owner[31, 63] == 0 and face[31, 63] == 1
    rows, columns = np.nonzero(owner == 0)
    assert np.ptp(columns) + 1 == pytest.approx(4 / 9 * 128, abs=2)  # width over depth of the front, in pixels
    assert rows.max() + 1 - 32 == pytest.approx(min(1.5 / 9 * 128, 32), abs=2)


def test_sphere():
    depth, owner, _ = nearest(Ellipsoid((10.0, 0.0, 1.5), (1.0, 0.0), VEGETATION, GREY, (2, 2, 2)))
    assert depth[owner == 0].min() == pytest.approx(8.0, abs=0.01)
    assert math.sqrt((owner == 0).sum() / math.pi) == pytest.approx(2 / math.sqrt(96) * 128, rel=0.05)


def test_nearer_solid_hides_the_farther():
    _, owner, _ = nearest(box((10.0, 0.0, 0.0), (1, 1, 3), CONSTRUCTION, GREY),
                          box((5.0, 0.0, 0.0), (1, 1, 3), CONSTRUCTION, GREY),
                          box((-5.0, 0.0, 0.0), (1, 1, 3), CONSTRUCTION, GREY))
    assert owner[31, 63] == 1 and set(np.unique(owner)) <= {-1, 0, 1}


@pytest.mark.parametrize("solid", [
    box((8.0, 1.0, 0.0), (3, 2, 2), CONSTRUCTION, GREY, TURN),
    extruded((8.0, -1.0, 0.5), [(-1, 0), (1, 0), (0, 1.5)], 2.0, CONSTRUCTION, GREY, TURN),
    extruded((8.0, 0.0, 0.0), [(-1, 0), (1, 0), (1, 2), (-1, 2)], 2.0, CONSTRUCTION, GREY, TURN, taper=0.2),
    Ellipsoid((8.0, 1.0, 1.0), TURN, VEGETATION, GREY, (2, 1, 0.7)),
])
def test_windows_and_normals(solid):
    """What is met without a window lies in the window; met points lie on the surface; normals point to the camera."""
    with np.errstate(all="ignore"):
        enter, leave, face = solid.meet(CAMERA.origin, CAMERA.rays)
    hit = (enter < leave) & (enter > 0)
    window, = CAMERA.windows(solid.corners[None])
    outside = hit.copy()
    outside[window] = False
    assert hit.sum() > 50 and not outside.any()
    points = CAMERA.origin[:, None] + CAMERA.rays[:, hit] * enter[hit]
    own = np.stack(solid.local(*points))
    low, high = (np.array(bound)[:, None] for bound in solid.bounds)
    assert (own >= low - 1e-3).all() and (own <= high + 1e-3).all()
    normals = np.stack(solid.to_street(*solid.normals(own, face[hit])))
    assert np.allclose((normals ** 2).sum(0), 1, atol=1e-3)
    assert ((normals * CAMERA.rays[:, hit]).sum(0) <= 1e-4).all()


def test_shadow_falls_away_from_the_sun():
    weather = Weather.drawn(Draw(1))
    sun = (0.0, 0.6, 0.8)
    weather = type(weather)(**{**vars(weather), "sun": sun})
    wall = box((8.0, 0.0, 0.0), (2.0, 0.5, 2), CONSTRUCTION, GREY)
    camera = Camera(64, 128, z=1.5, focal=0.5)
    with np.errstate(all="ignore"):
        depth = np.where(camera.rays[2] < 0, -1.5 / camera.rays[2], np.float32(1e3))
        points = camera.origin[:, None, None] + camera.rays * depth
        light = _shadows(camera, weather, [wall], points, depth < 100)
    along = (light == 0) & (np.abs(points[0] - 8) < 1)
    assert along.sum() > 10 and not ((light == 0) & (np.abs(points[0] - 8) > 1.01)).any()
    dark = points[1][along]
    assert dark.min() == pytest.approx(-0.25 - 2 * 0.75, abs=0.15) and dark.max() == pytest.approx(0.25, abs=0.15)


def test_noise_is_even_and_continuous():
    x, y = np.meshgrid(np.arange(200, dtype=np.int32), np.arange(200, dtype=np.int32))
    values = hashed(x, y, 5)
    assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.02
    line = np.linspace(-3, 3, 2000, dtype=np.float32)
    assert np.abs(np.diff(smooth(line, line * 0, 1))).max() < 0.01
    assert fractal(line, line, 1).min() >= 0 and fractal(line, line, 1).max() < 1
