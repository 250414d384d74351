"""Shared fixtures: real data beside the checkout, and a small data set with classes that can be told apart."""

import os
from pathlib import Path

import numpy as np
import pytest

from registry.tracking.network import keep_loopback_direct

keep_loopback_direct()  # servers of the tests
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# studies of tests evaluate in their own process and no more than the gate asks, unless a test says otherwise
os.environ.setdefault("SPLATSWEEP_EVALUATION_WORKERS", "1")
os.environ.setdefault("SPLATSWEEP_FINE_TUNING", "off")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
CLASSES = ("box", "disc", "rod")
LONGEST = (
    "test_journey.py",
    "test_mock_journey.py",
    "test_study.py",
    "test_crash_exact.py",
    "test_watch.py",
    "test_import_command.py",
)
"""Files that take a minute or so: begun first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; all else stays in its order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real meshes and Gaussian files; the tests that need them skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data beside the checkout ({SHARED_DATA.parent.name}/{SHARED_DATA.name})")
    return SHARED_DATA


def tiny_cloud(class_name: str, rng: np.random.Generator, count: int = 220):
    """A noisy box, disc or rod of Gaussians with some transparent floaters."""
    from ssl_core.gaussians.gaussian_cloud import GaussianCloud

    size = {"box": (1, 1, 1), "disc": (1, 1, 0.05), "rod": (0.1, 0.1, 1)}[class_name]
    xyz = rng.uniform(-1, 1, (count, 3)) * size * rng.uniform(0.8, 1.25, 3) + rng.normal(0, 0.02, (count, 3))
    return GaussianCloud(
        xyz=xyz.astype(np.float32),
        opacity_logits=np.where(rng.random(count) < 0.1, -4.0, rng.uniform(0.5, 4, count)).astype(np.float32),
        log_scales=rng.normal(-3, 0.3, (count, 3)).astype(np.float32),
        quaternions=rng.normal(size=(count, 4)).astype(np.float32),
        sh_dc=rng.normal(size=(count, 3)).astype(np.float32),
        sh_rest=rng.normal(0, 0.1, (count, 15, 3)).astype(np.float32),
    )


def tiny_image(class_name: str, rng: np.random.Generator, size: int = 24) -> np.ndarray:
    """A noisy image whose colour depends on the class, somewhat."""
    base = np.full((size, size, 3), 255, dtype=np.float64)
    low, high = sorted(rng.integers(2, size - 2, 2))
    base[low : high + 2, 4:-4] = {"box": (200, 60, 60), "disc": (60, 200, 60), "rod": (60, 60, 200)}[class_name]
    return np.clip(base + rng.normal(0, 25, base.shape), 0, 255).astype(np.uint8)


def write_tiny_set(root: Path, *, train: int = 8, test: int = 3, views: int = 4, seed: int = 0) -> Path:
    """A three-class data set in the cross-modal reference's layout: root/points, root/images."""
    from ssl_core.files.image_files import write_image
    from ssl_core.gaussians.ply import write_gaussian_ply
    from ssl_core.packing.layout import ply_path, view_path

    rng = np.random.default_rng(seed)
    for class_name in CLASSES:
        for split, count in (("train", train), ("test", test)):
            for i in range(count):
                name = f"{class_name}_{i:04d}"
                ply = ply_path(root / "points", class_name, split, name)
                ply.parent.mkdir(parents=True, exist_ok=True)
                write_gaussian_ply(ply, tiny_cloud(class_name, rng))
                for view in range(views):
                    file = view_path(root / "images", class_name, split, name, view)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_image(file, tiny_image(class_name, rng))
    return root


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory) -> Path:
    """The data set on disk; tests copy it before changing it."""
    return write_tiny_set(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_pack(tiny_set, tmp_path_factory):
    """Its pack."""
    from ssl_core.data.object_pack import PackConfig
    from ssl_core.packing.pack_writer import write_pack

    out = tmp_path_factory.mktemp("packs") / "tiny"
    return write_pack(tiny_set / "points", tiny_set / "images", out, PackConfig(cached_points=128, starts=3))


@pytest.fixture
def tiny_config():
    """A cross-modal config that trains an epoch of the tiny pack in well under a second."""
    from ssl_core.config import override
    from ssl_core.recipes.cross_modal.config import quick

    return override(
        quick(),
        {
            "points.num_points": 64,
            "image.image_size": 24,
            "training.epochs": 3,
            "training.batch_size": 6,
            "validation.label_draws": 3,
            "validation.labels_per_class": 2,
            "validation.views": 2,
        },
    )
