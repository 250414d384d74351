"""The Chamfer distance against brute force, with its gradients."""

import torch

from ssl_core.losses.chamfer import chamfer, nearest_squared

torch.set_num_threads(1)


def clouds(points: int, seed: int) -> torch.Tensor:
    return torch.randn((3, points, 3), generator=torch.Generator().manual_seed(seed))


def test_it_is_brute_force_and_so_are_its_gradients():
    a, b = clouds(50, 0).requires_grad_(), clouds(70, 1).requires_grad_()
    apart = (a[:, :, None] - b[:, None]).square().sum(-1)
    there, back = nearest_squared(a, b)
    torch.testing.assert_close(there, apart.amin(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(back, apart.amin(1), atol=1e-6, rtol=0)
    plain = apart.amin(2).mean(1) + apart.amin(1).mean(1)
    torch.testing.assert_close(chamfer(a, b), plain, atol=1e-6, rtol=0)
    mine = torch.autograd.grad(chamfer(a, b).sum(), (a, b))
    torch.testing.assert_close(mine, torch.autograd.grad(plain.sum(), (a, b)), atol=1e-6, rtol=0)


def test_a_cloud_is_at_no_distance_from_itself_and_both_ways_count_alike():
    a, b = clouds(50, 2), clouds(60, 3)
    assert chamfer(a, a[:, torch.randperm(50, generator=torch.Generator().manual_seed(0))]).max() < 1e-6
    torch.testing.assert_close(chamfer(a, b), chamfer(b, a), atol=1e-6, rtol=0)
