# SPDX-License-Identifier: Apache-2.0
"""What stands along a street: rows of buildings, gardens, trees, parked and moving vehicles, people."""

from host.scenes.classes import CONSTRUCTION, VEGETATION
from host.scenes.palette import LEAVES, WALLS, Draw
from host.scenes.shapes import Ellipsoid, Material, Solid, box, extruded
from host.scenes.street import Street
from host.scenes.things import bush, car, leaves, person, pole, tree, van

SIDES = {
    "town": {"width": (8, 22), "height": (9, 26), "gap": 0.12, "gable": 0.1, "trees": 0.25, "fence": 0.1},
    "suburb": {"width": (7, 13), "height": (4.5, 8), "gap": 0.6, "gable": 0.85, "trees": 0.5, "fence": 0.6},
    "park": {"width": (6, 12), "height": (4, 8), "gap": 1.0, "gable": 0.5, "trees": 1.0, "fence": 0.35},
    "works": {"width": (18, 40), "height": (6, 12), "gap": 0.35, "gable": 0.2, "trees": 0.15, "fence": 0.5},
}
"""Kinds of street side: ranges of a building's size, and how likely gaps, gables, trees and fences are."""

END = 115.0
"""Metres ahead up to which things stand along the street."""


def furnish(draw: Draw, street: Street) -> list[Solid]:
    """All solids of a scene."""
    kinds = draw.pick((("town", "town"), ("town", "town"), ("suburb", "suburb"), ("town", "park"), ("suburb", "park"),
                       ("works", "suburb"), ("works", "town"), ("park", "park")))
    season = [draw.pick(LEAVES) for _ in range(2)]
    solids: list[Solid] = []
    for side, kind, setback in zip((1, -1), kinds, street.setback, strict=True):
        solids += _row(draw, street, side, SIDES[kind], setback)
        solids += _greenery(draw, street, side, SIDES[kind], setback, season)
        solids += _kerb(draw, street, side)
    return solids + _backdrop(draw, street) + _traffic(draw, street) + _people(draw, street)


def facade(draw: Draw, roof=None) -> Material:
    """Wall with windows, drawn for one building."""
    margin = draw.between(0.08, 0.3)
    return Material("facade", draw.near(draw.pick(WALLS)), draw.salt(), {
        "brick": draw.pick((0.0, 0.1, 0.35)), "pitch": draw.between(1.4, 3.6), "storey": draw.between(2.7, 3.6),
        "margin": margin, "sill": draw.between(0.1, 0.4), "lintel": draw.between(0.7, 0.92),
        "lit": draw.pick((0.0, 0.05, 0.3)),
        "glass": draw.pick(((0.12, 0.14, 0.17), (0.3, 0.36, 0.42), (0.2, 0.2, 0.2))),
        "frame": draw.near(draw.pick(WALLS)), "band": draw.between(0.8, 1.25), "shop": draw.chance(0.3),
        "roof": draw.near(roof or draw.pick(((0.4, 0.2, 0.15), (0.25, 0.25, 0.27), (0.35, 0.3, 0.26))))})


def _row(draw: Draw, street: Street, side: int, kind: dict, setback: float) -> list[Solid]:
    """Buildings of one side, one after another, with gaps; perhaps a fence or a wall in front of them."""
    solids: list[Solid] = []
    x = draw.between(-6, 4)
    while x < END:
        width = draw.between(*kind["width"])
        if street.crosses(x + width / 2, width / 2 + street.pavement):
            x = street.cross + street.cross_half + street.pavement + draw.between(0, 2)
            if street.crosses(x + width / 2, width / 2 + street.pavement):
                break
        if not (kind["gap"] >= 1 and draw.chance(0.85)):
            solids += building(draw, street, x + width / 2, side, width, kind, setback)
        x += width + (draw.between(1, 12) if draw.chance(kind["gap"]) else 0.0)
    if setback > 1 and draw.chance(kind["fence"]):
        solids += _fence(draw, street, side)
    return solids


def building(draw: Draw, street: Street, x: float, side: int, width: float, kind: dict, setback: float) -> list[Solid]:
    """A block with a flat roof, or a house with a gable."""
    depth, height = draw.between(7, 14), draw.between(*kind["height"])
    place, turn = street.place(x, side * (street.edge + setback + draw.between(0, 0.8) + depth / 2))
    look = facade(draw)
    solids: list[Solid] = [box((*place, 0.0), (width, depth, height), CONSTRUCTION, look, turn)]
    if draw.chance(kind["gable"]):
        rise = draw.between(1.5, 3.5)
        if draw.chance(0.5):  # the ridge lies along the street: turn the profile by a right angle
            across, half, length = (-turn[1], turn[0]), depth / 2, width
        else:
            across, half, length = turn, width / 2, depth
        solids.append(extruded((*place, height), [(-half - 0.3, 0), (half + 0.3, 0), (0, rise)], length + 0.4,
                               CONSTRUCTION, look, across))
    elif draw.chance(0.5):
        solids.append(box((*place, height), (width * 0.5, depth * 0.5, draw.between(1, 3)), CONSTRUCTION, look, turn))
    return solids


