"""What a fit with channels costs in memory, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GAUSSIANS, SIDE, LIMIT = 20_000, 128, 2 * 1024**3
CHILD = """
import json, resource, sys
import numpy as np
import torch
from ssl_core.render.densify import DensifyConfig
from ssl_core.render.scene_fit import Fit, FitViews
from ssl_core.render.scene_fit_config import SceneFitConfig
from ssl_core.scenes.cameras import Camera, ScenePoints, intrinsics, look_at

torch.set_num_threads(1)
count, channels, side = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
walls, axis = rng.uniform(-1, 1, (count, 3)), rng.integers(0, 3, count)
walls[np.arange(count), axis] = np.sign(walls[np.arange(count), axis])
points = ScenePoints(walls * (2, 1.5, 1.25), rng.integers(0, 256, (count, 3), dtype=np.uint8))
corners = [(x, y) for x in (1.5, -1.5) for y in (1, -1)]
cameras = [Camera(look_at([x, y, 0], [-x, -y, -0.2]), intrinsics(side, 75), side, side) for x, y in corners]
views = FitViews([rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in cameras], cameras)
fit = Fit(SceneFitConfig(iterations=100, densify=DensifyConfig(enabled=False)), views, points, channels=channels)
targets = [torch.rand(side, side, channels) for _ in cameras]
before = fit.channels.detach().clone()
fit.advance(4, lambda view, rendered: (rendered - targets[view]).abs().mean())
learnt = float((fit.channels - before).abs().sum())
print(json.dumps({"bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "learnt": learnt}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 64, 512])
def test_a_room_of_twenty_thousand_gaussians_is_fitted_within_two_gibibytes(channels: int) -> None:
    command = [sys.executable, "-c", CHILD, *map(str, (GAUSSIANS, channels, SIDE))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["learnt"] > 0
    assert found["bytes"] < LIMIT
