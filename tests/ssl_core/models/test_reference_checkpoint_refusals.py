"""What is not wholly a checkpoint of the cross-modal reference is refused in one line that says why."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ssl_core.config import validated
from ssl_core.contracts import FEATURE_WIDTH
from ssl_core.errors import ConfigError
from ssl_core.models.reference_checkpoint import COLUMN_ORDER, ReferenceImport, import_reference_checkpoint
from tests.ssl_core.models.reference_checkpoints import FUSION, IMAGE, POINTS, SHAPES, random_checkpoint, saved

SMALL = {"image_size": 32}


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    return random_checkpoint()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("refused")


def refusal(file: Path, **values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        import_reference_checkpoint(file, validated(ReferenceImport, {**SMALL, **values}))
    text = str(caught.value)
    assert "\n" not in text
    assert file.name in text
    return text


def changed(checkpoint: dict[str, Any], part: str, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    state = dict(checkpoint[part])
    change(state)
    return {**checkpoint, part: state}


def test_another_network_is_named(checkpoint: dict[str, Any], scratch: Path) -> None:
    file = saved(checkpoint, scratch / "pointnet.pth")
    assert "pass --model pointnet_cls" in refusal(file, model="pointnet2_cls_msg")
    file = saved(random_checkpoint("pointnet2_cls_msg"), scratch / "pointnet2.pth")
    assert "pass --model pointnet2_cls_msg" in refusal(file, model="pointnet_cls")


@pytest.mark.parametrize(("model", "first"), [("pointnet_cls", "[64, 10, 1]"), ("pointnet2_cls_msg", "[32, 10, 1, 1]")])
def test_other_columns_are_refused_with_the_shape_and_the_remedy(model: str, first: str, scratch: Path) -> None:
    text = refusal(saved(random_checkpoint(model, 10), scratch / "ten.pth"), model=model)
    assert f"is {first}, for 10 columns" in text
    assert "features xyz have 3; pass --features xyz,scale,rotation" in text


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (POINTS, lambda s: s.pop("feat.stn.fc3.bias"), "missing: feat.stn.fc3.bias"),
        (POINTS, lambda s: s.update({"feat.conv4.weight": torch.zeros(2)}), "unknown: feat.conv4.weight"),
        (POINTS, lambda s: s.update({"fc9.weight": torch.zeros(2)}), "unknown: fc9.weight"),
        (
            POINTS,
            lambda s: s.update({"feat.conv3.weight": torch.zeros(1024, 128, 1)}),
            "misshapen: feat.conv3.weight [1024, 128, 1] for [512, 128, 1]",
        ),
        (IMAGE, lambda s: s.pop("layer4.1.bn2.running_var"), "missing: layer4.1.bn2.running_var"),
        (FUSION, lambda s: s.update({"fc3.weight": torch.zeros(2)}), "unknown: fc3.weight"),
        (IMAGE, lambda s: s.update({"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}), "'conv1.weight' holds NaN"),
        (POINTS, lambda s: s.update({"feat.bn1.running_mean": torch.full((64,), torch.inf)}), "infinity"),
        (POINTS, lambda s: s.update({"feat.bn1.bias": torch.zeros(64).to_sparse()}), "not a dense tensor"),
        (FUSION, lambda s: s.update({"fc1.bias": 3.0}), "expected a state dict"),
        (FUSION, lambda s: s.clear(), "expected a state dict"),
    ],
)
def test_a_tensor_without_a_place_is_named(
    checkpoint: dict[str, Any], scratch: Path, part: str, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    text = refusal(saved(changed(checkpoint, part, change), scratch / "odd.pth"))
    assert said in text
    assert part in text


def test_parts_that_lack_or_are_not_known(checkpoint: dict[str, Any], scratch: Path) -> None:
    without = {key: value for key, value in checkpoint.items() if key != IMAGE}
    assert f"no {IMAGE}" in refusal(saved(without, scratch / "part.pth"))
    assert "teacher_state_dict" in refusal(saved({**checkpoint, "teacher_state_dict": {}}, scratch / "more.pth"))
    assert "--model resnet18" in refusal(saved(checkpoint[IMAGE], scratch / "plain.pth"))
    assert "expected a dictionary" in refusal(saved([1, 2], scratch / "list.pth"))
    assert "no pointnet_state_dict" in refusal(saved({}, scratch / "empty.pth"))


class Command:
    """What an ill-meant pickle holds."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("should-not-exist"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_no_data(checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = saved(checkpoint, tmp_path / "whole.pth").read_bytes()
    contents = {
        "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 95700000\n", "git lfs pull"),
        "cut.pth": (whole[: len(whole) // 2], "cannot be read"),
        "text.pth": (b"not weights", "refused"),
        "empty.pth": (b"", "cannot be read"),
        "text.safetensors": (b"not weights", "cannot be read"),
        "evil.pth": (pickle.dumps({**checkpoint, "epoch": Command()}), "refused|cannot be read"),
    }
    for name, (content, said) in contents.items():
        (tmp_path / name).write_bytes(content)
        text = refusal(tmp_path / name)
        assert any(word in text for word in said.split("|")), text
    torch.save({**checkpoint, "epoch": Command()}, tmp_path / "zip.pth")
    assert "refused" in refusal(tmp_path / "zip.pth")
    assert not (tmp_path / "should-not-exist").exists()
    assert "no such file" in refusal(tmp_path / "absent.pth")
    safetensors.torch.save_file(checkpoint[FUSION], tmp_path / "fusion.safetensors")
    assert "not a checkpoint" in refusal(tmp_path / "fusion.safetensors")


GROUPS = list(FEATURE_WIDTH)


@given(st.lists(st.sampled_from(GROUPS), max_size=6))
def test_only_the_references_columns_in_its_order(features: list[str]) -> None:
    allowed = (
        features == [group for group in COLUMN_ORDER if group in features]
        and features[:1] == ["xyz"]
        and ("scale" in features) == ("rotation" in features)
    )
    if allowed:
        assert list(validated(ReferenceImport, {"features": features}).points.features) == features
    else:
        with pytest.raises(ConfigError, match="not columns of the reference"):
            validated(ReferenceImport, {"features": features})


@pytest.mark.slow
@given(st.sampled_from(sorted(SHAPES["pointnet D=3"])), st.booleans())
@hypothesis_settings(max_examples=25, deadline=None)
def test_no_tensor_can_be_dropped_or_renamed(name: str, renamed: bool) -> None:
    import tempfile

    state = random_checkpoint()
    tensor = state[POINTS].pop(name)
    if renamed:
        state[POINTS][f"{name}_"] = tensor
    with tempfile.TemporaryDirectory() as folder:
        assert name in refusal(saved(state, Path(folder) / "one.pth"))
