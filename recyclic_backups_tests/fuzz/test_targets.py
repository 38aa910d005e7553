"""Every fuzzed reader on its seeds, on findings of the past, and on a few random edits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recyclic_backups_tests.fuzz.targets import survives, targets

TARGETS = targets()

FINDINGS: dict[str, list[bytes]] = {
    # Fields beside the HMAC, which covers everything but the object it stands in.
    "signed_document": [
        TARGETS["signed_document"].seeds[0].replace(b'"hmac_sha256"', b'"late": false, "hmac_sha256"')
    ],
    # More digits than we keep; and values of the wrong kind, found by reading the code beside it.
    "check": [
        TARGETS["check"].seeds[0].replace(b'"duration_seconds": 0.0', b'"duration_seconds": 0.55555'),
        TARGETS["check"].seeds[0].replace(b'"duration_seconds": 0.0', b'"duration_seconds": "soon"'),
        TARGETS["check"].seeds[0].replace(b'"duration_seconds": 0.0', b'"duration_seconds": 1' + b"0" * 400),
        TARGETS["check"].seeds[0].replace(b'"reasons": []', b'"reasons": 5'),
    ],
}
"""What the fuzzer found, by target: fixed, and tried again for ever."""


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_reader_accepts_its_seeds_or_answers_with_one_of_our_errors(name: str) -> None:
    """Loss prevented: one broken file, and the command that would list the others ends in a traceback."""
    for data in (*TARGETS[name].seeds, *FINDINGS.get(name, ())):
        survives(TARGETS[name], data)


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(TARGETS)))
def test_an_edited_seed_is_read_or_refused_and_never_a_surprise(data: st.DataObject, name: str) -> None:
    """Loss prevented: damage that takes the program down instead of being named."""
    seed = bytearray(data.draw(st.sampled_from(TARGETS[name].seeds)))
    for _ in range(data.draw(st.integers(0, 4))):
        if seed:
            seed[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(seed)))
    survives(TARGETS[name], bytes(seed[:cut]))
    survives(TARGETS[name], bytes(seed))
