"""What every card must do, whatever it describes."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from registry.versions.model_card import describe_version, render_card
from registry.versions.records import Lineage, card_tags, kind_of
from registry.versions.upload import EXAMPLE, write_mlmodel
from ssl_core.models.bundle import add_onnx, check_sound, load_bundle, read_card, save_bundle
from ssl_core.models.cards import Card, CardKind
from ssl_core.models.onnx_export import check_onnx, missing_libraries
from ssl_core.models.program import check_program
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from tests.contracts.cards import CARDS, ONE_OF_EACH, QUICK_OF_EACH

torch.set_num_threads(1)
every_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
one_of_each = pytest.mark.parametrize("card", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
in_every_form = pytest.mark.parametrize("card", QUICK_OF_EACH)
LINEAGE = Lineage(study="s", trial=3, run_id="r", seed=1, recipe="cross_modal")
READER: TypeAdapter[Card] = TypeAdapter(Card)


def test_the_kit_has_every_kind() -> None:
    members = get_args(get_args(Card)[0])
    kinds = {get_args(member.model_fields["kind"].annotation)[0] for member in members}
    assert kinds == {card.kind for card in ONE_OF_EACH.values()} == set(get_args(CardKind))


@every_card
def test_the_seed_decides_the_weights_and_no_global_generator(card: Card) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (card.build(seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_card
def test_an_example_has_the_card_s_shape_and_so_has_what_comes_out(card: Card) -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(card.example(3), card.example(3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert card.example(3).shape == (3, *card.input_shape)
    assert card.example(3).dtype == torch.float32
    with torch.no_grad():
        outputs = card.build(0).eval()(card.example(3))
    assert outputs.shape == (3, *card.output_shape)
    assert torch.isfinite(outputs).all()


@every_card
def test_it_survives_json_and_refuses_what_it_does_not_know(card: Card) -> None:
    values = json.loads(card.to_json())
    assert READER.validate_python(values) == card
    for wrong in ({**values, "colour": 1}, {**values, "kind": "hologram"}):
        with pytest.raises(ValidationError):
            READER.validate_python(wrong)


@every_card
def test_it_describes_itself_to_a_person(card: Card) -> None:
    text = card.describe()
    assert dict(card.settings())["kind"] == card.kind
    assert all(value != "" for value in (text.title, text.network, text.does, text.purpose, text.takes, text.reads))
    sample = eval(text.sample, {"torch": torch})
    assert sample.shape == (4, *card.input_shape)
    page = render_card("a-model", card, LINEAGE)
    for part in (text.does, text.takes, text.method, *text.limits, "Not evaluated yet.", "study s, trial 3"):
        assert part in page
    assert text.title in describe_version(card, LINEAGE, "found")


def test_a_page_says_whose_labels_a_teacher_had() -> None:
    said = "label-free on your data, with an ImageNet-supervised teacher"
    pages = [
        render_card(
            "a-model", next(iter(CARDS.values())), LINEAGE.model_copy(update={"recipe": "r", "supervision": whose})
        )
        for whose in ("", MultiviewContrastConfig().supervision("points"))
    ]
    assert [said in page for page in pages] == [False, True]
    assert ["without labels" in page for page in pages] == [True, False]


@every_card
def test_tags_say_its_kind(card: Card) -> None:
    assert kind_of(card_tags(card)) == card.kind


@one_of_each
def test_the_signature_is_the_card_s(card: Card, tmp_path: Path) -> None:
    from mlflow.models import Model

    write_mlmodel(tmp_path, card, model_id="m-0", run_id="0" * 32)
    made = Model.load(str(tmp_path))
    assert made.flavors["splatsweep"]["data"] == card.kind
    (given,), (got,) = made.signature.inputs.inputs, made.signature.outputs.inputs
    assert (given.name, given.shape, got.name, got.shape) == (
        card.input_name,
        (-1, *card.input_shape),
        card.output_name,
        (-1, *card.output_shape),
    )
    example = json.loads((tmp_path / EXAMPLE).read_text())
    torch.testing.assert_close(torch.tensor(example[card.input_name]), card.example(1), atol=1e-3, rtol=0)


@in_every_form
def test_a_bundle_gives_it_back_in_every_form(card: Card, tmp_path: Path) -> None:
    module = card.build(5)
    save_bundle(module, card, tmp_path / "b", name="x", lineage={"trial": "7"})
    read = read_card(tmp_path / "b")
    assert (read.card, read.name, read.lineage, read.format_version) == (card, "x", {"trial": "7"}, 2)
    check_sound(tmp_path / "b")
    loaded = load_bundle(tmp_path / "b")
    with torch.no_grad():
        assert torch.equal(loaded(card.example(2)), module.eval()(card.example(2)))
    check_program(loaded, card, tmp_path / "b" / "program.pt2")
    if not missing_libraries():
        check_onnx(loaded, card, add_onnx(tmp_path / "b"))
