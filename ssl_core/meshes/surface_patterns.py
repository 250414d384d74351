"""Procedural textures in three dimensions: a family of patterns, one a class, in colours of each instance's own.

A pattern is a function of the place on the surface, in metres, so it needs no unfolding of the mesh, and a picture of
more pixels shows more of it (solid texturing: Peachey 1985, Perlin 1985).
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl_core.scenes.cameras import GOLDEN_FRACTION

Floats = NDArray[np.float64]

PATTERNS = 11
_PERIODS = (0.34, 0.5, 0.26)
"""Metres; classes beyond the number of patterns begin again with another one."""


@dataclass(frozen=True, eq=False)
class Material:
    """The look of one instance: two colours [3] in [0, 1], blended by the pattern of its class."""

    pattern: int
    period: float  # metres
    first: Floats
    second: Floats
    turn: Floats  # [3, 3] room -> instance
    centre: Floats  # [3] of the instance, in the room


def class_material(number: int, rng: np.random.Generator, centre: Floats, yaw: float) -> Material:
    """The material of an instance of class `number`: the class's pattern and period, hue and phase at random."""
    hue, saturation, value = rng.random(), rng.uniform(0.25, 0.75), rng.uniform(0.7, 0.95)
    other = (hue + rng.choice((0.0, 0.08, -0.08))) % 1
    dark = value * rng.uniform(0.35, 0.6)
    cos, sin = np.cos(yaw), np.sin(yaw)
    return Material(
        number % PATTERNS,
        _PERIODS[number // PATTERNS % len(_PERIODS)],
        np.array(colorsys.hsv_to_rgb(hue, saturation, value)),
        np.array(colorsys.hsv_to_rgb(other, saturation, dark)),
        np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]),
        np.asarray(centre) + rng.uniform(-0.5, 0.5, 3),
    )


def material_colours(material: Material, points: Floats) -> Floats:
    """[N, 3] colours in [0, 1] of places [N, 3] in the room."""
    local = (points - material.centre) @ material.turn.T
    share = pattern_values(material.pattern, 2 * np.pi * local / material.period)[:, None]
    return material.first * share + material.second * (1 - share)


def pattern_values(pattern: int, places: Floats) -> Floats:
    """[N] in [0, 1] at places [N, 3] in radians of the period. Raises ValueError: no such pattern."""
    x, y, z = places.T
    match pattern:
        case 0:  # waves
            wave = np.sin(z + 1.5 * np.sin(0.5 * (x + y)))
        case 1:  # planks with gaps, along x
            row = np.floor(y / np.pi)
            wave = np.sin(0.5 * x + row * 2 * np.pi * GOLDEN_FRACTION) + 0.6 * np.cos(2 * y)
        case 2:  # nearly plain
            return np.asarray(0.8 + 0.1 * np.sin(0.3 * x) * np.sin(0.3 * y) * np.cos(0.3 * z))
        case 3:  # upright stripes
            wave = np.sin(x + y)
        case 4:  # layers
            wave = np.sin(z + 0.2 * (x - y))
        case 5:  # chequered
            wave = 2 * np.sin(x) * np.sin(y) + np.sin(z)
        case 6:  # dots
            wave = np.cos(x) + np.cos(y) + np.cos(z) - 1.0
        case 7:  # slanting
            wave = np.sin(x + y + 1.4 * z)
        case 8:  # rings about the upright axis, and layers
            wave = np.sin(np.hypot(x, y) + 0.7 * z)
        case 9:  # marble
            wave = np.sin(0.6 * x + 2 * np.sin(0.7 * y) + 1.5 * np.sin(0.8 * z + 0.5 * x))
        case 10:  # a grid of lines
            wave = 4 * np.abs(np.sin(0.5 * x) * np.sin(0.5 * y) * np.cos(0.5 * z - 0.8)) - 0.8
        case _:
            raise ValueError(f"pattern {pattern}: there are {PATTERNS}")
    share: Floats = 0.5 + 0.5 * np.tanh(2 * wave)
    return share
