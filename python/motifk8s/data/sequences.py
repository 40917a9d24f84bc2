"""Convert DNA between text, base codes and one-hot arrays: A C G T = 0 1 2 3, unknown = 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from motifk8s.errors import InputError, one_line

ALPHABET = "ACGTN"
LETTERS = b"ACGTNRYSWKMBDHVacgtnryswkmbdhv"  # bases and IUPAC's ambiguity codes
UNKNOWN = 4
SHARE_ERROR = 0.005  # of a share, which may be rounded, as 0.33


def encode(sequences: str | Sequence[str]) -> np.ndarray:
    """Convert text to base codes (N, L) uint8; any letter but A C G T in either case is 4.

    One string counts as a list of one. Sequences of different lengths raise InputError.
    """
    if isinstance(sequences, str):
        sequences = [sequences]
    lengths = np.array([len(sequence) for sequence in sequences], int)
    if len(lengths) and (odd := np.flatnonzero(lengths != lengths[0])).size:
        raise InputError(
            f"sequence {odd[0]} has {lengths[odd[0]]} bp, the others before it {lengths[0]}; "
            "all lengths must be equal"
        )
    table = np.full(256, UNKNOWN, np.uint8)
    for code, base in enumerate("ACGT"):
        table[[ord(base), ord(base.lower())]] = code
    text = "".join(sequences).encode("ascii", "replace")
    length = lengths[0] if len(lengths) else 0
    return table[np.frombuffer(text, np.uint8)].reshape(len(lengths), length)


def bad_letter(strange: bytes, line: bytes, where: str) -> InputError:
    """Return the error about the first letter that is not DNA.

    `strange` has the bytes of `line` that are not in `LETTERS`.
    """
    column = line.index(strange[:1])
    letter = line.decode("utf-8", "replace")[column]
    if letter in "Uu":
        hint = "this is RNA; write T for U"
    elif letter in "-.":
        hint = "a gap; give sequences that are not aligned"
    else:
        hint = "sequences are DNA: A C G T, N or IUPAC's other letters"
    return InputError(f"{where}, column {column + 1}: {letter!r} is not a base; {hint}")


def as_codes(sequences: Any) -> np.ndarray:
    """Convert sequences in any of their forms to base codes (N, L) uint8.

    Parameters
    ----------
    sequences : str, or sequence or array of str; or (N, L); or (N, L, 4) or (N, 4, L)
        Text in either case, where IUPAC's ambiguity codes count as N; or integers, the base codes
        0 to 4; or one-hot, as for `from_one_hot`.

    Raises
    ------
    InputError
        If there is no sequence, lengths differ, a letter is not DNA (U of RNA), a code is above 4,
        or the values have another type or shape.
    """
    if isinstance(sequences, str):
        sequences = [sequences]
    try:
        array = np.asarray(sequences if hasattr(sequences, "__array__") else list(sequences))
    except (TypeError, ValueError, RuntimeError) as error:  # not iterable, ragged, a torch.Tensor
        raise InputError(f"sequences: cannot be read as an array ({one_line(error)})") from None
    if not len(array.shape) or not array.size:
        raise InputError("sequences: there are none; give at least one")
    if array.ndim == 1 and array.dtype.kind in "UOT":
        return _encode_checked(array.tolist())
    if array.ndim == 2 and array.dtype.kind in "iu":
        if array.min() < 0 or array.max() > UNKNOWN:
            raise InputError(
                f"sequences: codes range from {array.min()} to {array.max()}, but must be 0 to "
                f"{UNKNOWN} (A C G T N)"
            )
        return array.astype(np.uint8, copy=False)
    if array.ndim == 3 and array.dtype.kind in "biuf":
        return from_one_hot(array)
    raise InputError(
        "sequences: expected strings, base codes (N, L) of integers, or one-hot (N, L, 4), not "
        f"{array.dtype} of shape {array.shape}"
    )


def _encode_checked(texts: list[Any]) -> np.ndarray:
    """Encode text as `encode`, but refuse letters that are not DNA."""
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            shown = "empty" if text == "" else f"of type {type(text).__name__}"
            raise InputError(f"sequence {i} is {shown}; expected text such as 'ACGTN'")
        line = text.encode("utf-8", "replace")
        if strange := line.translate(None, LETTERS):
            raise bad_letter(strange, line, f"sequence {i}")
    return encode(texts)


def decode(codes: np.ndarray) -> list[str]:
    """Convert base codes (N, L), or (L,) for one sequence, to text; 4 becomes N."""
    letters = np.frombuffer(ALPHABET.encode(), np.uint8)[np.atleast_2d(codes)]
    return [row.tobytes().decode() for row in letters]


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Convert base codes (N, L) to one-hot (N, L, 4) float32; code 4 (the base N) gives zeros."""
    return np.eye(UNKNOWN + 1, 4, dtype=np.float32)[codes]


def from_one_hot(x: np.ndarray, first: int = 0) -> np.ndarray:
    """Convert one-hot sequences to base codes (N, L) uint8; an unknown or ambiguous base is 4.

    Such a base is all zeros, or two to four channels share 1 equally, e.g. 0.25 each for N. Raise
    InputError if no axis has four channels, or a position is none of these and has not one 1.

    Parameters
    ----------
    x : (N, 4, L) or (N, L, 4)
        Any numeric type, channels A C G T. (N, 4, 4) counts as (N, 4, L).
    first : int
        Number of the first row in error messages, if `x` is a block of a larger array.
    """
    x = np.asarray(x)
    if x.ndim != 3 or 4 not in x.shape[1:]:
        raise InputError(f"one-hot sequences must have shape (N, 4, L) or (N, L, 4), not {x.shape}")
    channels = x if x.shape[1] == 4 else x.transpose(0, 2, 1)  # (N, 4, L)
    one = channels == 1
    ones = one.sum(axis=1, dtype=np.uint8)  # (N, L)
    zeros = (channels == 0).sum(axis=1, dtype=np.uint8)
    wrong = (ones > 1) | (ones + zeros < 4)
    if wrong.any():
        odd = channels.transpose(0, 2, 1)[wrong].astype(float)  # (M, 4)
        wrong[wrong] = ~_shared(odd)
    if wrong.any():
        row, position = np.argwhere(wrong)[0]
        values = ", ".join(f"{value:g}" for value in channels[row, :, position].astype(float))
        raise InputError(
            f"sequence {first + row}, position {position} is not one-hot (A C G T = {values}); "
            "expected zeros with at most one 1, or equal shares of 1 for an ambiguous base"
        )
    codes = np.where(ones == 0, np.uint8(UNKNOWN), np.uint8(0))
    for code in (1, 2, 3):
        codes += one[:, code] * np.uint8(code)
    return codes


def _shared(channels: np.ndarray) -> np.ndarray:
    """Return which positions (M,) of (M, 4) share 1 equally among two or more channels."""
    number = (channels != 0).sum(axis=1, keepdims=True)
    shares = np.where(channels != 0, 1 / np.maximum(number, 1), 0)
    return (number[:, 0] > 1) & (abs(channels - shares) < SHARE_ERROR).all(axis=1)
