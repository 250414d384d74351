"""Beds, chairs and sofas as random compositions of solids. Fronts face -y, z is up, lengths are metres."""

import numpy as np

from ssl_core.meshes.household_parts import (
    DARK,
    FABRIC,
    METAL,
    WHITE,
    WOOD,
    block,
    ellipse,
    pick,
    prism,
    rectangle,
    tilted,
)
from ssl_core.meshes.household_supports import legs, pedestal
from ssl_core.meshes.mesh import Mesh


def bed(rng: np.random.Generator) -> list[Mesh]:
    """Single to king size; headboard, footboard, posts and pillows come and go."""
    width, length = rng.uniform(0.8, 2.0), rng.uniform(1.75, 2.2)
    frame, cloth = pick(rng, WOOD, DARK, WHITE), pick(rng, FABRIC, WHITE)
    base, top = rng.uniform(0.12, 0.3), 0.0
    mattress = rng.uniform(0.14, 0.35)
    top = base + 0.1 + mattress
    parts = [block((-width / 2, -length / 2, base), (width / 2, length / 2, base + 0.1), frame)]
    if rng.random() < 0.7:
        parts += legs(rng, width, length, base, frame)
    else:
        parts.append(prism(rectangle(width * 0.96, length * 0.96), 0, base, frame))
    parts.append(prism(rectangle(width * 0.96, length * 0.97), base + 0.1, top, cloth, rng.uniform(0.94, 1.0)))
    thick = rng.uniform(0.03, 0.12)
    for y, chance, rise in (
        (length / 2, 0.85, rng.uniform(0.15, 0.8)),
        (-length / 2 - thick, 0.4, rng.uniform(0, 0.3)),
    ):
        if rng.random() < chance:
            parts.append(block((-width / 2, y, 0), (width / 2, y + thick, top + rise), frame))
    if rng.random() < 0.15:
        for x in (-width / 2, width / 2):
            parts += [prism(ellipse(0.07, 0.07, x, y, 8), 0, 1.7, frame) for y in (-length / 2, length / 2)]
    pillow, pillows = pick(rng, WHITE, FABRIC), int(rng.integers(0, 3))
    for i in range(pillows):
        x = (i - (pillows - 1) / 2) * width * 0.46
        parts.append(prism(rectangle(width * 0.4, 0.35, x, length / 2 - 0.28), top, top + 0.12, pillow, 0.75))
    return parts


def chair(rng: np.random.Generator) -> list[Mesh]:
    """Dining, office and arm chairs: legs or star base, solid or slatted back, arms or none."""
    width, depth, seat = rng.uniform(0.38, 0.68), rng.uniform(0.38, 0.62), rng.uniform(0.36, 0.52)
    frame, cover = pick(rng, WOOD, METAL, DARK), pick(rng, FABRIC, WOOD, DARK)
    thick = rng.uniform(0.03, 0.14)
    outline = ellipse(width, depth, sides=14) if rng.random() < 0.2 else rectangle(width, depth)
    parts = [prism(outline, seat - thick, seat, cover, rng.uniform(0.95, 1.05))]
    office = rng.random() < 0.25
    parts += pedestal(rng, width, seat - thick, frame) if office else legs(rng, width, depth, seat - thick, frame)
    back, lean = rng.uniform(0.3, 0.7), rng.uniform(0, 15)
    y = depth / 2 - 0.04
    if rng.random() < 0.6:
        rise = rng.uniform(0, 0.15)
        panel = [block((-width / 2, y, seat + rise), (width / 2, y + 0.04, seat + back), cover)]
    else:
        count = int(rng.integers(3, 7))
        panel = [block((-width / 2, y, seat + back - 0.07), (width / 2, y + 0.035, seat + back), frame)]
        for x in np.linspace(-width / 2 + 0.02, width / 2 - 0.02, count):
            panel.append(block((x - 0.015, y, seat), (x + 0.015, y + 0.03, seat + back), frame))
    parts += [tilted(part, lean, (0, y, seat)) for part in panel]
    if rng.random() < 0.4:
        rest = seat + rng.uniform(0.15, 0.28)
        solid = rng.random() < 0.4
        for x in (-width / 2, width / 2 - 0.05):
            parts.append(block((x, -depth / 2, seat if solid else rest - 0.03), (x + 0.05, depth / 2, rest), frame))
            if not solid:
                parts.append(block((x, -depth / 2, seat), (x + 0.04, -depth / 2 + 0.04, rest), frame))
    return parts


def sofa(rng: np.random.Generator) -> list[Mesh]:
    """One to four seats, with arms, cushions, feet and sometimes a chaise."""
    seats = int(rng.integers(1, 5))
    width = rng.uniform(0.5, 0.75) * seats + 0.15
    depth, seat, back = rng.uniform(0.7, 1.05), rng.uniform(0.34, 0.5), rng.uniform(0.62, 0.98)
    cloth, feet = pick(rng, FABRIC, FABRIC, DARK, WHITE), pick(rng, WOOD, METAL, DARK)
    foot = rng.uniform(0.04, 0.16) if rng.random() < 0.6 else 0.0
    parts = [block((-width / 2, -depth / 2, foot), (width / 2, depth / 2, seat - 0.12), cloth)]
    deep = rng.uniform(0.15, 0.28)
    rest = block((-width / 2, depth / 2 - deep, foot), (width / 2, depth / 2, back), cloth)
    parts.append(tilted(rest, rng.uniform(0, 10), (0, depth / 2, foot)))
    if rng.random() < 0.85:
        arm, high = rng.uniform(0.08, 0.28), rng.uniform(seat + 0.05, back)
        for x in (-width / 2 - arm, width / 2):
            parts.append(block((x, -depth / 2, foot), (x + arm, depth / 2, high), cloth))
    cushion = cloth if rng.random() < 0.6 else pick(rng, FABRIC)
    share = width / seats
    for i in range(seats):
        x = -width / 2 + share * (i + 0.5)
        pad = rectangle(share * 0.97, depth - deep, x, -deep / 2)
        parts.append(prism(pad, seat - 0.12, seat, cushion, rng.uniform(0.93, 1.0)))
        if rng.random() < 0.5:
            parts.append(
                prism(rectangle(share * 0.9, 0.14, x, depth / 2 - deep - 0.05), seat, back - 0.05, cushion, 0.85)
            )
    if seats > 1 and rng.random() < 0.25:
        x = rng.choice([-1, 1]) * (width - share) / 2
        reach = rng.uniform(0.4, 0.8)
        parts.append(prism(rectangle(share, reach, x, -depth / 2 - reach / 2), foot, seat, cloth))
    if foot:
        parts += legs(rng, width, depth, foot, feet)
    return parts
