"""Shuffles keep dinucleotides, ends and unknown bases, and are uniform otherwise."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motifk8s.data import shuffle
from motifk8s.data.sequences import decode, encode
from motifk8s.data.shuffle import dinucleotide_shuffle


def pairs(text: str) -> Counter[str]:
    return Counter(a + b for a, b in itertools.pairwise(text))


def same_pairs(text: str) -> set[str]:
    """Return all sequences with the same dinucleotides and ends, by trying all orders."""
    middles = set(itertools.permutations(text[1:-1]))
    found = {text[0] + "".join(middle) + text[-1] for middle in middles}
    return {other for other in found if pairs(other) == pairs(text)}


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 40).flatmap(
        lambda n: st.lists(st.text("ACGTN", min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    st.integers(0, 2**40),
)
def test_pairs_ends_and_unknown_bases_are_kept(texts: list[str], seed: int) -> None:
    codes = encode(texts)
    before = codes.copy()
    shuffled = decode(dinucleotide_shuffle(codes, seed))
    assert (codes == before).all()
    for old, new in zip(texts, shuffled, strict=True):
        assert pairs(new) == pairs(old)
        assert (new[:1], new[-1:]) == (old[:1], old[-1:])
        assert [i for i, c in enumerate(new) if c == "N"] == [
            i for i, c in enumerate(old) if c == "N"
        ]
        for a, b in zip(old.split("N"), new.split("N"), strict=True):
            assert pairs(a) == pairs(b)


# The third text returns to A only from T, so random orders of its edges rarely make a walk.
@pytest.mark.parametrize(
    "text", ["ACGATCAGA", "AACCAACA", "AAACCCTTTAGA", "CATCACTTC", "ACAGATAAC"]
)
def test_every_result_is_equally_likely(text: str) -> None:
    possible = same_pairs(text)
    assert len(possible) > 3
    n = 400 * len(possible)
    seen = Counter(decode(dinucleotide_shuffle(np.repeat(encode(text), n, axis=0), seed=3)))
    assert set(seen) == possible
    # Chi-square with k - 1 degrees of freedom: mean k - 1, variance 2 (k - 1).
    k = len(possible)
    chi2 = sum((count - 400) ** 2 / 400 for count in seen.values())
    assert chi2 < k - 1 + 5 * np.sqrt(2 * (k - 1))


def test_a_sequence_with_one_walk_stays_and_needs_no_more_time() -> None:
    text = "A" * 300 + "C" * 300 + "G" * 300 + "T" * 300
    begin = time.perf_counter()
    assert decode(dinucleotide_shuffle(encode([text] * 50), 1)) == [text] * 50
    assert time.perf_counter() - begin < 5


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(1).integers(0, 4, (50, 101), np.uint8)
    first = dinucleotide_shuffle(codes, 5)
    assert (first == dinucleotide_shuffle(codes, 5)).all()
    assert (first != dinucleotide_shuffle(codes, 6)).any(axis=1).all()
    assert (first != codes).mean() > 0.5
    # Equal sequences get independent shuffles.
    assert len(set(decode(dinucleotide_shuffle(codes[:1].repeat(20, axis=0), 5)))) == 20
    # The result is the same on all platforms and with all versions of numpy.
    assert decode(dinucleotide_shuffle(encode("ACGTTGCAACGGTATTCAGC"), 1)) == [
        "AGTTAACGCATCACGTTGGC"
    ]
    monkeypatch.setattr(shuffle, "BLOCK", 300)  # two or three sequences at a time
    blocks = dinucleotide_shuffle(codes, 5)
    assert [pairs(t) for t in decode(blocks)] == [pairs(t) for t in decode(codes)]


def test_it_is_fast_enough() -> None:
    codes = np.random.default_rng(1).integers(0, 4, (30_000, 101), np.uint8)
    begin = time.perf_counter()
    dinucleotide_shuffle(codes, 1)
    assert time.perf_counter() - begin < 20  # about one on an idle machine