def _fence(draw: Draw, street: Street, side: int) -> list[Solid]:
    """Hedge, wall or fence along the far side of the pavement, in pieces of six metres."""
    kind, tall = draw.pick(("hedge", "wall", "fence")), draw.between(0.7, 1.8)
    if kind == "hedge":
        material, label, thick = leaves(draw), VEGETATION, 0.9
    else:
        step, offset, rows = (0.25, 0.5, 1.0) if kind == "wall" else (0.14, 0.0, 0.0)
        look = {"step": step, "offset": offset, "rows": rows}
        material, label, thick = Material("boards", draw.near(draw.pick(WALLS)), draw.salt(), look), CONSTRUCTION, 0.2
    solids = []
    for piece in range(16):
        x = 2.0 + piece * 6
        if not street.crosses(x, 3 + street.pavement) and not draw.chance(0.15):
            place, turn = street.place(x, side * (street.edge + 0.3))
            solids.append(box((*place, 0.0), (6.1, thick, tall), label, material, turn))
    return solids


def _greenery(draw: Draw, street: Street, side: int, kind: dict, setback: float, season) -> list[Solid]:
    """Street trees, and trees and bushes in gardens and parks."""
    solids: list[Solid] = []
    if draw.chance(kind["trees"]):
        step, x, lateral = draw.between(6, 14), draw.between(5, 12), street.half + street.verge / 2 + 0.5
        while x < 90:
            if not street.crosses(x, 2) and not draw.chance(0.2):
                solids += tree(draw, street.place(x, side * lateral)[0], draw.pick(season))
            x += step
    count = draw.count(14, 26) if kind["gap"] >= 1 else draw.count(0, 6)
    for _ in range(count):
        x, far = draw.between(5, 90), draw.between(1, 16 if kind["gap"] >= 1 else max(1.5, setback))
        if not street.crosses(x, street.pavement + 1):
            make = tree if kind["gap"] >= 1 and draw.chance(0.75) else bush
            solids += make(draw, street.place(x, side * (street.edge + far))[0], draw.pick(season))
    return solids


def _kerb(draw: Draw, street: Street, side: int) -> list[Solid]:
    """Poles, and cars parked along the kerb."""
    solids: list[Solid] = []
    for _ in range(draw.count(1, 5)):
        x = draw.between(6, 60)
        place, _ = street.place(x, side * (street.half + street.verge + 0.4))
        solids += pole(draw, place, -side)
    if street.half > 4 and draw.chance(0.5):
        x = draw.between(7, 18)
        while x < 75:
            if not street.crosses(x, 4) and not draw.chance(0.45):
                place, turn = street.place(x, side * (street.half - 1.1))
                forward = 1 if side < 0 or draw.chance(0.3) else -1
                make = van if draw.chance(0.12) else car
                solids += make(draw, place, (turn[0] * forward, turn[1] * forward))
            x += draw.between(5.5, 8)
    return solids


def _traffic(draw: Draw, street: Street) -> list[Solid]:
    """Vehicles that drive: ahead in the own lane, towards the camera in the other, across on the side street."""
    solids: list[Solid] = []
    lane = street.half / 2 if street.half < 4.5 else street.half / 2 - 0.6
    for side in (-1, 1):
        x = draw.between(8, 30)
        for _ in range(draw.count(0, 3)):
            place, turn = street.place(x, side * lane + draw.between(-0.3, 0.3))
            make = van if draw.chance(0.2) else car
            solids += make(draw, place, (turn[0] * -side, turn[1] * -side))
            x += draw.between(10, 30)
    if street.cross < 1e5 and draw.chance(0.7):
        for _ in range(draw.count(1, 2)):
            direction = draw.pick((-1.0, 1.0))
            place = street.place(street.cross, draw.between(-14, 14))[0]
            solids += (van if draw.chance(0.2) else car)(draw, place, (0.0, direction))
    return solids


def _people(draw: Draw, street: Street) -> list[Solid]:
    """People on the pavements, some close to the camera, some who cross."""
    solids: list[Solid] = []
    inner, outer = street.half + street.verge + 0.4, street.edge - 0.3
    for _ in range(draw.count(2, 9)):
        x = draw.pick((draw.between(5, 14), draw.between(6, 24), draw.between(10, 45)))
        lateral = draw.pick((-1, 1)) * draw.between(inner, outer)
        if draw.chance(0.22):
            lateral = draw.between(-street.half, street.half)
        angle = draw.pick(((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.8, 0.6), (-0.6, 0.8)))
        solids += person(draw, street.place(x, lateral)[0], angle)
        if draw.chance(0.35):
            solids += person(draw, street.place(x + draw.between(-0.5, 0.5), lateral + 0.75)[0], angle)
    return solids


def _backdrop(draw: Draw, street: Street) -> list[Solid]:
    """Far blocks and hills that close the view."""
    solids: list[Solid] = []
    if draw.chance(0.35):
        place, turn = street.place(draw.between(80, 120), draw.between(-8, 8))
        size = 14, draw.between(18, 40), draw.between(8, 24)
        solids.append(box((*place, 0.0), size, CONSTRUCTION, facade(draw), turn))
    for _ in range(draw.count(2, 8)):
        place, turn = street.place(draw.between(70, 200), draw.pick((-1, 1)) * draw.between(35, 110))
        if draw.chance(0.6):
            size = draw.between(12, 30), draw.between(12, 30), draw.between(8, 40)
            solids.append(box((*place, 0.0), size, CONSTRUCTION, facade(draw), turn))
        else:
            r = draw.between(15, 45)
            material = leaves(draw)
            solids.append(Ellipsoid((*place, 0.0), (1.0, 0.0), VEGETATION, material, (r, r, r * draw.between(0.2, 0.4)),
                                    ragged=0.2))
    return solids
