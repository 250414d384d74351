"""The slow twin of the fit of scenes: every Gaussian at every pixel, one tensor a parameter, automatic gradients.

Written from Kerbl et al. 2023 and the description of the authors' code and not from the code under test: the same
numbers at the same iterations, given the same start, order of views and draws for splits.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_core.render.spherical_harmonics import sh_colours
from ssl_core.scenes.cameras import Camera

GROUPS = ("xyz", "f_dc", "f_rest", "opacity", "scaling", "rotation")
PIXELS = 4096
"""Pixels that are computed at a time."""


class PlainFit:
    """`iterations` steps of 3DGS with the constants of the authors' code, each number written out.

    Args:
        start: parameters by the names of GROUPS.
        images: targets [H, W, 3] in [0, 1], with their cameras.
        order: view of each iteration.
        seed: of the draws of splits.
        every: iterations between densifications, `after` to `until`.
        reset: iterations between opacity resets.
        sh_every: iterations after which the degree grows.
    """

    def __init__(
        self, start: dict[str, Tensor], images: list[Tensor], cameras: list[Camera], order: list[int], seed: int = 0,
        *, every: int, after: float, until: float, reset: int, sh_every: int,
    ) -> None:  # fmt: skip
        self.p = {name: start[name].detach().clone().requires_grad_() for name in GROUPS}
        self.images, self.cameras, self.order, self.seed = images, cameras, order, seed
        self.every, self.after, self.until, self.reset, self.sh_every = every, after, until, reset, sh_every
        places = np.stack([camera.position for camera in cameras])
        self.extent = 1.1 * np.linalg.norm(places - places.mean(0), axis=1).max()
        rates = {"f_dc": 2.5e-3, "f_rest": 2.5e-3 / 20, "opacity": 0.05, "scaling": 5e-3, "rotation": 1e-3, "xyz": 0.0}
        self.rates = {name: float(np.float32(rate)) for name, rate in rates.items()}
        self.m = {name: torch.zeros_like(self.p[name]) for name in GROUPS}
        self.v = {name: torch.zeros_like(self.p[name]) for name in GROUPS}
        self.accumulated = self.seen = torch.zeros(len(self.p["xyz"]))
        self.losses: list[float] = []

    def run(self, iterations: int) -> None:
        for iteration in range(len(self.losses) + 1, len(self.losses) + iterations + 1):
            self._step(iteration)

    def draw(self, camera: Camera, degree: int = 3) -> tuple[Tensor, Tensor, Tensor]:
        """Image on black, the centres' pixels (a leaf of the gradient) and radii."""
        p = self.p
        view, K = torch.as_tensor(camera.viewmat).to(p["xyz"]), torch.as_tensor(camera.K).to(p["xyz"])
        t = p["xyz"] @ view[:3, :3].T + view[:3, 3]
        z = t[:, 2]
        near = (z > 0.2).nonzero()[:, 0]
        screen = torch.zeros(len(t), 2).to(t)
        mean = torch.stack([K[0, 0] * t[near, 0] / z[near] + K[0, 2], K[1, 1] * t[near, 1] / z[near] + K[1, 2]], 1)
        screen[near] = mean
        mean = screen[near]
        covariance = self._covariance(t, near, view, K, camera)
        opacity = p["opacity"][near, 0].sigmoid()
        sh = torch.cat([p["f_dc"], p["f_rest"]], dim=1)[near, : (degree + 1) ** 2]
        eye = torch.as_tensor(camera.position).to(t)
        colours = sh_colours(sh, p["xyz"][near], eye)
        image = _composite(mean, covariance, opacity, colours, z[near], camera)
        radii = torch.zeros(len(t))
        radii[near] = _radii(mean.detach(), covariance.detach(), camera).float()
        return image, screen, radii

    def _covariance(self, t: Tensor, near: Tensor, view: Tensor, K: Tensor, camera: Camera) -> Tensor:
        """[M, 2, 2] on the screen."""
        t = t[near]
        R = _rotations(self.p["rotation"][near])
        S = torch.diag_embed(self.p["scaling"][near].exp())
        sigma = R @ S @ S.mT @ R.mT
        z, zero = t[:, 2], torch.zeros_like(t[:, 2])
        limit = [1.3 * size / 2 / K[i, i] for i, size in enumerate((camera.width, camera.height))]
        x, y = (torch.clamp(t[:, i] / z, -limit[i], limit[i]) * z for i in (0, 1))
        rows = [
            torch.stack([K[0, 0] / z, zero, -K[0, 0] * x / z**2], 1),
            torch.stack([zero, K[1, 1] / z, -K[1, 1] * y / z**2], 1),
        ]
        JW = torch.stack(rows, 1) @ view[:3, :3]
        return JW @ sigma @ JW.mT + 0.3 * torch.eye(2).to(t)

    def _step(self, iteration: int) -> None:
        final, total = 1.6e-6, len(self.order)
        rate = math.exp(math.log(1.6e-4) * (1 - iteration / total) + math.log(final) * iteration / total)
        self.rates["xyz"] = float(np.float32(rate * self.extent))
        view = self.order[iteration - 1]
        image, screen, radii = self.draw(self.cameras[view], min(3, iteration // self.sh_every))
        screen.retain_grad()
        loss = 0.8 * (image - self.images[view]).abs().mean() + 0.2 * (1 - plain_ssim(image, self.images[view]))
        self.losses.append(loss.item())
        loss.backward()
        assert screen.grad is not None
        if iteration < self.until:
            height, width = image.shape[:2]
            length = (screen.grad * torch.tensor([width / 2, height / 2]).to(screen)).norm(dim=1)
            self.accumulated = self.accumulated + torch.where(radii > 0, length, 0)
            self.seen = self.seen + (radii > 0)
        self._adam(iteration)
        if iteration < self.until and iteration > self.after and iteration % self.every == 0:
            self._densify(iteration)
        if iteration < self.until and iteration % self.reset == 0:
            self._reset()

    def _adam(self, iteration: int) -> None:
        for name, value in self.p.items():
            gradient = value.grad if value.grad is not None else torch.zeros_like(value)
            self.m[name] = 0.9 * self.m[name] + 0.1 * gradient
            self.v[name] = 0.999 * self.v[name] + 0.001 * gradient**2
            mean, square = self.m[name] / (1 - 0.9**iteration), self.v[name] / (1 - 0.999**iteration)
            with torch.no_grad():
                value -= self.rates[name] * mean / (square.sqrt() + 1e-15)
            value.grad = None

    def _densify(self, iteration: int) -> None:
        with torch.no_grad():
            gradients = torch.nan_to_num(self.accumulated / self.seen)
            big = self.p["scaling"].exp().amax(1) > 0.01 * self.extent
            clone = (gradients >= 2e-4) & ~big
            split = (gradients >= 2e-4) & big
            parts = {name: torch.cat([self.p[name][split]] * 2) for name in GROUPS}
            noise = np.random.default_rng([self.seed, 2, iteration]).standard_normal((len(parts["xyz"]), 3))
            local = torch.as_tensor(noise).to(parts["xyz"]) * parts["scaling"].exp()
            parts["xyz"] = parts["xyz"] + torch.einsum("nij,nj->ni", _rotations(parts["rotation"]), local)
            parts["scaling"] = torch.log(parts["scaling"].exp() / 1.6)
            added = {name: torch.cat([self.p[name][clone], parts[name]]) for name in GROUPS}
            whole = {name: torch.cat([self.p[name], added[name]]) for name in GROUPS}
            gone = torch.cat([split, torch.zeros(len(added["xyz"]), dtype=torch.bool)])
            gone |= whole["opacity"][:, 0].sigmoid() < 0.005
            if iteration > self.reset:
                gone |= whole["scaling"].exp().amax(1) > 0.1 * self.extent
            self._replace(whole, gone)
        self.accumulated = self.seen = torch.zeros(len(self.p["xyz"]))

    def _replace(self, whole: dict[str, Tensor], gone: Tensor) -> None:
        for name, rows in whole.items():
            fresh = torch.zeros_like(rows[len(self.p[name]) :])
            self.m[name], self.v[name] = (torch.cat([each[name], fresh])[~gone] for each in (self.m, self.v))
            self.p[name] = rows[~gone].clone().requires_grad_()

    def _reset(self) -> None:
        with torch.no_grad():
            alpha = self.p["opacity"].sigmoid().clamp(max=0.01)
            self.p["opacity"].copy_(torch.log(alpha / (1 - alpha)))
        self.m["opacity"].zero_()
        self.v["opacity"].zero_()


def plain_ssim(image: Tensor, target: Tensor) -> Tensor:
    """The code that everybody uses: 11 x 11 window, sigma 1.5, zeros outside, as a convolution."""
    weights = torch.tensor([math.exp(-((x - 5) ** 2) / (2 * 1.5**2)) for x in range(11)], dtype=torch.float64).to(image)
    window = (weights / weights.sum())[:, None] @ (weights / weights.sum())[None]
    x, y = (picture.permute(2, 0, 1)[:, None] for picture in (image, target))

    def mean(planes: Tensor) -> Tensor:
        return F.conv2d(planes, window[None, None], padding=5)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return (((2 * mx * my + 1e-4) * (2 * cov + 9e-4)) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean()


def _rotations(quaternions: Tensor) -> Tensor:
    r, x, y, z = (quaternions / quaternions.norm(dim=1, keepdim=True)).unbind(1)
    R = torch.zeros(len(r), 3, 3).to(r)
    R[:, 0, 0], R[:, 0, 1], R[:, 0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - r * z), 2 * (x * z + r * y)
    R[:, 1, 0], R[:, 1, 1], R[:, 1, 2] = 2 * (x * y + r * z), 1 - 2 * (x * x + z * z), 2 * (y * z - r * x)
    R[:, 2, 0], R[:, 2, 1], R[:, 2, 2] = 2 * (x * z - r * y), 2 * (y * z + r * x), 1 - 2 * (x * x + y * y)
    return R


def _composite(
    mean: Tensor, covariance: Tensor, opacity: Tensor, colours: Tensor, depth: Tensor, camera: Camera
) -> Tensor:
    """[H, W, C] front to back, on black."""
    order = torch.argsort(depth.detach(), stable=True)
    mean, inverse, opacity, colours = mean[order], torch.linalg.inv(covariance[order]), opacity[order], colours[order]
    v, u = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    pixels = torch.stack([u, v], dim=-1).view(-1, 2).to(mean) + 0.5
    parts = []
    for some in pixels.split(PIXELS):
        d = some - mean[:, None]
        power = -0.5 * torch.einsum("npi,nij,npj->np", d, inverse, d)
        alpha = (opacity[:, None] * power.exp()).clamp(max=0.999)
        alpha = torch.where(alpha < 1 / 255, 0, alpha)
        after = torch.cumprod(1 - alpha, dim=0)
        before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
        weight = torch.where(after > 1e-4, alpha * before, 0)
        parts.append(weight.T @ colours)
    return torch.cat(parts).view(camera.height, camera.width, colours.shape[1])


def _radii(mean: Tensor, covariance: Tensor, camera: Camera) -> Tensor:
    """Three standard deviations of the longer axis; 0 where that square is off the screen."""
    determinant = covariance[:, 0, 0] * covariance[:, 1, 1] - covariance[:, 0, 1] ** 2
    middle = 0.5 * (covariance[:, 0, 0] + covariance[:, 1, 1])
    radius = torch.ceil(3 * torch.sqrt(middle + torch.sqrt(torch.clamp(middle**2 - determinant, min=0.1))))
    low, high = mean - radius[:, None], mean + radius[:, None]
    on = (high[:, 0] > 0) & (high[:, 1] > 0) & (low[:, 0] < camera.width) & (low[:, 1] < camera.height)
    return torch.where(on, radius, 0)
