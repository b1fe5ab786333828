"""What a YAML file means: the core schema of YAML 1.2.2, unique keys, limits, and back again."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rl_serial.config import write_yaml
from rl_serial.loading import load_config
from rl_serial.yaml_core import MOST_CHARACTERS, MOST_NESTING, YAMLError, dump_yaml, load_yaml

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Example 10.9 of YAML 1.2.2, and the table of its section 10.3.2.
        *(
            ("", None),
            ("null", None),
            ("~", None),
            ("true", True),
            ("True", True),
            ("false", False),
        ),
        *(("0", 0), ("0o7", 7), ("0x3A", 58), ("-19", -19), ("0.", 0.0), ("-0.0", -0.0)),
        *((".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0), (".inf", math.inf)),
        *(("-.Inf", -math.inf), ("+.INF", math.inf)),
        # What YAML 1.1 takes for something else.
        *(("1e-4", 1e-4), ("010", 10), ("1:2", "1:2"), ("yes", "yes"), ("on", "on"), ("n", "n")),
        *(("2026-13-45", "2026-13-45"), ("2026-01-02", "2026-01-02"), ("0b1", "0b1"), ("=", "=")),
        *(("'1e-4'", "1e-4"), ('"null"', "null"), ("tRUE", "tRUE"), ("0o8", "0o8")),
        # Kept: digits in groups.
        *(("160_000", 160_000), ("1__0", "1__0"), ("_1", "_1")),
    ],
)
def test_words_mean_what_the_core_schema_says(text: str, value: object) -> None:
    for document, found in ((text, load_yaml(text)), (f"[{text}]", load_yaml(f"a: {text}")["a"])):
        assert found == value, document
        assert type(found) is type(value), document


def test_not_a_number() -> None:
    assert math.isnan(load_yaml(".nan"))


def test_an_alias_is_a_copy_and_merged_keys_give_way() -> None:
    read = load_yaml("a: &x {b: 1, c: {d: 2}}\ne: {c: 3, <<: *x}\nf: *x\ng: {<<: [{b: 4}, *x]}")
    assert read == {
        "a": {"b": 1, "c": {"d": 2}},
        "e": {"b": 1, "c": 3},
        "f": {"b": 1, "c": {"d": 2}},
        "g": {"b": 4, "c": {"d": 2}},
    }
    read["f"]["c"]["d"] = 9
    assert read["a"]["c"]["d"] == read["g"]["c"]["d"] == 2


LAUGHS = "a0: &a0 x\n" + "\n".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3", r"line 5: b\.c: there twice, first in line 3$"),
        ("a: {b: !!int abc}", r"line 1: a\.b: the tag .*int.*; tags are not read$"),
        ("a: !!python/object:os.system x", r"line 1: a: the tag .*; tags are not read$"),
        ("a: !!binary aGk=", r"line 1: a: the tag .*binary"),
        ("a: ! x", r"line 1: a: the tag '!'"),
        ("a:\n- 1\n- " + "9" * 5000, r"line 3: a\.1: 9{30}… \(5000 characters\): .*2\*\*63 - 1"),
        ("a: 9223372036854775808", r"line 1: a: 9223372036854775808: .*2\*\*63 - 1"),
        ("a: -1e999", r"line 1: a: -1e999: too large for a number"),
        ("a: " + "[" * 3000, rf"line 1: a\.0\.0: nested more than {MOST_NESTING} deep"),
        ("- " * 3000 + "1", rf"line 1: 0\.0\.0: nested more than {MOST_NESTING} deep"),
        ("{a: " * 25 + "1" + "}" * 25, rf"nested more than {MOST_NESTING} deep"),
        ("a: &x [*x]", r"line 1: a\.0: \*x names nothing before it, or what it is part of itself"),
        (LAUGHS, r"line 7: a6\.0: more than 100000 values"),
        ("1: a", r"line 1: the key 1 must be a text; in quotes it is one"),
        ("b: {null: a}", r"line 1: b: the key None must be a text"),
        ("? [a]\n: 1", r"line 1: a key must be a text"),
        ("a: {<<: 3}", r"line 1: a\.<<: must be keys with values"),
        ("a: 1\n---\nb: 2", r"line 2: a second document begins"),
        ("%YAML 1.1\n---\na: on", r"line 1: YAML 1\.1 is asked for"),
        ("a: 1\nb: [1", r"line 2: not YAML: expected ',' or '\]'"),
        ("a: 1\nb: \x07", r"line 2: not YAML: the character U\+0007"),
        ('a: "\\uD800"', r"line 1: a: holds half of a character"),
        ("x" * (MOST_CHARACTERS + 1), r"has 262145 characters; 262144 are the most"),
    ],
)
def test_what_is_refused_is_said_in_a_line_at_once(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(YAMLError, match=message) as caught:
        load_yaml(text)
    assert time.process_time() - started < 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_aliases_do_not_nest_deeper_than_lists() -> None:
    nested = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [[[[[*a{i - 1}]]]]]" for i in range(1, 6))])
    with pytest.raises(YAMLError, match=rf"nested more than {MOST_NESTING} deep"):
        load_yaml(nested)


HARD = (
    "on|1e-4|010|null||~|1:2|0o7|1_0|-.inf|<<|=|2026-01-02|true| x|x |a: b|# x|x\n|\n|\t|1e5|+1|- x"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(HARD.split("|"))
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False)
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)  # -0.0 is not 0.0


@given(DATA)
def test_what_is_written_is_read_back_the_same(data: Any) -> None:
    shared = {"a": data, "b": [data, data]}  # the same object thrice
    assert same(load_yaml(dump_yaml(shared)), shared)


def test_the_key_of_a_merge_is_a_key_when_it_was_written_as_one() -> None:
    assert load_yaml("{'<<': 1}") == {"<<": 1}


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("train/*.yaml")), ids=lambda file: file.stem)
def test_runs_are_written_as_they_were_before(file: Path) -> None:
    """Folders of earlier versions are compared with this text, PyYAML's own."""
    config = load_config(file)
    assert write_yaml(config) == yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
