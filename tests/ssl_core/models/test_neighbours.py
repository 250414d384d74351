"""Balls, nearest neighbours and farthest points against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.models.neighbours import ball_query, farthest_points, gather_rows, nearest, squared_distances
from tests.reference.plain_pointnet2 import ball
from tests.ssl_core.models.search_graph import clouds_with_equal_distances, graph_of

torch.set_num_threads(1)


def points(batch: int, count: int, seed: int, columns: int = 3) -> torch.Tensor:
    return torch.rand(batch, count, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 30), centres=st.integers(1, 30), wanted=st.integers(1, 40),
    radius=st.floats(0.0, 2.0), seed=st.integers(0, 1000),
)  # fmt: skip
def test_ball_query_is_the_first_points_by_index(
    count: int, centres: int, wanted: int, radius: float, seed: int
) -> None:
    xyz = points(2, count, seed)
    centres = min(centres, count)
    found = ball_query(squared_distances(xyz[:, :centres], xyz), radius, wanted)
    for b in range(2):
        for s in range(centres):
            assert found[b, s].tolist() == ball(xyz[b].numpy(), xyz[b, s].numpy(), radius, wanted)


def test_an_empty_ball_gives_valid_indices() -> None:
    xyz = points(1, 5, 0)
    assert ball_query(squared_distances(xyz + 10, xyz), 0.1, 3).tolist() == [[[0, 0, 0]] * 5]


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_nearest_by_brute_force(shift: float) -> None:
    x = (points(2, 25, 1, columns=6) + shift).float()
    found = nearest(x, 4).sort(-1).values
    for b in range(2):
        distances = ((x[b, :, None] - x[b, None]) ** 2).sum(-1).numpy()
        np.testing.assert_array_equal(found[b], np.sort(np.argsort(distances, axis=1)[:, :4], axis=1))


def test_nearest_is_capped_by_the_number_of_points() -> None:
    assert nearest(points(1, 5, 0), 20).shape == (1, 5, 5)


def test_farthest_points_by_the_greedy_rule() -> None:
    xyz = points(3, 40, 2)
    order = farthest_points(xyz, 15)
    for b in range(3):
        chosen = [0]
        while len(chosen) < 15:
            distances = ((xyz[b, :, None] - xyz[b, chosen][None]) ** 2).sum(-1).amin(1)
            chosen.append(int(distances.argmax()))
        assert order[b].tolist() == chosen
    assert farthest_points(xyz, 100).sort(-1).values.tolist() == [list(range(40))] * 3


def chosen_by_the_rule(xyz: torch.Tensor, count: int) -> list[int]:
    """One cloud [N, 3], each step written out in float32; the first of equals."""
    chosen, nearest_chosen = [0], np.full(len(xyz), np.inf, np.float32)
    while len(chosen) < min(count, len(xyz)):
        x, y, z = np.square(xyz.numpy() - xyz[chosen[-1]].numpy()).T
        nearest_chosen = np.minimum(nearest_chosen, (x + y) + z)
        chosen.append(int(np.flatnonzero(nearest_chosen == nearest_chosen.max())[0]))
    return chosen


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3), count=st.integers(1, 30), wanted=st.integers(1, 40),
    lattice=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_the_loop_of_a_graph_takes_the_steps_of_the_rule(
    batch: int, count: int, wanted: int, lattice: bool, seed: int
) -> None:
    xyz = clouds_with_equal_distances(batch, count, seed) if lattice else points(batch, count, seed).float()
    found = farthest_points(xyz, wanted)
    assert found.tolist() == [chosen_by_the_rule(cloud, wanted) for cloud in xyz]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.compiler, "is_exporting", lambda: True)
        assert torch.equal(farthest_points(xyz, wanted), found)


@pytest.mark.parametrize(("count", "size"), [(20, 50), (50, 20), (1, 5), (3, 1)])
def test_a_graph_finds_them_for_any_batch(count: int, size: int) -> None:
    program = graph_of(count, size).module()
    for batch in (1, 2, 7):
        for xyz in (points(batch, size, 5).float(), clouds_with_equal_distances(batch, size, 6)):
            assert torch.equal(program(xyz), farthest_points(xyz, count))


def test_a_graph_does_not_grow_with_the_number_of_centres() -> None:
    few, many = (
        sum(len(part.graph.nodes) for part in graph_of(count, 200).graph_module.modules() if hasattr(part, "graph"))
        for count in (3, 150)
    )
    assert few == many


def test_gather_rows_takes_each_cloud_its_own() -> None:
    x, index = points(3, 9, 4), torch.randint(0, 9, (3, 5, 2), generator=torch.Generator().manual_seed(0))
    expected = torch.stack([x[b][index[b]] for b in range(3)])
    assert torch.equal(gather_rows(x, index), expected)
