"""Space files and values that look like YAML and are traps: each is refused in a sentence that names the place."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_config import Toy, toy_preset

from search_spaces.space import SearchSpace, load_space
from ssl_core.config import override, parse_assignment, validated
from ssl_core.errors import ConfigError, SpaceError, SplatsweepError
from ssl_core.yaml_text import LIMIT, parse_yaml

HEAD = "recipe: toy\npreset: quick\n"
GOOD = "space:\n  beta: {log: [0.3, 10]}\n"


def load(folder: Path, text: str, overrides: dict[str, Any] | None = None) -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(path, toy_preset, overrides)


def laughs(depth: int) -> str:
    """Nine times nine times nine ..., in a line."""
    lists = (f"&a{i} [{','.join(['x' if i == 0 else f'*a{i - 1}'] * 9)}]" for i in range(depth))
    return f"[{', '.join(lists)}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "base: {1: 2}\n" + GOOD, r"line 3: a key must be plain text \(write '1' in quotes\)"),
        (HEAD + "base: {on: 2}\n" + GOOD, r"line 3: .*'on' in quotes"),
        (HEAD + "base: {? [a] : 2}\n" + GOOD, "line 3: a key must be plain text"),
        (HEAD + "space: {epochs: {choice: [!!int abc]}}", "line 3: 'abc' cannot be read as int"),
        (HEAD + "space: {epochs: {choice: [!!bool abc]}}", "line 3: 'abc' cannot be read as bool"),
        (HEAD + 'space: {epochs: {choice: [!!int ""]}}', "line 3: '' cannot be read as int"),
        (HEAD + "space: !!map 3", "line 3: '3' cannot be read as map"),
        (HEAD + "space: {points.features: {choice: [!!set {xyz}]}}", "could not determine a constructor"),
        (HEAD + "space: {beta: {choice: [!!timestamp 2024-01-01]}}", "could not determine a constructor"),
        (HEAD + "space: {beta: !!python/object/apply:os.getcwd []}", "could not determine a constructor"),
        (HEAD + "space: {points.features: {choice: &a [*a]}}", "line 3: a value holds itself"),
        (HEAD + f"space: {{points.features: {{choice: {laughs(9)}}}}}", "line 3: its aliases stand for more than"),
        (HEAD + f"base: {'{a: ' * 3000}1{'}' * 3000}\n" + GOOD, "nested too deeply"),
        (HEAD + f"space: {{epochs: {{int: [1, {10**400}]}}}}", "line 3: a number of 401 digits is too large"),
        (HEAD + f"space: {{epochs: {{int: [1, {'9' * 5000}]}}}}", "line 3: '9999.* cannot be read as int"),
        (HEAD + f"space: {{epochs: {{int: [1, {2**60}]}}}}", "'epochs': the range .* is too wide"),
        (HEAD + "space: {beta: {float: [-1.7e308, 1.7e308]}}", "'beta': the range .* is too wide"),
        (HEAD + "space: {beta: {float: [0, 1], step: 1e-300}}", "'beta': step 1e-300 is too small"),
        (HEAD + "space: {points.features: {choice: [[.nan]]}}", "'points.features': choice .* is not finite"),
        (HEAD + "space: {points.features: {choice: [2024-13-45]}}", "'points.features': '2024-13-45' is refused"),
        (HEAD + "base: {optimizer: {kind: sgd}, optimizer.lr: 1}\n" + GOOD, "'optimizer.lr' lies within 'optimizer'"),
        (
            HEAD + "space: {optimizer: {choice: [{kind: adam}]}, optimizer.kind: {choice: [adam, sgd]}}",
            "'optimizer.kind' lies within 'optimizer', which is searched as a whole",
        ),
        (
            HEAD + "space: {optimizer.momentum: {float: [0, 0.9], when: {optimizer.kind: sgd}}}",
            "nothing is left to search: no condition ever holds, as that of 'optimizer.momentum'",
        ),
        (HEAD + "base: {epochs: true}\n" + GOOD, "section 'base': Toy: 'epochs' needs a number, not true or false"),
        (HEAD + "space: {epochs: {choice: [2, true]}}", "'epochs': True is refused"),
    ],
)
def test_a_trap_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "space.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_set_from_outside_is_not_hidden_by_a_searched_whole(tmp_path: Path) -> None:
    text = HEAD + "space: {optimizer: {choice: [{kind: adam}, {kind: sgd}]}, beta: {log: [1, 2]}}"
    assert load(tmp_path, text).configure({"optimizer": {"kind": "sgd"}}).to_json()
    with pytest.raises(SpaceError, match=r"'optimizer.lr' lies within 'optimizer'"):
        load(tmp_path, text, {"optimizer.lr": 0.1})


def test_what_people_mean_by_numbers_and_anchors(tmp_path: Path) -> None:
    values = parse_yaml("[1e-4, 1E3, 1.E1, .5e1, -2.5e-1, 1e+2, 2024-01-01, 3, true, ~, x]")
    assert values == [1e-4, 1e3, 10.0, 5.0, -0.25, 100.0, "2024-01-01", 3, True, None, "x"]
    assert parse_yaml("a: &x {k: 1}\nb: {<<: *x, l: 2}") == {"a": {"k": 1}, "b": {"k": 1, "l": 2}}
    assert parse_yaml("") is None
    shared = load(tmp_path, HEAD + "space: {beta: {log: &r [1, 2]}, margin: {float: *r}}")
    assert [p.key for p in shared.parameters] == ["beta", "margin"]


def test_aliases_count_as_what_they_stand_for() -> None:
    within = parse_yaml(laughs(4))
    assert len(within[3]) == 9
    assert sum(len(str(part)) for part in within) < 20 * LIMIT
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml(laughs(6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=2024-13-45", None),
        ("a=&x [*x]", "the value of 'a' cannot be read: line 1: a value holds itself"),
        ("a=!!int b", "the value of 'a' cannot be read: line 1: 'b' cannot be read as int"),
        ("a={b: 1", "the value of 'a' cannot be read: not valid YAML"),
        ("a=" + "[" * 3000 + "]" * 3000, "the value of 'a' cannot be read: .*nested too deeply"),
        ("=3", "is not an assignment"),
    ],
)
def test_values_set_on_the_command_line(text: str, message: str | None) -> None:
    if message is None:
        assert parse_assignment(text) == ("a", "2024-13-45")
        return
    with pytest.raises(ConfigError, match=message):
        parse_assignment(text)


def test_a_value_of_the_command_line_is_what_a_file_makes_of_it() -> None:
    assert parse_assignment("beta=1e-3") == ("beta", 1e-3)
    assert parse_assignment("beta=1e1") == ("beta", 10.0)


KEYS = [
    "points", "points.features", "points.num_points", "optimizer", "optimizer.kind", "optimizer.lr", "optimizer.eps",
    "optimizer.momentum", "beta", "epochs", "heavy",
]  # fmt: skip
ODD = st.sampled_from(
    [None, True, 3, 0.5, "x", "sgd", [], {}, [1], {"kind": "sgd"}, {"kind": None}, float("nan"), 10**400, {"a": {}}]
)


@settings(max_examples=200, deadline=None)
@given(values=st.dictionaries(st.sampled_from(KEYS), ODD, max_size=4))
def test_no_combination_of_keys_raises_anything_else(values: dict[str, Any]) -> None:
    try:
        config = override(Toy(), values)
    except SplatsweepError:
        return
    for key, value in values.items():
        node: Any = config.model_dump()
        for part in key.split("."):
            node = node[part]
        if not isinstance(value, (list, dict)):
            assert node == value, "a value that was set did not arrive"


def test_true_is_no_number_wherever_it_stands() -> None:
    with pytest.raises(ConfigError, match=r"'points.num_points' needs a number"):
        validated(Toy, {"points": {"num_points": True}})
    assert validated(Toy, {"heavy": True}).heavy
