# SPDX-License-Identifier: Apache-2.0
"""Things on a street, each a list of solids: vehicles, people, trees, bushes, poles and signs."""

from host.scenes.classes import CONSTRUCTION, PERSON, VEGETATION, VEHICLE
from host.scenes.palette import CLOTHES, LEAVES, PAINTS, SKINS, WALLS, Draw
from host.scenes.shapes import Ellipsoid, Material, Solid, box, extruded

Place = tuple[float, float]
Turn = tuple[float, float]
OCTAGON = [(1, 0.41), (0.41, 1), (-0.41, 1), (-1, 0.41), (-1, -0.41), (-0.41, -1), (0.41, -1), (1, -0.41)]

CARS = {
    "saloon": (4.5, 1.8, 0.95, [(-1.5, 0.9), (1.0, 0.9), (0.3, 1.42), (-1.0, 1.42)]),
    "hatchback": (3.9, 1.7, 0.95, [(-1.9, 0.9), (1.0, 0.9), (0.35, 1.48), (-1.5, 1.48)]),
    "estate": (4.7, 1.8, 0.98, [(-2.3, 0.9), (1.0, 0.9), (0.3, 1.48), (-2.0, 1.5)]),
    "off-road": (4.5, 1.9, 1.15, [(-2.2, 1.1), (1.0, 1.1), (0.5, 1.75), (-2.0, 1.78)]),
}
"""Length, width, height of the lower body, profile of the cabin (x, z)."""


def _shift(place: Place, turn: Turn, x: float, y: float) -> tuple[float, float]:
    """Street coordinates of a point given along a thing's own axes."""
    return place[0] + turn[0] * x - turn[1] * y, place[1] + turn[1] * x + turn[0] * y


def _wheels(place, turn, base, track, radius, salt) -> list[Solid]:
    profile = [(x * radius, z * radius + radius) for x, z in OCTAGON]
    material = Material("tyre", (0, 0, 0), salt, {"hub": radius * 0.5})
    return [extruded((*_shift(place, turn, x, y), 0.0), profile, 0.24, VEHICLE, material, turn)
            for x in (-base, base) for y in (-track, track)]


def car(draw: Draw, place: Place, turn: Turn) -> list[Solid]:
    """A car of one of four shapes."""
    length, width, waist, cabin = CARS[draw.pick(list(CARS))]
    size = draw.between(0.93, 1.08)
    paint, salt = draw.near(draw.pick(PAINTS)), draw.salt()
    half = length / 2
    lower = [(-half, 0.35), (-half + 0.1, 0.22), (half - 0.15, 0.22), (half, 0.4), (half - 0.05, 0.72),
             (half - 0.9, waist), (-half + 0.1, waist)]
    tint = draw.pick(((0.10, 0.12, 0.14), (0.25, 0.30, 0.34), (0.05, 0.05, 0.06)))
    bodywork = {"sill": 0.34, "tint": tint, "lights": (0.66, width / 2 - 0.28, half - 0.45)}
    top = max(z for _, z in cabin)
    windows = {"sill": 0.0, "tint": tint, "glass": (waist + 0.02, top - 0.06), "pillar": 1.15}
    where = (*place, 0.0)
    return [extruded(where, [(x * size, z * size) for x, z in lower], width * size, VEHICLE,
                     Material("paint", paint, salt, bodywork), turn),
            extruded(where, [(x * size, z * size) for x, z in cabin], width * size - 0.05, VEHICLE,
                     Material("paint", paint, salt + 1, windows), turn, taper=0.22 if waist < 1 else 0.12),
            *_wheels(place, turn, length * 0.3, width * size / 2 - 0.1, 0.32, salt)]


