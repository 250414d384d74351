"""Supports and cabinets that several household objects share. Lengths are metres, z is up, fronts face -y."""

from itertools import pairwise

import numpy as np

from ssl_core.meshes.household_parts import (
    DARK,
    METAL,
    WHITE,
    WOOD,
    Colour,
    block,
    ellipse,
    pick,
    prism,
    rectangle,
)
from ssl_core.meshes.mesh import Mesh


def legs(rng: np.random.Generator, width: float, depth: float, height: float, colour: Colour) -> list[Mesh]:
    """Four legs under a rectangle: square or round, straight or tapered, set in by a random margin."""
    thick = rng.uniform(0.025, 0.08)
    inset = thick * rng.uniform(0.5, 1.5)
    taper = rng.uniform(1.0, 1.8) if rng.random() < 0.4 else 1.0
    round_legs = rng.random() < 0.4
    found = []
    for x in (-width / 2 + inset, width / 2 - inset):
        for y in (-depth / 2 + inset, depth / 2 - inset):
            foot = ellipse(thick, thick, x, y, 8) if round_legs else rectangle(thick, thick, x, y)
            found.append(prism(foot, 0, height, colour, taper))
    return found


def pedestal(rng: np.random.Generator, reach: float, height: float, colour: Colour) -> list[Mesh]:
    """A central column on a round plate or a star of three to five arms."""
    column = prism(ellipse(0.07, 0.07, sides=10), 0.03, height, colour, rng.uniform(0.8, 1.6))
    if rng.random() < 0.5:
        return [column, prism(ellipse(reach, reach), 0, rng.uniform(0.02, 0.06), colour, 0.8)]
    arms = int(rng.integers(3, 6))
    tips = 2 * np.pi * np.arange(arms) / arms
    feet = []
    for tip in tips:
        along, across = np.array([np.cos(tip), np.sin(tip)]), np.array([-np.sin(tip), np.cos(tip)]) * 0.025
        end = along * reach / 2
        feet.append(prism(np.array([-across, end - across, end + across, across]), 0, 0.06, colour))
    return [column, *feet]


def drawers(
    rng: np.random.Generator,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    grid: tuple[int, int],
    colours: tuple[Colour, Colour],
) -> list[Mesh]:
    """A cabinet between two corners with rows x columns of drawer fronts and handles on its -y side."""
    body, front = colours
    parts = [block(low, high, body)]
    handle = pick(rng, METAL, DARK)
    bar = rng.random() < 0.5
    gap = rng.uniform(0.008, 0.025)
    columns = np.linspace(low[0], high[0], grid[1] + 1)
    rows = np.linspace(low[2], high[2], grid[0] + 1)
    for left, right in pairwise(columns):
        for bottom, top in pairwise(rows):
            parts.append(block((left + gap, low[1] - 0.02, bottom + gap), (right - gap, low[1], top - gap), front))
            x, z = (left + right) / 2, (bottom + top) / 2
            reach = (right - left) * 0.2 if bar else 0.02
            parts.append(block((x - reach, low[1] - 0.05, z - 0.012), (x + reach, low[1] - 0.02, z + 0.012), handle))
    return parts


def chest(rng: np.random.Generator, width: float, depth: float, height: float, grid: tuple[int, int]) -> list[Mesh]:
    """Drawers with an overhanging top, on feet, a plinth or the floor."""
    body = pick(rng, WOOD, WHITE, DARK)
    front = pick(rng, WOOD, WHITE) if rng.random() < 0.4 else body
    foot = rng.uniform(0.05, 0.2) * min(height, 0.8) if rng.random() < 0.6 else 0.0
    corners = (-width / 2, -depth / 2, foot), (width / 2, depth / 2, height - 0.03)
    parts = drawers(rng, *corners, grid, (body, front))
    over = rng.uniform(0, 0.06)
    parts.append(prism(rectangle(width + over, depth + over), height - 0.03, height, body))
    if foot:
        parts += legs(rng, width, depth, foot, body)
    return parts
