"""Texts that anybody with a client may have written: on tags, in an encoder's JSON, in a folder that was handed on."""

import json
import shutil

import pytest
from resealed import reseal
from typer.testing import CliRunner

from registry.champions.pending import all_versions
from registry.pull import load
from registry.versions.fetching import choose_bundle, fetch, pull_offline
from registry.versions.records import PREFIX, Decision, optional, receipt_of
from ssl_core.config import Config, parse_json
from ssl_core.errors import ConfigError, IntegrityError, RegistryError
from study.commands.cli import app

NAME = "cross-modal-points"
DEEP = "[" * 50_000
HUGE = "9" * 5000


@pytest.fixture
def version(store, bundles, lineage, trial):
    return store.register(bundles[0], NAME, lineage, trial)


@pytest.mark.parametrize("text", [DEEP, HUGE, f'{{"useful": 1{"0" * 400}}}', '{"useful": NaN}', "null", "\ud800"])
def test_no_tag_keeps_the_other_versions_from_being_read(store, version, home, monkeypatch, text):
    """One edited tag once ended every command that lists the registry."""
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    keys = ("evaluation", "decision", "receipt", "feature_dim", "trial", "event.2020-01-01T00:00:00", "judged.x")
    written = text.encode("ascii", "ignore").decode() or "?"  # MLflow stores no surrogates
    for key in keys:
        store.client.set_model_version_tag(NAME, "1", PREFIX + key, written)
    (found,) = store.list()
    assert found.reference == version.reference
    assert (found.evaluation, found.decision, found.receipt, found.feature_dim) == (None, None, None, 0)
    assert all_versions(store)[0].judgement("x") is None
    for words in (["models"], ["models", "--json"], ["lineage", f"{NAME}/1"], ["history", NAME]):
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 0, answer.exception
    assert receipt_of({f"{PREFIX}receipt": text}) is None
    assert optional(Decision, text) is None


@pytest.mark.parametrize("text", [DEEP, HUGE, "5", '{"MLmodel": 1}'])
def test_an_edited_list_of_digests_is_an_error_that_says_so(store, version, tmp_path, text):
    store.client.set_model_version_tag(NAME, "1", f"{PREFIX}serving", text)
    with pytest.raises(RegistryError, match=r"edited|is not the one that was registered"):
        fetch(store, version, tmp_path)


def _with(text: str, key: str, value: str) -> str:
    """A JSON object with one more entry, written as given."""
    return text.rstrip().removesuffix("}").rstrip() + f', "{key}": {value}}}'


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card: DEEP, "nested too deeply"),
        (lambda card: _with(card, "name", '"another"'), "given twice"),
        (lambda card: card.replace('"num_points": 64', '"num_points": NaN'), "NaN is no number"),
        (lambda card: card.replace('"num_points": 64', f'"num_points": {HUGE}'), "not valid JSON"),
        (lambda card: "[]", "valid dictionary"),
        (lambda card: card.replace('"name": "tiny-points"', '"name": ["' + "x" * 10**6 + '"]'), "'name'"),
        (lambda card: card.encode("utf-16").decode("latin-1"), "not valid JSON"),
    ],
)
def test_a_card_that_cannot_be_read_one_way_only_is_refused(bundles, tmp_path, change, says):
    folder = shutil.copytree(bundles[0], tmp_path / "given")
    text = change((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(text)
    reseal(folder)
    with pytest.raises(RegistryError, match=says) as told:
        load(folder)
    assert len(str(told.value)) < 2000


def test_a_list_of_checksums_is_read_one_way_only(bundles, tmp_path):
    folder = shutil.copytree(bundles[0], tmp_path / "given")
    sums = (folder / "checksums.json").read_text()
    for text in (DEEP, _with(sums, "encoder.json", '"0"'), "7"):
        (folder / "checksums.json").write_text(text)
        with pytest.raises(IntegrityError, match="pull the encoder again"):
            load(folder)


def test_a_link_in_a_handed_on_folder_leads_nowhere(bundles, tmp_path):
    """Copied with the encoder, a model card that is a link would bring along whatever it points to."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    folder = shutil.copytree(bundles[0], tmp_path / "given")
    (folder / "model_card.md").symlink_to(secret)
    with pytest.raises(IntegrityError, match="a link"):
        pull_offline(folder, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    (folder / "model_card.md").unlink()
    assert choose_bundle(folder) == folder


def test_every_command_about_the_registry_speaks_json_and_names_what_there_is(version, home, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    reference = version.reference
    for words in (
        ["models"],
        ["models", NAME],
        ["history", NAME],
        ["lineage", reference],
        ["lineage", "--study", "a-study"],
        ["lineage", "--pack", "feed"],
        ["pull", reference, "--to", str(tmp_path / "pulled")],
        ["promote", reference, "--reason", "[/x]"],
    ):
        answer = CliRunner().invoke(app, [*words, "--json"])
        assert answer.exit_code == 0, answer.exception
        assert NAME in answer.stdout or "feed" in answer.stdout
        json.loads(answer.stdout)
    assert "[/x]" in CliRunner().invoke(app, ["history", NAME]).stdout
    for words in (["models"], ["history"], ["rollback", "--reason", "x"]):
        answer = CliRunner().invoke(app, [words[0], "crossmodal", *words[1:]])
        assert isinstance(answer.exception, RegistryError)
        assert f"there are {NAME}" in str(answer.exception)


def test_json_of_others_is_an_error_or_a_value():
    class Small(Config):
        a: int = 0

    for text in (DEEP, "{", HUGE):
        with pytest.raises(ValueError, match=r".") as told:
            parse_json(text)
        assert not isinstance(told.value, RecursionError)
    for text in ("[1]", "5", "null", '"a"'):
        with pytest.raises(ConfigError, match="expected keys and values"):
            Small.from_json(text)
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    assert json.dumps(parse_json("[NaN]")) == "[NaN]"
    for text in ('{"a": 1, "a": 2}', "[NaN]", "[-Infinity]"):
        with pytest.raises(ValueError, match=r"twice|no number"):
            parse_json(text, strict=True)
    assert Small.from_json('{"a": 1}') == Small(a=1)
