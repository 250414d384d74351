"""The classes of the household set as random compositions of solids. Fronts face -y, z is up, lengths are metres.

Kinds, part counts and proportions vary within a class and overlap between neighbours: a plain desk and a table with
drawers, a low dresser and a wide night stand.
"""

from collections.abc import Callable

import numpy as np

from ssl_core.meshes.household_parts import (
    DARK,
    FABRIC,
    METAL,
    WHITE,
    WOOD,
    Colour,
    block,
    chest,
    drawers,
    ellipse,
    legs,
    pedestal,
    pick,
    prism,
    rectangle,
    shell,
    tilted,
)
from ssl_core.meshes.mesh import Mesh


def bathtub(rng: np.random.Generator) -> list[Mesh]:
    """Box-shaped or oval, on the floor, a plinth or feet."""
    length, width, height = rng.uniform(1.1, 1.95), rng.uniform(0.6, 0.95), rng.uniform(0.38, 0.7)
    colour = pick(rng, WHITE, WHITE, METAL, FABRIC)
    oval = rng.random() < 0.5
    outline = ellipse(length, width, sides=20) if oval else rectangle(length, width)
    lift = rng.uniform(0.05, 0.15) if rng.random() < 0.35 else 0.0
    inner = rng.uniform(0.78, 0.92)
    taper = rng.uniform(1.0, 1.25) if rng.random() < 0.6 else 1.0
    parts = [shell(outline, lift, lift + height, inner, lift + rng.uniform(0.05, 0.15), colour, taper)]
    if lift:
        parts += legs(rng, length * 0.7, width * 0.7, lift, pick(rng, METAL, WHITE))
    if rng.random() < 0.6:
        metal = pick(rng, METAL)
        x, top = length * taper / 2 * rng.uniform(0.85, 0.95), lift + height
        parts.append(prism(ellipse(0.05, 0.05, x, 0, 8), top - 0.05, top + rng.uniform(0.08, 0.25), metal))
        parts.append(block((x - rng.uniform(0.1, 0.2), -0.02, top + 0.06), (x, 0.02, top + 0.1), metal))
    if not oval and rng.random() < 0.3:
        rim = length * taper * 1.04, width * taper * 1.06
        parts.append(shell(rectangle(*rim), lift + height - 0.04, lift + height, inner, lift + height - 0.01, colour))
    return parts


def monitor(rng: np.random.Generator) -> list[Mesh]:
    """A flat screen or a tube, on a neck and plate, two feet, or the wall."""
    width = rng.uniform(0.38, 1.1)
    height = width / rng.uniform(1.2, 2.3)
    case, glass = pick(rng, DARK, METAL, WHITE), pick(rng, DARK, DARK, METAL)
    lift, thick = rng.uniform(0.04, 0.22), rng.uniform(0.02, 0.08)
    screen = [block((-width / 2, 0, lift), (width / 2, thick, lift + height), case)]
    edge = rng.uniform(0.01, 0.05)
    pane = (-width / 2 + edge, -0.004, lift + edge), (width / 2 - edge, 0, lift + height - edge)
    screen.append(block(*pane, glass))
    if rng.random() < 0.2:
        # A tube: raised along z, then laid on its back.
        tube = prism(rectangle(width * 0.9, height * 0.9), 0, rng.uniform(0.25, 0.5), case, rng.uniform(0.4, 0.7))
        turned = np.stack([tube.vertices[:, 0], tube.vertices[:, 2] + thick, tube.vertices[:, 1]], axis=1)
        centred = (turned + np.array([0, 0, lift + height / 2])).astype(np.float32)
        screen.append(Mesh(centred, tube.faces[:, ::-1], tube.face_colours))
    parts = [tilted(part, rng.uniform(-3, 12), (0, 0, lift)) for part in screen]
    if rng.random() < 0.75:
        neck = (
            ellipse(0.06, 0.05, 0, thick + 0.02, 10) if rng.random() < 0.5 else rectangle(width * 0.2, 0.03, 0, thick)
        )
        parts.append(prism(neck, 0, lift + height * rng.uniform(0.2, 0.5), case))
        plate = width * rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.28)
        foot = ellipse(*plate, 0, 0.02) if rng.random() < 0.5 else rectangle(*plate, 0, 0.02)
        parts.append(prism(foot, 0, rng.uniform(0.012, 0.03), case, rng.uniform(0.7, 1.0)))
    elif rng.random() < 0.7:
        parts += [prism(rectangle(0.03, 0.22, x, 0.02), 0, lift + 0.02, case, 0.5) for x in (-width / 3, width / 3)]
    return parts


def toilet(rng: np.random.Generator) -> list[Mesh]:
    """A tapered bowl with seat and lid, a tank or none, on the floor or the wall."""
    width, length, height = rng.uniform(0.34, 0.46), rng.uniform(0.42, 0.6), rng.uniform(0.34, 0.46)
    colour = pick(rng, WHITE, WHITE, WHITE, FABRIC)
    seat = colour if rng.random() < 0.6 else pick(rng, WOOD, DARK, WHITE)
    hung = rng.random() < 0.15
    low = height * rng.uniform(0.2, 0.4) if hung else 0.0
    foot = rng.uniform(0.45, 0.75)
    bowl = ellipse(width * foot, length * foot, sides=16)
    parts = [shell(bowl, low, height, rng.uniform(0.65, 0.8), height * 0.7, colour, 1 / foot)]
    rim = ellipse(width * 1.03, length * 1.03)
    parts.append(shell(rim, height, height + 0.025, 0.68, height + 0.001, seat))
    lid = prism(ellipse(width, length), height + 0.025, height + 0.05, seat)
    if rng.random() < 0.5:
        lid = tilted(lid, rng.uniform(80, 100), (0, length / 2, height + 0.03))
    if rng.random() < 0.85:
        parts.append(lid)
    if not hung and rng.random() < 0.35:
        parts.append(prism(rectangle(width * 0.75, length * 0.8), 0, rng.uniform(0.03, 0.12), colour))
    back = length / 2
    wide, deep = width * rng.uniform(0.8, 1.3), rng.uniform(0.14, 0.24)
    if hung or rng.random() < 0.15:
        top = height + rng.uniform(0, 0.5)
        return [*parts, block((-wide / 2, back, low), (wide / 2, back + 0.06, top), colour)]
    return parts + _tank(rng, (wide, deep), back, height, colour)


def _tank(rng: np.random.Generator, size: tuple[float, float], front: float, low: float, colour: Colour) -> list[Mesh]:
    """A cistern with its cover from `low` upwards, the column under it, sometimes a lever."""
    wide, deep = size
    high = low + rng.uniform(0.3, 0.5)
    y = front + deep / 2
    parts = [
        prism(rectangle(wide, deep, 0, y), low, high, colour, rng.uniform(1.0, 1.1)),
        prism(rectangle(wide * 1.12, deep * 1.12, 0, y), high, high + 0.03, colour),
        prism(rectangle(wide * 0.5, deep + 0.15, 0, front), 0, low, colour, rng.uniform(0.9, 1.2)),
    ]
    if rng.random() < 0.5:
        corner = (-wide / 2, front - 0.02, high - 0.1), (-wide / 2 + 0.08, front, high - 0.07)
        parts.append(block(*corner, pick(rng, METAL)))
    return parts


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


MAKERS: dict[str, Callable[[np.random.Generator], list[Mesh]]] = {
    maker.__name__: maker for maker in (bathtub, bed, chair, desk, dresser, monitor, night_stand, sofa, table, toilet)
}
"""One per class of ModelNet10, sorted."""
