"""The fuzzer over every reader, and whether it finds what it looks for."""

import sys

import pytest
from fuzz_engine import Findings, _Child, fuzz

EXPECTED = ["accepted", "refused", "crash", "hang", "memory", "unnamed", "wrong error", "unprintable", "death", "wrong"]


def verdict(found: Findings, show_counts) -> None:
    show_counts(found.table())
    assert not found.failures, "\n" + found.kinds()


def test_every_reader_survives_500_inputs(show_counts) -> None:
    found = fuzz(500, seed=1, workers=2)
    assert found.inputs >= 500
    verdict(found, show_counts)


@pytest.mark.slow
def test_every_reader_survives_20000_inputs(show_counts) -> None:
    found = fuzz(20_000, seed=0, workers=2)
    assert found.inputs >= 20_000
    verdict(found, show_counts)
    for target, counts in found.counts.items():  # neither all in nor all out: mutants reach beyond the first check
        assert counts["accepted"] > counts.total() // 50, target
        assert counts["refused"] > counts.total() // 50, target


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux only")
def test_planted_faults_are_found() -> None:
    child = _Child(0, ["planted"], script="planted_readers.py")
    try:
        outcomes = [child.run("planted", number)[0] for number in range(len(EXPECTED))]
    finally:
        child.stop()
    assert outcomes == EXPECTED


def test_an_input_is_known_by_its_number() -> None:
    from fuzz_child import input_of
    from fuzz_seeds import mesh_cases

    cases = mesh_cases()
    made = [input_of("meshes", number, 7, cases) for number in range(200)]
    assert made == [input_of("meshes", number, 7, cases) for number in range(200)]
    assert len({str(case) for case in made}) > 150