def van(draw: Draw, place: Place, turn: Turn) -> list[Solid]:
    """A delivery van, a lorry or a bus."""
    kind, salt = draw.pick(("van", "lorry", "bus")), draw.salt()
    paint, dark = draw.near(draw.pick(PAINTS)), (0.08, 0.1, 0.12)
    where = (*place, 0.0)
    if kind == "van":
        profile = [(-2.6, 0.3), (2.6, 0.3), (2.6, 1.05), (1.75, 2.2), (1.3, 2.3), (-2.6, 2.3)]
        look = {"sill": 0.42, "tint": dark, "glass": (1.2, 1.85), "pillar": draw.pick((1.3, 40.0)),
                "lights": (0.75, 0.7, 2.2)}
        parts = [extruded(where, profile, 1.95, VEHICLE, Material("paint", paint, salt, look), turn, taper=0.05)]
        return parts + _wheels(place, turn, 1.7, 0.88, 0.36, salt)
    if kind == "bus":
        length = draw.between(8, 11.5)
        look = {"sill": 0.45, "tint": dark, "glass": (1.15, 2.35), "pillar": 1.5,
                "lights": (0.7, 0.95, length / 2 - 0.1)}
        parts = [box((*place, 0.3), (length, 2.5, 2.8), VEHICLE, Material("paint", paint, salt, look), turn)]
        return parts + _wheels(place, turn, length * 0.32, 1.15, 0.48, salt)
    load = draw.near(draw.pick(PAINTS + WALLS))
    cab = {"sill": 0.5, "tint": dark, "glass": (1.4, 2.1), "pillar": 1.9, "lights": (0.75, 0.85, 0.9)}
    bed = {"sill": 0.2, "tint": dark, "lights": (0.35, 0.9, 2.5)}
    front, rear = Material("paint", paint, salt, cab), Material("paint", load, salt, bed)
    return [box((*_shift(place, turn, 2.6, 0), 0.4), (1.8, 2.2, 2.1), VEHICLE, front, turn),
            box((*_shift(place, turn, -1.0, 0), 0.75), (5.2, 2.4, 2.4), VEHICLE, rear, turn),
            *_wheels(place, turn, 2.4, 1.05, 0.45, salt)]


def person(draw: Draw, place: Place, turn: Turn) -> list[Solid]:
    """Somebody who stands or walks."""
    tall = draw.between(1.5, 1.95)
    stride = draw.between(0.02, 0.28)
    salt = draw.salt()

    def clothes(colour, part):
        return Material("cloth", colour, salt + part, {"stripes": draw.chance(0.15)})
    coat, legs = clothes(draw.near(draw.pick(CLOTHES)), 0), clothes(draw.near(draw.pick(CLOTHES)), 1)
    skin, hair = clothes(draw.near(draw.pick(SKINS)), 2), clothes(draw.near(draw.pick(CLOTHES[:1] + SKINS)), 3)
    wide, hip = draw.between(0.2, 0.29) * tall / 1.75, tall * 0.5
    parts: list[Solid] = []
    for side in (-1, 1):
        x, y = _shift(place, turn, side * stride / 2, side * 0.1)
        parts.append(box((x, y, 0.0), (0.17, 0.17, hip), PERSON, legs, turn))
        x, y = _shift(place, turn, -side * stride / 2, side * (wide + 0.06))
        parts.append(Ellipsoid((x, y, tall * 0.62), turn, PERSON, coat, (0.09, 0.08, tall * 0.19)))
    long_coat = draw.chance(0.3)
    low = tall * (0.3 if long_coat else 0.44)
    parts.append(extruded((*place, 0.0), [(-0.15, low), (0.15, low), (0.13, tall * 0.8), (-0.13, tall * 0.8)],
                          wide * 2, PERSON, coat, turn, taper=0.06))
    parts.append(Ellipsoid((*place, tall * 0.91), turn, PERSON, skin, (0.11, 0.1, tall * 0.085)))
    parts.append(Ellipsoid((*_shift(place, turn, -0.03, 0), tall * 0.94), turn, PERSON, hair, (0.11, 0.115, 0.11)))
    if draw.chance(0.3):
        bag = clothes(draw.near(draw.pick(CLOTHES)), 5)
        parts.append(box((*_shift(place, turn, -0.22, 0), tall * 0.5), (0.2, 0.34, 0.5), PERSON, bag, turn))
    return parts


