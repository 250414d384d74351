"""The household set: whole objects, classes that vary and can be told apart, a set that can be continued."""

import numpy as np
import pytest

from ssl_core.errors import ConfigError, LayoutError
from ssl_core.files.image_files import read_image
from ssl_core.meshes.household import CLASSES, HouseholdConfig, household_cloud, household_mesh
from ssl_core.meshes.mesh import face_areas, sample_surface
from ssl_core.packing.layout import find_objects
from ssl_core.splatting.household_set import write_household
from tests.reference.gaussian_axes import normals
from tests.reference.gaussian_ply import read_gaussian_ply

SMALL = HouseholdConfig(train_per_class=2, test_per_class=1, views=3, image_size=32, gaussians=200)


@pytest.fixture(scope="module")
def household(tmp_path_factory):
    out = tmp_path_factory.mktemp("household")
    steps = []
    write_household(out, SMALL, lambda done, total: steps.append((done, total)))
    assert steps == [(i + 1, 30) for i in range(30)]
    return out


def contents(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("class_name", CLASSES)
def test_meshes_are_sound_and_vary(class_name):
    shapes = []
    for seed in range(12):
        mesh = household_mesh(class_name, np.random.default_rng(seed))
        assert np.isfinite(mesh.vertices).all()
        assert (face_areas(mesh) > 1e-7).all()
        assert 0 <= mesh.face_colours.min() <= mesh.face_colours.max() <= 1
        assert -0.05 < mesh.vertices[:, 2].min() < 0.5
        assert 0.2 < np.ptp(mesh.vertices, axis=0).max() < 4
        shapes.append((len(mesh.faces), *np.round(np.ptp(mesh.vertices, axis=0), 3), *mesh.face_colours[0]))
    assert len({shape[0] for shape in shapes}) >= 4, "part counts do not vary"
    assert len({shape[1:4] for shape in shapes}) == 12, "sizes do not vary"
    assert len({shape[4:] for shape in shapes}) >= 10, "colours do not vary"


def test_the_same_generator_gives_the_same_object():
    first, second = (household_mesh("desk", np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.vertices, second.vertices)
    a, b = (household_cloud(first, 50, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(a.sh_rest, b.sh_rest)


def test_an_unknown_class_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'dresser'"):
        household_mesh("dreser", np.random.default_rng(0))


def test_surface_gaussians_are_flat_on_their_faces():
    rng = np.random.default_rng(0)
    mesh = household_mesh("night_stand", rng).normalised()
    cloud = household_cloud(mesh, 1000, rng)
    alphas = cloud.alphas()
    floaters = alphas < 0.25
    assert 0.1 <= floaters.mean() < 0.12
    scales = np.sort(np.exp(cloud.log_scales[~floaters]), axis=1)
    assert np.median(scales[:, 0] / scales[:, 2]) < 0.2
    # Every surface Gaussian has its normal along that of a face and lies in that face's plane.
    a, b, c = np.moveaxis(mesh.triangles(), 1, 0)
    face_normals = np.cross(b - a, c - a)
    face_normals /= np.linalg.norm(face_normals, axis=1, keepdims=True)
    surface = cloud.select(np.flatnonzero(alphas > 0.5))
    along = np.abs(normals(surface) @ face_normals.T) > 0.999
    distance = np.abs(np.einsum("nfx,fx->nf", surface.xyz[:, None] - a, face_normals)) < 1e-4
    assert (along & distance).any(axis=1).mean() > 0.97
    assert len({int(axis) for axis in np.argmin(cloud.log_scales, axis=1)}) == 3
    norms = np.linalg.norm(cloud.quaternions, axis=1)
    assert norms.min() < 0.7 < 1.1 < norms.max()


def test_the_set_is_in_the_references_layout(household):
    objects, problems = find_objects(household / "points", household / "images")
    assert problems == []
    assert len(objects) == 30
    assert {found.class_name for found in objects} == set(CLASSES)
    for found in objects[::7]:
        assert len(read_gaussian_ply(found.gaussians)) == 200
        views = [read_image(view) for view in found.views]
        assert len(views) == 3
        for view in views:
            assert view.shape == (32, 32, 3)
            shown = (view < 250).any(axis=2).mean()
            assert 0.02 < shown < 0.9, "the object should fill a part of its picture"


def test_gaussians_and_views_show_the_same_object_frame(household):
    cloud = read_gaussian_ply(find_objects(household / "points", None)[0][0].gaussians)
    surface = cloud.xyz[cloud.alphas() > 0.5]
    assert 0.8 < np.linalg.norm(surface, axis=1).max() <= 1.001


def test_again_makes_nothing_and_mends_what_is_missing(household):
    before = contents(household)
    stamps = {file: file.stat().st_mtime_ns for file in household.rglob("*") if file.is_file()}
    write_household(household, SMALL)
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    found = find_objects(household / "points", household / "images")[0][3]
    found.gaussians.path.unlink()
    found.views[1].path.unlink()
    write_household(household, SMALL)
    assert contents(household) == before


def test_other_settings_are_refused_and_more_objects_are_added(household, tmp_path):
    with pytest.raises(LayoutError, match="other settings"):
        write_household(household, SMALL.model_copy(update={"seed": 1}))
    with pytest.raises(LayoutError, match="other settings"):
        write_household(household, SMALL.model_copy(update={"train_per_class": 1}))
    write_household(tmp_path, SMALL.model_copy(update={"train_per_class": 1}))
    write_household(tmp_path, SMALL)
    assert contents(tmp_path) == contents(household)


def test_classes_can_be_told_apart_but_not_trivially():
    """Nearest neighbours on a crude turn-free description of the surface: above chance, below perfect."""

    def describe(class_name: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, CLASSES.index(class_name)])
        points, _ = sample_surface(household_mesh(class_name, rng).normalised(), 400, rng)
        heights = np.histogram(points[:, 2], bins=8, range=(-1, 1))[0]
        radii = np.histogram(np.linalg.norm(points[:, :2], axis=1), bins=8, range=(0, 1))[0]
        return np.concatenate([heights, radii]) / len(points)

    train = np.array([[describe(name, seed) for seed in range(16)] for name in CLASSES])
    test = np.array([[describe(name, 1000 + seed) for seed in range(8)] for name in CLASSES])
    distance = np.linalg.norm(test[:, :, None, None] - train[None, None], axis=-1)
    nearest = distance.reshape(10, 8, -1).argmin(axis=2) // 16
    accuracy = (nearest == np.arange(10)[:, None]).mean()
    assert 0.4 < accuracy < 0.95
