"""Conversions between text, codes and one-hot arrays agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.data.sequences import decode, encode, from_one_hot
from motifk8s.errors import InputError


def same_length(alphabet: str) -> st.SearchStrategy[list[str]]:
    """Lists of 1 to 6 texts of one length."""
    return st.integers(1, 12).flatmap(
        lambda n: st.lists(st.text(alphabet, min_size=n, max_size=n), min_size=1, max_size=6)
    )


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Return (N, L, 4), all zeros for code 4."""
    return np.eye(5, 4)[codes]


def test_encode_knows_each_base() -> None:
    codes = encode(["ACGTN", "acgtn", "TTRY-"])
    assert codes.dtype == np.uint8
    assert codes.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [3, 3, 4, 4, 4]]


def test_one_string_is_a_list_of_one() -> None:
    assert encode("GAT").tolist() == [[2, 0, 3]]
    assert decode(np.array([2, 0, 3])) == ["GAT"]


def test_a_letter_outside_ascii_is_one_unknown_base() -> None:
    assert encode("AéC").tolist() == [[0, 4, 1]]


def test_nothing() -> None:
    assert encode([]).shape == (0, 0)
    assert decode(encode([])) == []


@given(same_length("ACGTN"))
def test_decode_undoes_encode(sequences: list[str]) -> None:
    assert decode(encode(sequences)) == sequences


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="sequence 2 has 3 bp, the others before it 4"):
        encode(["ACGT", "ACGT", "ACG"])


@given(same_length("ACGTN"), st.sampled_from(["f4", "f8", "u1", "i8", "?"]))
def test_from_one_hot_undoes_one_hot(sequences: list[str], dtype: str) -> None:
    codes = encode(sequences)
    channels_first = one_hot(codes).astype(dtype).transpose(0, 2, 1)
    assert np.array_equal(from_one_hot(channels_first), codes)
    assert from_one_hot(channels_first).dtype == np.uint8
    if codes.shape[1] != 4:  # (N, 4, 4) counts as channels first.
        assert np.array_equal(from_one_hot(one_hot(codes).astype(dtype)), codes)


@pytest.mark.parametrize(
    "value, values",
    [
        (np.nan, "A C G T = nan, 1, 0, 0"),
        (0.5, "A C G T = 0.5, 1, 0, 0"),
        (-1, "A C G T = -1, 1, 0, 0"),
        (1, "A C G T = 1, 1, 0, 0"),
        (np.inf, "A C G T = inf, 1, 0, 0"),
    ],
)
def test_the_error_names_what_is_not_one_hot(value: float, values: str) -> None:
    x = one_hot(encode(["ACGTAC", "GGGCGG"])).transpose(0, 2, 1)
    x[1, 0, 3] = value
    with pytest.raises(InputError, match=f"sequence 1, position 3 is not one-hot .{values}"):
        from_one_hot(x)
    with pytest.raises(InputError, match="sequence 101, position 3"):
        from_one_hot(x, first=100)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 5, 6), (2, 4, 6, 1)])
def test_shapes_without_four_channels_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must have shape \(N, 4, L\) or \(N, L, 4\)"):
        from_one_hot(np.zeros(shape))