def leaves(draw: Draw, tint=None) -> Material:
    """Foliage of one of the seasons."""
    first = draw.near(tint or draw.pick(LEAVES))
    return Material("foliage", first, draw.salt(), {"second": draw.near(first, 0.2)})


def tree(draw: Draw, place: Place, tint=None) -> list[Solid]:
    """A trunk and a crown of ragged ellipsoids, or a conifer."""
    turn = (1.0, 0.0)
    bark = Material("plain", draw.near((0.2, 0.16, 0.12)), draw.salt())
    stem, crown = draw.between(1.6, 3.2), leaves(draw, tint)
    size, thick = draw.between(1.2, 2.6), draw.between(0.15, 0.4)
    parts: list[Solid] = [box((*place, 0.0), (thick, thick, stem + size * 0.6), VEGETATION, bark, turn)]
    if draw.chance(0.2):
        for level in range(3):
            r = size * (1 - 0.25 * level) * 0.7
            parts.append(Ellipsoid((*place, stem * 0.6 + level * size * 0.9), turn, VEGETATION, crown,
                                   (r, r, size * 0.9), ragged=0.5))
        return parts
    for _ in range(draw.count(2, 4)):
        r = size * draw.between(0.6, 1.0)
        at = (place[0] + draw.between(-0.5, 0.5) * size, place[1] + draw.between(-0.5, 0.5) * size,
              stem + size * draw.between(0.3, 1.3))
        parts.append(Ellipsoid(at, turn, VEGETATION, crown, (r, r * draw.between(0.8, 1.1), r * draw.between(0.6, 1)),
                               ragged=draw.between(0.3, 0.8)))
    return parts


def bush(draw: Draw, place: Place, tint=None) -> list[Solid]:
    r = draw.between(0.5, 1.2)
    return [Ellipsoid((*place, r * 0.5), (1.0, 0.0), VEGETATION, leaves(draw, tint),
                      (r * draw.between(0.8, 1.6), r, r * draw.between(0.7, 1.1)), ragged=0.4)]


def pole(draw: Draw, place: Place, inward: float) -> list[Solid]:
    """A street lamp, a traffic light or a sign; ``inward`` (-1 or 1) points to the road."""
    grey = Material("plain", draw.near(draw.pick(WALLS)), draw.salt())
    kind = draw.pick(("lamp", "light", "sign", "sign", "box"))
    turn = (1.0, 0.0)
    if kind == "box":
        return [box((*place, 0.0), (0.5, 0.8, draw.between(0.9, 1.5)), CONSTRUCTION, grey, turn)]
    tall = {"lamp": draw.between(5, 8), "light": 3.4, "sign": draw.between(2.2, 3)}[kind]
    parts: list[Solid] = [box((*place, 0.0), (0.16, 0.16, tall), CONSTRUCTION, grey, turn)]
    if kind == "lamp":
        parts.append(box((place[0], place[1] + inward * 0.8, tall - 0.1), (0.2, 1.7, 0.14), CONSTRUCTION, grey, turn))
    elif kind == "light":
        dark = Material("plain", (0.06, 0.07, 0.06), draw.salt())
        parts.append(box((*place, tall - 0.9), (0.35, 0.4, 1.0), CONSTRUCTION, dark, turn))
    else:
        face = Material("plain", draw.near(draw.pick(((0.7, 0.1, 0.1), (0.1, 0.2, 0.6), (0.7, 0.7, 0.7),
                                                       (0.7, 0.6, 0.1)))), draw.salt())
        parts.append(box((*place, tall - 0.75), (0.06, 0.75, 0.75), CONSTRUCTION, face, turn))
    return parts
