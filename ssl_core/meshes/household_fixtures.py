"""Bathtubs, monitors and toilets as random solids. Fronts face -y, z is up, metres."""

import numpy as np

from ssl_core.meshes.household_parts import (
    DARK,
    FABRIC,
    METAL,
    WHITE,
    WOOD,
    Colour,
    block,
    ellipse,
    pick,
    prism,
    rectangle,
    shell,
    tilted,
)
from ssl_core.meshes.household_supports import legs
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
