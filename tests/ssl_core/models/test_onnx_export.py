"""ONNX: equal to the live encoder under onnxruntime, or refused."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.contracts import PointsContract
from ssl_core.errors import MissingDependencyError, RegistryError, StorageError
from ssl_core.models import onnx_export
from ssl_core.models.build import Encoder
from ssl_core.models.bundle import CHECKSUMS, ONNX, add_onnx, load_bundle, save_bundle, verify_checksums
from ssl_core.models.cards import PointEncoderCard
from ssl_core.models.neighbours import ball_query, farthest_points, squared_distances
from ssl_core.models.onnx_export import check_onnx, export_onnx, first_reached
from ssl_core.models.pointnet import PointNetConfig
from tests.ssl_core.models.search_graph import clouds_with_equal_distances, graph_of

torch.set_num_threads(1)
PLAIN = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)
CARD = PointEncoderCard(contract=PointsContract(num_points=16), backbone=PLAIN)
needs_onnx = pytest.mark.skipif(bool(onnx_export.missing_libraries()), reason="onnx, onnxscript, onnxruntime")


def encoder(seed: int = 0) -> Encoder:
    return CARD.build(seed).eval()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "bundle"
    save_bundle(encoder(), CARD, folder, name="points", lineage={})
    return folder


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(1, 3), points=st.integers(1, 40), count=st.integers(1, 40), seed=st.integers(0, 999))
def test_the_scatter_equals_the_search(batch: int, points: int, count: int, seed: int) -> None:
    inside = torch.rand(batch, 5, points, generator=torch.Generator().manual_seed(seed)) < 0.3
    found = inside.cumsum(-1, dtype=torch.int32)
    wanted = torch.arange(1, count + 1, dtype=torch.int32).expand(batch, 5, count).contiguous()
    assert torch.equal(first_reached(found, wanted), torch.searchsorted(found, wanted))


def test_a_ball_query_is_the_same_by_either(monkeypatch) -> None:
    x = PointsContract(num_points=50).example(3)
    distances = squared_distances(x[:, :10], x)
    usual = ball_query(distances, 0.4, 8)
    monkeypatch.setattr(torch, "searchsorted", first_reached)
    assert torch.equal(ball_query(distances, 0.4, 8), usual)


@needs_onnx
@pytest.mark.parametrize(("count", "points"), [(40, 60), (60, 40)], ids=["some points", "all points"])
def test_the_search_of_centres_is_a_loop_that_finds_the_same_points(count: int, points: int, tmp_path: Path) -> None:
    """Exactly, where many points are equally far and where none are."""
    with torch.no_grad():
        made = torch.onnx.export(graph_of(count, points), dynamo=True, opset_version=onnx_export.OPSET)
    assert [node.op_type for node in made.model_proto.graph.node].count("Loop") == 1
    assert len(made.model_proto.graph.node) < 20
    made.save(tmp_path / ONNX)
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / ONNX, providers=["CPUExecutionProvider"])
    for seed in range(30):
        spread = torch.rand(7, points, 3, generator=torch.Generator().manual_seed(seed))
        for xyz in (spread, clouds_with_equal_distances(1 + seed % 3, points, seed)):
            (found,) = session.run(None, {session.get_inputs()[0].name: xyz.numpy()})
            assert torch.equal(torch.from_numpy(found), farthest_points(xyz, count))


@needs_onnx
def test_a_bundle_is_completed_once_and_stays_whole(bundle: Path) -> None:
    before = json.loads((bundle / CHECKSUMS).read_text())
    file = add_onnx(bundle)
    verify_checksums(bundle)
    sums = json.loads((bundle / CHECKSUMS).read_text())
    assert sums.keys() - before.keys() == {ONNX}
    stamp = file.stat().st_mtime_ns
    assert add_onnx(bundle).stat().st_mtime_ns == stamp
    check_onnx(load_bundle(bundle), CARD, file)
    assert str(Path(__file__).resolve().parents[3]).encode() not in file.read_bytes(), "our paths stay at home"
    assert not [path for path in bundle.iterdir() if path.name.startswith(".")]


@needs_onnx
def test_another_encoders_file_is_found(bundle: Path) -> None:
    add_onnx(bundle)
    with pytest.raises(RegistryError, match="differs from the model"):
        check_onnx(encoder(seed=1), CARD, bundle / ONNX)


@needs_onnx
def test_a_bundle_saved_again_loses_the_old_file(bundle: Path) -> None:
    add_onnx(bundle)
    save_bundle(encoder(), CARD, bundle, name="points", lineage={})
    assert not (bundle / ONNX).exists()
    verify_checksums(bundle)


@needs_onnx
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    broken = encoder()
    with torch.no_grad():
        broken.backbone.pooled.linear.weight.fill_(float("nan"))
    with pytest.raises(RegistryError, match="not finite"):
        export_onnx(broken, CARD, tmp_path / ONNX)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        export_onnx(encoder(), CARD, tmp_path / "file" / ONNX)


@needs_onnx
def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ONNX).write_bytes(b"nonsense")
    with pytest.raises(RegistryError, match="onnxruntime cannot read it"):
        check_onnx(encoder(), CARD, tmp_path / ONNX)


def test_missing_libraries_are_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_export, "NEEDED", ("onnx_of_no_kind",))
    with pytest.raises(MissingDependencyError, match="onnx_of_no_kind"):
        export_onnx(encoder(), CARD, tmp_path / ONNX)
