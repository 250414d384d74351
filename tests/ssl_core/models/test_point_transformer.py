"""The point transformer: groups, attention against its written-out form, what it does not depend on."""

import pytest
import torch

from ssl_core.config import override
from ssl_core.contracts import PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import build_point_encoder
from ssl_core.models.point_transformer import PointTransformer, PointTransformerConfig, TransformerBlock

torch.set_num_threads(1)
SMALL = PointTransformerConfig(groups=6, neighbours=4, dim=16, layers=2, heads=2)


def network(config: PointTransformerConfig = SMALL) -> PointTransformer:
    torch.manual_seed(0)
    return PointTransformer(3, config).eval()


def cloud(points: int = 40) -> torch.Tensor:
    return torch.randn(2, points, 3, generator=torch.Generator().manual_seed(1))


def test_a_block_is_pre_norm_attention_and_mlp() -> None:
    torch.manual_seed(0)
    block, x = TransformerBlock(8, 2), torch.randn(3, 5, 8)
    normed = block.norm_1(x)
    query, key, value = (normed @ part.T for part in block.attend.weight.chunk(3))
    heads = []
    for start in (0, 4):
        q, k, v = (part[..., start : start + 4] for part in (query, key, value))
        heads.append(torch.softmax(q @ k.mT / 2.0, dim=-1) @ v)
    middle = x + block.mix(torch.cat(heads, dim=-1))
    wanted = middle + block.output(torch.nn.functional.gelu(block.hidden(block.norm_2(middle))))
    torch.testing.assert_close(block(x), wanted)


def test_centres_begin_farthest_from_the_origin_and_spread() -> None:
    x = cloud()
    centres, tokens = network().tokens(x)
    assert tokens.shape == (2, 6, 16)
    torch.testing.assert_close(centres[:, 0].norm(dim=-1), x.norm(dim=-1).amax(1))
    # each next centre is the point farthest from those before it
    for number in range(1, 6):
        distances = torch.cdist(x, centres[:, :number]).amin(-1)
        torch.testing.assert_close(
            distances.amax(1), torch.cdist(centres[:, number : number + 1], centres[:, :number]).amin(-1)[:, 0]
        )


def test_repeating_points_changes_nothing_as_long_as_groups_are_no_larger() -> None:
    """Groups of one point: a second copy of the cloud cannot enter them, nor become a centre."""
    alone = network(PointTransformerConfig(groups=6, neighbours=1, dim=16, layers=1, heads=2))
    x = cloud()
    torch.testing.assert_close(alone(torch.cat([x, x], dim=1)), alone(x))


def test_groups_are_relative_to_their_centre() -> None:
    """Without the embedded centres, a moved cloud whose first centre stays the farthest has the same tokens."""
    moved = network()
    for parameter in moved.position.parameters():
        parameter.data.zero_()
    x = cloud()
    farthest = x.gather(1, x.norm(dim=-1).argmax(1)[:, None, None].expand(-1, 1, 3))
    torch.testing.assert_close(moved(x + 0.5 * farthest), moved(x), rtol=1e-4, atol=1e-4)


def test_fewer_points_than_groups_or_neighbours_are_all_taken() -> None:
    centres, _ = network().tokens(cloud(3))
    assert centres.shape == (2, 3, 3)


def test_widths_and_kinds() -> None:
    assert SMALL.feature_dim == 32
    assert network(override(SMALL, {"pooling": "max"}))(cloud()).shape == (2, 16)
    with pytest.raises(ConfigError, match="no multiple of heads"):
        override(SMALL, {"heads": 3})
    encoder = build_point_encoder(PointsContract(features=("xyz", "opacity"), num_points=16), SMALL, seed=0)
    assert encoder(torch.randn(2, 16, 4)).shape == (2, 32)
