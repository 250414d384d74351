"""Desks, dresser, night stands and tables as random compositions of solids.

Fronts face -y, z is up, lengths are metres. Kinds, part counts and proportions vary within a class and
overlap between neighbours: a plain desk and a table with drawers, a low dresser and a wide night stand.
"""

import numpy as np

from ssl_core.meshes.household_parts import DARK, METAL, WHITE, WOOD, block, ellipse, pick, prism, rectangle
from ssl_core.meshes.household_supports import chest, drawers, legs, pedestal
from ssl_core.meshes.mesh import Mesh


def desk(rng: np.random.Generator) -> list[Mesh]:
    """A work surface with drawer pedestals, side panels or legs; some with hutch or return."""
    width, depth, height = rng.uniform(0.9, 1.8), rng.uniform(0.5, 0.9), rng.uniform(0.66, 0.82)
    top, body = pick(rng, WOOD, WHITE, DARK), pick(rng, WOOD, METAL, WHITE)
    thick = rng.uniform(0.02, 0.06)
    parts = [block((-width / 2, -depth / 2, height - thick), (width / 2, depth / 2, height), top)]
    under = height - thick
    sides = [side for side in (-1, 1) if rng.random() < 0.55]
    cabinet = width * rng.uniform(0.2, 0.3)
    foot = rng.uniform(0, 0.15) if rng.random() < 0.4 else 0.0
    for side in sides:
        x = side * (width / 2 - cabinet / 2)
        corners = (x - cabinet / 2, -depth / 2 + 0.03, foot), (x + cabinet / 2, depth / 2, under)
        parts += drawers(rng, *corners, (int(rng.integers(2, 5)), 1), (body, top))
    if len(sides) < 2 and rng.random() < 0.5:
        for side in (side for side in (-1, 1) if side not in sides):
            parts.append(prism(rectangle(0.04, depth * 0.95, side * (width / 2 - 0.02)), 0, under, body))
    elif len(sides) < 2 or foot:
        parts += legs(rng, width, depth, under, body)
    if rng.random() < 0.55:
        low = under * rng.uniform(0.2, 0.6)
        parts.append(block((-width / 2, depth / 2 - 0.03, low), (width / 2, depth / 2, under), body))
    if rng.random() < 0.2:
        rise = height + rng.uniform(0.25, 0.6)
        parts.append(block((-width / 2, depth / 2 - 0.25, rise - 0.03), (width / 2, depth / 2, rise), top))
        for x in (-width / 2, width / 2):
            parts.append(prism(rectangle(0.03, 0.25, x, depth / 2 - 0.125), height, rise, top))
    if rng.random() < 0.2:
        side, reach = rng.choice([-1, 1]), rng.uniform(0.4, 0.9)
        x, wide = side * (width / 2 - depth * 0.4), depth * 0.8
        parts.append(prism(rectangle(wide, reach, x, -(depth + reach) / 2), under, height, top))
        parts.append(prism(rectangle(wide * 0.9, 0.04, x, -depth / 2 - reach), 0, under, body))
    return parts


def dresser(rng: np.random.Generator) -> list[Mesh]:
    """A wide cabinet of drawers; some with a mirror."""
    width, depth, height = rng.uniform(0.6, 1.6), rng.uniform(0.38, 0.6), rng.uniform(0.65, 1.35)
    grid = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    parts = chest(rng, width, depth, height, grid)
    if rng.random() < 0.25:
        wide, tall = width * rng.uniform(0.4, 0.95), rng.uniform(0.4, 0.9)
        y = depth / 2 - 0.05
        mirror = rectangle(wide, 0.04, 0, y)
        parts.append(prism(mirror, height, height + tall, pick(rng, METAL, WOOD), rng.uniform(0.8, 1.0)))
    return parts


def night_stand(rng: np.random.Generator) -> list[Mesh]:
    """A small cabinet: one to three drawers, or a top and a shelf on legs."""
    width, depth, height = rng.uniform(0.35, 0.7), rng.uniform(0.3, 0.5), rng.uniform(0.4, 0.75)
    if rng.random() < 0.65:
        return chest(rng, width, depth, height, (int(rng.integers(1, 4)), 1))
    colour = pick(rng, WOOD, WHITE, METAL)
    parts = legs(rng, width, depth, height, colour)
    tall = height * rng.uniform(0.2, 0.45)
    corners = (-width / 2, -depth / 2, height - tall), (width / 2, depth / 2, height)
    parts += drawers(rng, *corners, (int(rng.integers(1, 3)), 1), (colour, pick(rng, WOOD, WHITE)))
    if rng.random() < 0.6:
        z = height * rng.uniform(0.12, 0.3)
        parts.append(block((-width / 2, -depth / 2, z), (width / 2, depth / 2, z + 0.02), colour))
    return parts


def table(rng: np.random.Generator) -> list[Mesh]:
    """Dining, coffee and side tables; square to oval, on legs, pedestal or panels."""
    width, height = rng.uniform(0.5, 2.2), rng.uniform(0.38, 0.82)
    depth = width * rng.uniform(0.4, 1.0)
    top, body = pick(rng, WOOD, WHITE, DARK), pick(rng, WOOD, METAL, DARK)
    thick = rng.uniform(0.015, 0.07)
    rounded = rng.random() < 0.3
    outline = ellipse(width, depth, sides=20) if rounded else rectangle(width, depth)
    parts = [prism(outline, height - thick, height, top, rng.uniform(0.97, 1.03))]
    under, reach = height - thick, 0.7 if rounded else 1.0
    kind = rng.random()
    if kind < 0.2 or (rounded and kind < 0.55):
        parts += pedestal(rng, min(width, depth) * 0.7, under, body)
    elif kind < 0.35:
        apart = width * reach * rng.uniform(0.6, 0.95)
        parts += [prism(rectangle(0.05, depth * reach * 0.9, x), 0, under, body) for x in (-apart / 2, apart / 2)]
    else:
        parts += legs(rng, width * reach, depth * reach, under, body)
        if rng.random() < 0.4:
            apron = rng.uniform(0.04, 0.1)
            parts.append(prism(rectangle(width * reach * 0.9, depth * reach * 0.9), under - apron, under, body))
        if rng.random() < 0.25:
            z = height * rng.uniform(0.15, 0.4)
            parts.append(prism(rectangle(width * reach * 0.95, depth * reach * 0.95), z, z + 0.02, top))
    if not rounded and rng.random() < 0.15:
        wide, deep = width * rng.uniform(0.3, 0.9), depth / 2
        parts += drawers(rng, (-wide / 2, -deep, under - 0.12), (wide / 2, deep, under), (1, 2), (body, top))
    return parts
