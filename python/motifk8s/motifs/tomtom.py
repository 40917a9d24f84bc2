"""Compare motifs with a database of motifs, as the Tomtom program of MEME 4.12 does.

The options are ``-evalue -thresh E`` or ``-thresh Q`` and ``-dist ed`` or ``-dist pearson``, and
otherwise the program's defaults: complete scores, overlaps from 1, both strands, motif pseudocount
0.1. The code follows the papers:
Gupta et al. 2007, Genome Biol 8:R24; Tanaka et al. 2011, Bioinformatics 27:1603; Storey 2002,
J R Stat Soc B 64:479. Integer scores, ties, and rounding to single precision follow the program.
Three outputs of the program (600 hits) are reproduced digit for digit, q-values included. One
query of 19 bp against JASPAR 2016 takes about 7 ms on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.errors import InputError
from motifk8s.motifs.database import read_database_file, warn_of_repeated
from motifk8s.motifs.meme import RNA, MotifFile, read_background, read_meme_file
from motifk8s.motifs.motif import (
    DEFAULT_NSITES,
    UNIFORM,
    Motif,
    consensus,
    normalize,
    reverse_complement,
    without_zeros,
)
from motifk8s.store.files import refuse_inputs, write_text

COLUMNS = [
    "Query_ID",
    "Target_ID",
    "Optimal_offset",
    "p-value",
    "E-value",
    "q-value",
    "Overlap",
    "Query_consensus",
    "Target_consensus",
    "Orientation",
]
_NUMBERS = ["p-value", "E-value", "q-value"]
_PSEUDOCOUNT = 0.1  # sites added to each motif, spread by the background
_MEMORY = 2**32  # bytes that one array may take
_RANGE = 100  # largest range of the integer scores of a column
_NEVER = -1e4  # replaces log 0; its exp is 0
# The program's constants for the estimate of pi0 (Storey's lambda).
_LAMBDAS = 0.5 * np.arange(1, 101) / 100
_BOOTSTRAPS, _RESAMPLED, _FEWEST = 100, 1000, 100


def tomtom(
    queries: Sequence[Motif],
    targets: Sequence[Motif],
    evalue: float = 0.1,
    *,
    shares: tuple[np.ndarray, np.ndarray] = (UNIFORM, UNIFORM),
    strands: int = 2,
    q_values: bool = True,
    distance: str = "euclidean",
    qvalue: float | None = None,
) -> pd.DataFrame:
    """Compare motifs with a database of motifs.

    Parameters
    ----------
    queries, targets : sequences of Motif
        `nsites` weighs the pseudocount: p' = (p n + 0.1 b) / (n + 0.1), with n truncated to an
        integer.
    evalue : float
        Hits with E <= evalue are kept. E = p x number of targets.
    shares : pair of arrays (4,)
        The background b of queries and of targets.
    strands : 1 or 2
        1 compares with the targets as they are, as MEME does with RNA.
    q_values : bool
        False sets all q-values to NaN, which saves a fifth of the time; `qvalue` needs them.
    distance : {"euclidean", "pearson"}
        Of two columns: the Euclidean distance, or Pearson's correlation, the program's
        ``-dist pearson``.
    qvalue : float, optional
        Hits with q <= qvalue are kept, and `evalue` is not used.

    Returns
    -------
    DataFrame
        Columns: `COLUMNS`. At most one row per query and target, for the better strand, in the
        program's order: queries as given; then by p, larger overlap, strand (+ first), target id.
        Query position i is aligned with position i + Optimal_offset of the oriented target.
        p and E have single precision, as in the program; below about 1e-45 they are 0.

    Raises
    ------
    InputError
        If there is no target, `evalue` or `qvalue` is not a positive number, the distance is
        unknown, or a motif is too wide for the memory.

    Notes
    -----
    The background of p-values is the database: with fewer than 50 targets they are unreliable.
    q-values depend on the order of the queries, because the program draws all bootstrap samples
    from one random stream. With 100 or fewer p-values (50 targets) pi0 is 1.
    """
    for name, value in (("E-value", evalue), ("q-value", 1.0 if qvalue is None else qvalue)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} threshold: expected a positive number, got {value}")
    if distance not in _SIMILARITIES:
        known = " or ".join(map(repr, _SIMILARITIES))
        raise InputError(f"distance: expected {known}, got {distance!r}")
    if not targets:
        raise InputError("the database has no motif; give one with at least one motif")
    db = _prepare(targets, shares[1], strands)
    layout_of = cache(partial(_layout, widths=db.widths))
    stream = _random_stream() if q_values or qvalue is not None else None
    cutoff = _Cutoff(evalue, qvalue)
    similarity = _SIMILARITIES[distance]
    rows: list[tuple[Any, ...]] = []
    for query in queries:
        ppm = _with_pseudocount(query.ppm, query.nsites, shares[0])
        with _naming(query):
            layout = layout_of(len(ppm))
            found = _hits(ppm, db, layout, similarity, cutoff, stream)
            rows += [(query.name, *row) for row in found]
    kinds = dict.fromkeys(_NUMBERS, float) | {"Optimal_offset": int, "Overlap": int}
    return pd.DataFrame(rows, columns=COLUMNS).astype(kinds)  # types also for an empty table


class _Cutoff(NamedTuple):
    evalue: float
    qvalue: float | None  # if given, decides alone


@contextmanager
def _naming(query: Motif) -> Iterator[None]:
    """Name the motif in an error about its width."""
    try:
        yield
    except InputError as error:
        width = f"motif {query.name} of {len(query.ppm)} positions"
        raise InputError(f"{width}: {error}; use a narrower motif or database") from None


class _Database(NamedTuple):
    """T targets on S strands as M = ST motifs: motif Si is target i, the next its complement."""

    ids: list[str]  # T
    consensus: Callable[[int], str]  # from the number of a motif; cached
    columns: np.ndarray  # (4, n): all columns of all motifs
    strands: int  # S: 1 or 2
    widths: np.ndarray  # (M,)
    minus: np.ndarray  # (M,): True for a reverse complement
    rank: np.ndarray  # (M,): rank of the id in alphabetical order


def _prepare(targets: Sequence[Motif], share: np.ndarray, strands: int) -> _Database:
    lengths = [len(target.ppm) for target in targets]
    every = _with_pseudocount(
        np.concatenate([target.ppm for target in targets]),
        np.repeat([target.nsites for target in targets], lengths),
        share,
    )
    ppms: list[np.ndarray] = []
    for ppm in np.split(every, np.cumsum(lengths)[:-1]):
        ppms += [ppm, reverse_complement(ppm)][:strands]
    ids = [target.name for target in targets]
    rank = np.unique(np.array(ids), return_inverse=True)[1].repeat(strands)
    columns = np.ascontiguousarray(np.concatenate(ppms).T)
    minus = np.arange(len(ppms)) % strands == 1
    letters = cache(lambda i: consensus(ppms[i]))
    return _Database(ids, letters, columns, strands, np.repeat(lengths, strands), minus, rank)


def _with_pseudocount(ppm: np.ndarray, nsites: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    """Add the pseudocount to columns (n, 4) of motifs of `nsites` sites."""
    sites = np.trunc(np.where(np.asarray(nsites) > 0, nsites, DEFAULT_NSITES))[..., None]
    return (normalize(ppm) * sites + _PSEUDOCOUNT * share) / (sites + _PSEUDOCOUNT)


class _Layout(NamedTuple):
    """All N alignments of a query of width w with the M motifs, of K widths, of a database.

    All motifs form one row, each with w - 1 empty columns before it. If this row is shifted left
    by k, its first N places have the target column of query column k in each alignment.
    """

    place: np.ndarray  # (n,): place of each column in the row
    start: np.ndarray  # (M,): first alignment of each motif
    tie: np.ndarray  # (N,): larger for the better of alignments with equal scores
    size: int  # larger than any overlap or offset: `tie` is a number of two digits in this base
    which: np.ndarray  # (M,): index of each motif's width in the K widths
    row: np.ndarray  # (w, w): row in `counts` of query columns first..last; -1 without alignment
    counts: np.ndarray  # (R, K): alignments of these columns with a target of each width


def _layout(w: int, widths: np.ndarray) -> _Layout:
    room = widths + w - 1  # alignments of each motif
    start = np.cumsum(room) - room
    place = np.arange(widths.sum()) + (w - 1) * np.repeat(np.arange(1, len(widths) + 1), widths)
    offset = np.arange(room.sum()) - np.repeat(start, room) - (w - 1)
    overlap = np.minimum(w, np.repeat(widths, room) - offset) - np.maximum(0, -offset)
    size = int(room.max()) + 1
    distinct, which = np.unique(widths, return_inverse=True)
    counts = _span_counts(w, distinct)
    used = counts.any(axis=0)
    row = np.where(used, np.cumsum(used).reshape(w, w) - 1, -1)
    # Among equal scores the largest overlap is best, then the smallest offset.
    tie = overlap * size + (size - w - offset)
    return _Layout(place, start, tie, size, which, row, counts[:, used].T)


def _hits(
    ppm: np.ndarray,
    db: _Database,
    layout: _Layout,
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray],
    cutoff: _Cutoff,
    stream: np.random.MT19937 | None,
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one query without its name; q-values are NaN without a random stream."""
    n_targets = len(db.ids)
    _check_memory(len(ppm), db.columns.shape[1])
    scores = _integers(similarity(ppm, db.columns))
    largest = np.inf if stream else cutoff.evalue / n_targets
    p, offset, overlap = _compare(scores, db, layout, largest)
    e = (p.astype(np.float32) * np.float32(n_targets)).astype(np.float64)
    by_q = cutoff.qvalue is not None
    hits = np.arange(len(p)) if by_q else np.flatnonzero(e <= cutoff.evalue)
    hits = hits[np.lexsort((db.rank[hits], db.minus[hits], -overlap[hits], p[hits]))]
    q = _q_values(np.sort(p), stream, hits.size > 0) if stream else np.full(len(p), np.nan)
    if by_q:  # q rises with p
        hits = hits[q <= cutoff.qvalue]
    letters = consensus(ppm)
    seen = set()
    for place, i in enumerate(hits.tolist()):
        name = db.ids[i // db.strands]
        if name not in seen:  # the better strand comes first
            seen.add(name)
            numbers = (int(offset[i]), p[i], e[i], q[place], int(overlap[i]))
            yield name, *numbers, letters, db.consensus(i), "-" if db.minus[i] else "+"


def _compare(
    scores: np.ndarray, db: _Database, layout: _Layout, largest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute p-value, offset and overlap of a query's best alignment with each motif.

    The p-value is the probability of such a best score, over all alignments on both strands, with
    a random motif of the target's width: columns drawn from all columns of the database. A
    p-value above `largest` may be returned as 1.
    """
    best, offset, overlap = _best_alignments(scores, layout)
    # A higher score has a smaller p. Usually all p up to `largest` are in the best quarter.
    quarter = [np.sort(best)[len(best) * 3 // 4]] if largest < 1 else []
    for least in (*quarter, best.min()):
        wanted, at = np.unique(np.maximum(best, least), return_inverse=True)
        survival = _survival(scores, wanted, layout, db.strands)
        if survival[0].min() > largest * (1 + 1e-6):
            break
    # The program rounds p to single precision; E-values and the order of hits depend on it.
    p = survival[at, layout.which].astype(np.float32).astype(np.float64)
    return np.clip(p, 0.0, 1.0), offset, overlap


def _euclidean(query: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute minus the Euclidean distance of query columns (w, 4) and all columns: (w, n)."""
    w, n = len(query), columns.shape[1]
    result = np.empty((w, n))
    terms = np.empty((4, n))
    for row, letters in zip(result, query, strict=True):  # one row fits into the cache
        np.subtract(letters[:, None], columns, out=terms)
        np.multiply(terms, terms, out=terms)
        np.add(terms[0], terms[1], out=row)
        row += terms[2]
        row += terms[3]
        np.sqrt(row, out=row)
        np.negative(row, out=row)
    return result


def _pearson(query: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation of query columns (w, 4) and all columns: (w, n).

    The mean of a column is taken as 0.25. The correlation with a flat column is 0.
    """
    a, b = query - 0.25, columns - 0.25
    scales = np.outer(sum(a.T * a.T), sum(b * b))
    products = sum(np.outer(x, y) for x, y in zip(a.T, b, strict=True))
    roots = np.sqrt(scales)
    return np.divide(products, roots, out=np.zeros_like(roots), where=roots != 0)


_SIMILARITIES = {"euclidean": _euclidean, "pearson": _pearson}


def _integers(shifted: np.ndarray) -> np.ndarray:
    """Turn similarities (w, n), which are overwritten, into integer scores.

    A score is the similarity minus the median over all columns, so an unaligned query column scores
    0. One integer factor scales all scores to a range of at most 100.
    """
    w, n = shifted.shape
    for row in shifted:
        # With two strands n is even. The program takes the smaller middle value, or the mean of
        # the middle value and the next smaller one. Partitioning for both takes twice as long.
        first, second = max(n // 2 - 1, 0), max((n + 1) // 2 - 1, 0)
        parted = np.partition(row, first)
        row -= (parted[first] + parted[second:].min()) / 2
    large, small = shifted.max(), shifted.min()
    small = np.floor(small if small < large else large - 1)
    scale = np.floor(_RANGE / (large - small))
    scores = np.empty((w, n), np.int32)
    for row, score in zip(shifted, scores, strict=True):
        row -= small
        row *= scale
        row += 0.5
        score[:] = row
        score += np.int32(small * scale)
    return scores


def _best_alignments(
    scores: np.ndarray, layout: _Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute best score, its offset and overlap for each motif: arrays (M,)."""
    w, size = len(scores), layout.size
    row = np.zeros(len(layout.tie) + w - 1, dtype=np.int32)
    total = np.zeros(len(layout.tie), dtype=np.int32)
    for k in range(w):
        row[layout.place] = scores[k]
        total += row[k : k + len(total)]
    # Score, overlap and offset are one number, so one maximum finds the best alignment.
    best = np.maximum.reduceat(total.astype(np.int64) * size**2 + layout.tie, layout.start)
    return best // size**2, size - w - best % size, best // size % size


def _survival(scores: np.ndarray, wanted: np.ndarray, layout: _Layout, strands: int) -> np.ndarray:
    """Compute P(best score >= s) for the ascending S scores `wanted` and K target widths: (S, K).

    All alignments on both strands count as independent, so their distributions are multiplied.
    Tails are summed instead of 1 - cdf, so tiny p-values keep their digits.
    """
    w, n = scores.shape
    most = scores.max(axis=1)  # 0 or more, as the median is 0
    pmfs = [np.bincount(row - row.min()) / n for row in scores]
    above = int(max(most.sum(), wanted[-1]))  # the highest possible score
    # Distributions begin at the highest score, so a cumulative sum gives the tails.
    _check_memory(len(layout.counts), above - int(wanted[0]) + 1)
    tails = np.zeros((len(layout.counts), above - int(wanted[0]) + 1))
    for first in range(w):
        # Scores below these cannot reach a wanted score.
        kept = int(most[first:].sum() - wanted[0]) + 1
        if kept < 1:
            break
        pmf, top = np.ones(1), 0
        for last in range(first, w):
            # np.convolve with the reverse gives the same, but its call takes twice as long.
            pmf = np.correlate(pmf, pmfs[last], "full")[:kept]
            top += int(most[last])
            if (row := layout.row[first, last]) >= 0:
                span = tails[row, above - top :]
                span[: len(pmf)] = pmf[: len(span)]
    np.cumsum(tails, axis=1, out=tails)
    with np.errstate(divide="ignore"):  # log 0
        logs = np.maximum(np.log1p(-np.minimum(tails[:, above - wanted], 1.0)), _NEVER)
    return -np.expm1(strands * (logs.T @ layout.counts))


def _span_counts(w: int, widths: np.ndarray) -> np.ndarray:
    """Count the alignments (K, w, w) of query columns first..last with a target of each width."""
    _check_memory(len(widths), w, w)
    counts = np.zeros((len(widths), w, w))
    for i, width in enumerate(widths.tolist()):
        for offset in range(1 - w, width):
            counts[i, max(0, -offset), min(w, width - offset) - 1] += 1
    return counts


def _check_memory(*shape: int) -> None:
    """Raise InputError if an array of this shape takes too much memory."""
    size = math.prod(shape) * 8
    if size > _MEMORY:
        needs = f"{size / 2**30:.0f} GiB of memory, more than {_MEMORY / 2**30:.0f}"
        raise InputError(f"the comparison needs {needs}")


def _q_values(p: np.ndarray, stream: np.random.MT19937, needed: bool) -> np.ndarray:
    """Compute Storey's q-values of sorted p-values, of both strands of every target."""
    n = len(p)
    pi0 = 1.0
    if n > _FEWEST:
        draws = 2 * _BOOTSTRAPS * _RESAMPLED
        if needed:
            pi0 = _pi0(p, stream.random_raw(draws))
        else:  # the next query must use the same random numbers as in the program
            stream.random_raw(draws, output=False)
    q = np.minimum(pi0 * p * n / np.arange(1, n + 1), 1.0)
    return np.minimum.accumulate(q[::-1])[::-1]


def _pi0(p: np.ndarray, raw: np.ndarray) -> float:
    """Estimate the share of null p-values.

    Among Storey's estimates for 100 lambdas, this is the one whose bootstrap samples have the
    smallest mean square distance to the smallest estimate.
    """
    n, bins = len(p), len(_LAMBDAS) + 1

    def estimates(reached: np.ndarray) -> np.ndarray:
        """Compute the estimates (S, 100) of S samples from the lambdas that each p reaches."""
        samples, size = reached.shape
        cells = reached + bins * np.arange(samples)[:, None]
        counts = np.bincount(cells.ravel(), minlength=bins * samples).reshape(samples, bins)
        at_least = size - np.cumsum(counts, axis=1)[:, :-1]
        with np.errstate(divide="ignore"):
            return np.where(at_least > 0, at_least / ((1 - _LAMBDAS) * size), np.inf)

    reached = np.searchsorted(_LAMBDAS, p, side="right")  # how many lambdas are <= p
    uniform = ((raw[::2] << np.uint64(32)) | raw[1::2]) * 2.0**-64
    drawn = reached[(uniform * n).astype(np.intp)].reshape(_BOOTSTRAPS, _RESAMPLED)
    [plain] = estimates(reached[None])
    errors = ((estimates(drawn) - plain.min()) ** 2).sum(axis=0)
    return float(min(plain[np.argmin(errors)], 1.0))


def _random_stream() -> np.random.MT19937:
    """Make the program's Mersenne twister: not seeded, so with the default seed of 1998."""
    key = np.empty(624, dtype=np.uint32)
    value = 4357
    for i in range(len(key)):
        key[i] = value
        value = value * 69069 % 2**32
    stream = np.random.MT19937()
    stream.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": len(key)}}
    return stream


def to_tsv(hits: pd.DataFrame) -> str:
    """Format hits as in the program's tomtom.tsv: a header, tabs, numbers as %g."""
    lines = ["\t".join(COLUMNS)]
    for row in hits[COLUMNS].itertuples(index=False):
        cells = zip(COLUMNS, row, strict=True)
        lines.append("\t".join(f"{np.float32(v):g}" if c in _NUMBERS else str(v) for c, v in cells))
    return "\n".join(lines) + "\n"


def compare(
    queries: MotifFile,
    targets: MotifFile,
    evalue: float = 0.1,
    *,
    background: np.ndarray | None = None,
    distance: str = "euclidean",
    qvalue: float | None = None,
    names: tuple[str, str] = ("queries", "targets"),
) -> pd.DataFrame:
    """Compare the motifs of two MEME files, as `tomtom`.

    As in the program, the background of the queries spreads the pseudocount of queries and targets;
    that of the targets is not used. Motifs of RNA are compared on one strand, with motifs of RNA.

    Parameters
    ----------
    background : (4,), optional
        Letter frequencies to use instead, as the program's ``-bfile``.
    names : pair of str
        Of queries and targets, in error messages.

    Raises
    ------
    InputError
        If one file is of RNA and the other of DNA, or as for `tomtom`.
    """
    if targets.alphabet != queries.alphabet:
        raise InputError(
            f"{names[0]} has motifs of {queries.alphabet}, {names[1]} of {targets.alphabet}; to "
            "compare them, replace U by T in the alphabet and the background of the file of RNA"
        )
    # The program changes the frequencies of the query file once for the queries, and once more for
    # the targets.
    if background is None:
        first = without_zeros(queries.background)
        shares = first, without_zeros(first)
    else:
        shares = (without_zeros(background),) * 2
    rna = queries.alphabet == RNA
    hits = tomtom(
        queries.motifs,
        targets.motifs,
        evalue,
        shares=shares,
        strands=1 if rna else 2,
        distance=distance,
        qvalue=qvalue,
    )
    if rna:
        for column in ("Query_consensus", "Target_consensus"):
            hits[column] = hits[column].str.replace("T", "U")
    return hits


class Comparison(NamedTuple):
    """The result of `run_tomtom`."""

    hits: pd.DataFrame  # as of `tomtom`
    queries: int  # number of motifs that were compared


def run_tomtom(
    query: Path,
    database: str = "JASPAR2016",
    evalue: float = 0.1,
    out: Path | None = None,
    *,
    background: Path | None = None,
    distance: str = "euclidean",
    qvalue: float | None = None,
) -> Comparison:
    """Compare the motifs of a MEME file with a database, as `compare`; write the hits to `out`.

    Of motifs with one name the first is compared.

    Parameters
    ----------
    database : JASPAR release, or path or s3:// URL of a MEME file.
    out : TSV file, written completely or not at all.
    background : background file to use instead, as the program's ``-bfile``.
    distance, qvalue : as in `tomtom`.

    Raises
    ------
    InputError
        If a file cannot be read or written, `out` is one of the inputs, the release is unknown, or
        one file is of RNA and the other of DNA.
    """
    if out is not None:
        refuse_inputs([out], [path for path in (query, database, background) if path])
    file = read_meme_file(query, query=background is None)
    warn_of_repeated(query, file)
    hits = compare(
        file,
        read_database_file(database),
        evalue,
        background=None if background is None else read_background(background),
        distance=distance,
        qvalue=qvalue,
        names=(str(query), str(database)),
    )
    if out is not None:
        write_text(Path(out), to_tsv(hits))
    return Comparison(hits, len(file.motifs))
