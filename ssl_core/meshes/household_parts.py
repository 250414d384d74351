"""Solids, supports and cabinets that household objects are put together from. z is up, fronts face -y, metres.

Every solid is a `Mesh` of one colour. Faces that touch other parts stay in: CAD models have them too.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ssl_core.meshes.mesh import Mesh

Colour = NDArray[np.float32]
Outline = NDArray[np.float64]
"""Corners of a convex polygon in the xy plane, [n, 2], counter-clockwise."""


def rectangle(width: float, depth: float, x: float = 0.0, y: float = 0.0) -> Outline:
    """A rectangle around (x, y)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
    return corners * (width / 2, depth / 2) + (x, y)


def ellipse(width: float, depth: float, x: float = 0.0, y: float = 0.0, sides: int = 16) -> Outline:
    """A regular polygon stretched into a box of width x depth around (x, y)."""
    angles = 2 * np.pi * np.arange(sides) / sides
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * (width / 2, depth / 2) + (x, y)


def prism(outline: Outline, low: float, high: float, colour: Colour, taper: float = 1.0) -> Mesh:
    """The outline raised from z = low to z = high, its top scaled by `taper` about its middle."""
    middle = outline.mean(axis=0)
    bottom = _ring(outline, low)
    top = _ring(middle + (outline - middle) * taper, high)
    n = len(outline)
    fan = np.array([[0, i, i + 1] for i in range(1, n - 1)])
    faces = np.concatenate([fan[:, ::-1], fan + n, _band(n, 0, n)])
    return _coloured(np.concatenate([bottom, top]), faces, colour)


def block(low: tuple[float, float, float], high: tuple[float, float, float], colour: Colour) -> Mesh:
    """An axis-parallel box between two corners."""
    width, depth = high[0] - low[0], high[1] - low[1]
    outline = rectangle(width, depth, (low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
    return prism(outline, low[2], high[2], colour)


def shell(
    outline: Outline, low: float, high: float, inner: float, floor: float, colour: Colour, taper: float = 1.0
) -> Mesh:
    """An open vessel: wall widening by `taper` from low to high, cavity `inner` as wide down to `floor`."""
    middle = outline.mean(axis=0)
    spread = outline - middle
    rings = [
        _ring(middle + spread, low),
        _ring(middle + spread * taper, high),
        _ring(middle + spread * taper * inner, high),
        _ring(middle + spread * inner, floor),
    ]
    n = len(outline)
    fan = np.array([[0, i, i + 1] for i in range(1, n - 1)])
    bands = [_band(n, k * n, (k + 1) * n) for k in range(3)]
    faces = np.concatenate([fan[:, ::-1], *bands, fan + 3 * n])
    return _coloured(np.concatenate(rings), faces, colour)


def tilted(mesh: Mesh, degrees: float, pivot: tuple[float, float, float]) -> Mesh:
    """Turned about the x axis through `pivot`; positive leans the top backwards, to +y."""
    angle = np.deg2rad(-degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return Mesh(((mesh.vertices - pivot) @ turn.T + pivot).astype(np.float32), mesh.faces, mesh.face_colours)


def combined(parts: list[Mesh]) -> Mesh:
    """All parts as one mesh."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.face_colours for part in parts]),
    )


def _ring(outline: Outline, z: float) -> NDArray[np.float64]:
    return np.column_stack([outline, np.full(len(outline), z)])


def _band(n: int, lower: int, upper: int) -> NDArray[np.int64]:
    """Faces between two rings of n vertices that start at `lower` and `upper`."""
    i = np.arange(n)
    j = (i + 1) % n
    first = np.stack([lower + i, lower + j, upper + j], axis=1)
    second = np.stack([lower + i, upper + j, upper + i], axis=1)
    return np.concatenate([first, second])


def _coloured(vertices: NDArray[np.float64], faces: NDArray[np.int64], colour: Colour) -> Mesh:
    tints = np.tile(np.asarray(colour, dtype=np.float32), (len(faces), 1))
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64), tints)


# Palettes overlap between classes on purpose: colour alone must not give a class away.
WOOD = np.array([[0.55, 0.36, 0.2], [0.72, 0.53, 0.33], [0.36, 0.22, 0.13], [0.82, 0.69, 0.5], [0.47, 0.26, 0.16]])
FABRIC = np.array(
    [[0.3, 0.35, 0.5], [0.55, 0.2, 0.2], [0.62, 0.58, 0.5], [0.25, 0.4, 0.3], [0.75, 0.7, 0.62], [0.7, 0.55, 0.25]]
)
WHITE = np.array([[0.92, 0.92, 0.9], [0.85, 0.83, 0.78], [0.8, 0.88, 0.9], [0.9, 0.85, 0.87]])
DARK = np.array([[0.12, 0.12, 0.13], [0.25, 0.25, 0.27], [0.18, 0.14, 0.12]])
METAL = np.array([[0.6, 0.61, 0.63], [0.45, 0.45, 0.47], [0.7, 0.66, 0.55]])


def pick(rng: np.random.Generator, *palettes: NDArray[np.float64]) -> Colour:
    """A jittered colour of one of the palettes, now and then any colour at all."""
    if rng.random() < 0.15:
        return rng.uniform(0.1, 0.95, 3).astype(np.float32)
    palette = palettes[rng.integers(len(palettes))]
    jitter = rng.normal(0, 0.05) + rng.normal(0, 0.02, 3)
    colour: Colour = np.clip(palette[rng.integers(len(palette))] + jitter, 0.03, 0.97).astype(np.float32)
    return colour


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
