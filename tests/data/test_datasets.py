"""Synthetic data follow the paper; files are read back unchanged; errors name the cause."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import resource
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motifk8s.data import datasets, files, reference, synthetic
from motifk8s.data.datasets import EMBEDDED, Dataset, describe, read, synthesize, write
from motifk8s.data.sequences import decode, encode
from motifk8s.errors import InputError, Problem
from motifk8s.study.specs import Synthetic
from motifk8s.study.study import load

TFS = {
    "Arid3a": ["MA0151.1", "MA0601.1"],
    "CEBPB": ["MA0466.2"],
    "FOSL1": ["MA0477.1"],
    "Gabpa": ["MA0062.2"],
    "MAFK": ["MA0496.1"],
    "MAX": ["MA0058.3"],
    "MEF2A": ["MA0052.3"],
    "NFYB": ["MA0502.1"],
    "SP1": ["MA0079.3"],
    "SRF": ["MA0083.3"],
    "STAT1": ["MA0137.3"],
    "YY1": ["MA0095.2"],
}
PAPER = Synthetic(kind="synthetic", classes=TFS)
SMALL = Synthetic(
    kind="synthetic",
    n_sequences=200,
    length=40,
    motifs_per_sequence=[1.0, 1.0],
    classes={"SRF": ["MA0083.3"], "MAX": ["MA0058.3"]},
)


def counts_by_base(identifier: str) -> np.ndarray:
    """Return JASPAR's counts (W, 4), independently of the code under test."""
    from pyjaspar import jaspardb

    counts = jaspardb(release="JASPAR2016").fetch_motif_by_id(identifier).counts
    return np.array([counts[base] for base in "ACGT"]).T


def close(observed: np.ndarray, expected: np.ndarray, trials: np.ndarray | float) -> bool:
    """Return whether all frequencies are within five binomial standard deviations, or one count."""
    sd = np.sqrt(expected * (1 - expected) / trials)
    return bool((np.abs(observed - expected) <= 5 * sd + 1 / trials).all())


def same(a: Dataset, b: Dataset) -> bool:
    """Return whether all content is equal, element by element."""
    arrays = zip((a.codes, a.labels, a.split), (b.codes, b.labels, b.split), strict=True)
    if (a.embedded is None) != (b.embedded is None) or a.classes != b.classes:
        return False
    if a.embedded is not None and not np.array_equal(a.embedded, b.embedded):
        return False
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays)


@pytest.fixture(scope="module")
def paper() -> Dataset:
    """The whole data set of the paper."""
    return synthesize(PAPER, 2019)


@pytest.fixture(scope="module")
def small() -> Dataset:
    """200 x 40 nt, two classes."""
    return synthesize(SMALL, 1)


@pytest.fixture
def saved(small: Dataset, tmp_path: Path) -> Path:
    """A file of our layout."""
    write(small, tmp_path / "data.h5", SMALL.model_dump())
    return tmp_path / "data.h5"


# -- the synthetic data ---------------------------------------------------------------------


def test_shapes_and_exact_split(paper: Dataset) -> None:
    assert paper.codes.shape == (25_000, 200) and paper.codes.dtype == np.uint8
    assert paper.labels.shape == (25_000, 12) and paper.labels.dtype == np.int8
    assert paper.codes.max() == 3
    assert np.bincount(paper.split).tolist() == [17_500, 2_500, 5_000]
    assert paper.classes == tuple(TFS)
    assert paper.embedded is not None and paper.embedded.dtype == EMBEDDED


def test_number_of_motifs_per_sequence(paper: Dataset) -> None:
    per_sequence = np.bincount(paper.embedded["sequence"], minlength=25_000)
    observed = np.bincount(per_sequence) / 25_000
    assert close(observed, np.array([0, 0.5, 0.25, 0.17, 0.05, 0.03]), 25_000)


def test_motifs_are_drawn_evenly_with_replacement(paper: Dataset) -> None:
    embedded = paper.embedded
    pwm = embedded["class"] * 2 + (embedded["strand"] < 0)
    assert close(np.bincount(pwm, minlength=24) / len(pwm), np.full(24, 1 / 24), len(pwm))
    assert set(np.unique(embedded["strand"])) == {-1, 1}
    # In sequences of two motifs, the second is the first's TF in one case of twelve.
    first = np.flatnonzero(np.bincount(embedded["sequence"])[embedded["sequence"]] == 2)
    pairs = embedded["class"][first].reshape(-1, 2)
    again = np.array([(pairs[:, 0] == pairs[:, 1]).mean()])
    assert close(again, np.array([1 / 12]), len(pairs))


def test_labels_say_what_is_embedded(paper: Dataset) -> None:
    expected = np.zeros_like(paper.labels)
    for sequence, tf in zip(paper.embedded["sequence"], paper.embedded["class"], strict=True):
        expected[sequence, tf] = 1
    assert np.array_equal(paper.labels, expected)


def test_one_base_around_every_motif(paper: Dataset) -> None:
    widths = np.array([len(counts_by_base(ids[0])) for ids in TFS.values()])
    embedded = paper.embedded
    order = np.lexsort((embedded["start"], embedded["sequence"]))
    assert np.array_equal(order, np.arange(len(order)))
    end = embedded["start"] + widths[embedded["class"]]
    assert (
        embedded["start"].min() == 1 and end.max() == 199
    )  # The closest allowed places to the ends occur.
    neighbours = embedded["sequence"][1:] == embedded["sequence"][:-1]
    gap = (embedded["start"][1:] - end[:-1])[neighbours]
    assert gap.min() == 1


@pytest.mark.parametrize("strand", [1, -1])
def test_bases_at_motifs_follow_the_ppm(paper: Dataset, strand: int) -> None:
    for tf, ids in enumerate(TFS.values()):
        counts = counts_by_base(ids[0])
        ppm = counts / counts.sum(axis=1, keepdims=True)
        if strand < 0:
            ppm = ppm[::-1, [3, 2, 1, 0]]
        here = (paper.embedded["class"] == tf) & (paper.embedded["strand"] == strand)
        sites = paper.embedded[here]
        at = sites["start"][:, None] + np.arange(len(ppm))
        bases = paper.codes[sites["sequence"][:, None], at]
        observed = np.eye(4)[bases].mean(axis=0)
        assert close(observed, ppm, len(sites))
        assert not observed[ppm == 0].any()


def test_background_is_uniform(paper: Dataset) -> None:
    widths = np.array([len(counts_by_base(ids[0])) for ids in TFS.values()])
    free = np.ones(paper.codes.shape, bool)
    for sequence, tf, start, _ in paper.embedded.tolist():
        free[sequence, start : start + widths[tf]] = False
    background = paper.codes[free]
    assert close(np.bincount(background) / len(background), np.full(4, 0.25), len(background))
    both = free[:, 1:] & free[:, :-1]
    pair = (paper.codes[:, 1:] * 4 + paper.codes[:, :-1])[both]
    assert close(np.bincount(pair) / len(pair), np.full(16, 1 / 16), len(pair))
    by_column = np.stack([((paper.codes == base) & free).sum(axis=0) for base in range(4)])
    total = free.sum(axis=0)
    assert close(by_column / total, np.full((4, 200), 0.25), total)


def test_parts_are_alike(paper: Dataset) -> None:
    everywhere = paper.labels.mean(axis=0)
    for name in datasets.PARTS:
        labels = paper.part(name)[1]
        assert close(labels.mean(axis=0), everywhere, len(labels))


def arrangements(length: int, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return all starts that leave 1 bp around each motif, by trying all."""
    found = []
    for starts in itertools.product(range(length), repeat=len(widths)):
        place, fits = 1, True
        for start, width in zip(starts, widths, strict=True):
            fits &= start >= place
            place = start + width + 1
        if fits and place <= length:
            found.append(starts)
    return found


@pytest.mark.parametrize(
    "length, widths",
    [(9, (2,)), (12, (2, 3)), (12, (3, 2)), (14, (1, 2, 2)), (11, (1, 1, 1, 1)), (8, (2, 3))],
)
def test_every_arrangement_is_equally_likely(length: int, widths: tuple[int, ...]) -> None:
    """The arrangements drawn are uniform over all possible ones."""
    possible = arrangements(length, widths)
    n = 3_000 * len(possible)
    uniform = np.random.default_rng(7).random((n, len(widths) + 1))
    padded = np.tile([*widths, 0], (n, 1))  # One slot is unused, as in real draws.
    starts = synthetic._starts(length, np.full(n, len(widths)), padded, uniform)
    seen = Counter(map(tuple, starts[:, : len(widths)].tolist()))
    assert set(seen) == set(possible)
    observed = np.array([seen[arrangement] for arrangement in possible]) / n
    assert close(observed, np.full(len(possible), 1 / len(possible)), n)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_models_fit_or_are_refused(data: st.DataObject) -> None:
    """Sequences contain PPMs of one certain base per position at exactly the returned places."""
    words = data.draw(st.lists(st.text("ACGT", min_size=1, max_size=6), min_size=1, max_size=4))
    weights = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(any))
    length = data.draw(st.integers(1, 60))
    models = [np.eye(4)[encode(word)[0]] for word in words]
    most = max(i + 1 for i, weight in enumerate(weights) if weight)
    longest = max(map(len, words))
    if most * longest + most + 1 > length:
        with pytest.raises(InputError, match=f"but sequences have {length}"):
            synthetic.sample(models, weights, 50, length, 0)
        return
    codes, sequence, model, start = synthetic.sample(models, weights, 50, length, 0)
    text = decode(codes)
    place = np.zeros(50, int)
    for row, index, first in zip(sequence, model, start, strict=True):
        assert text[row][first : first + len(words[index])] == words[index]
        assert first > place[row]  # At least one base is before it.
        place[row] = first + len(words[index])
    assert (place < length).all()
    number = np.bincount(sequence, minlength=50)
    assert all(weights[k - 1] > 0 for k in number)


def test_a_full_sequence_has_one_arrangement_only() -> None:
    word = np.eye(4)[[0, 1, 2]]
    codes, _, _, start = synthetic.sample([word], [0, 0, 1], 20, 13, 3)
    assert start.reshape(20, 3).tolist() == [[1, 5, 9]] * 20
    assert (codes[:, [1, 2, 3]] == [0, 1, 2]).all()


def test_a_trailing_weight_of_zero_needs_no_space(small: Dataset) -> None:
    spec = SMALL.model_copy(update={"motifs_per_sequence": [1.0, 1.0, 0.0, 0.0]})
    assert same(synthesize(spec, 1), small)


def test_motifs_that_cannot_fit_are_rejected_with_the_numbers() -> None:
    spec = PAPER.model_copy(update={"length": 85})
    message = "5 motifs of up to 16 bp with 1 bp around each need 86 bp, but sequences have 85"
    with pytest.raises(InputError, match=message):
        synthesize(spec, 0)
    assert synthesize(PAPER.model_copy(update={"length": 86}), 0).codes.shape == (25_000, 86)


def test_a_class_without_negatives_is_refused() -> None:
    spec = SMALL.model_copy(update={"classes": {"SRF": ["MA0083.3"]}})
    with pytest.raises(InputError, match="class SRF has no negative sequence in the train part"):
        synthesize(spec, 0)


def test_same_seed_same_content_other_seed_other(small: Dataset) -> None:
    assert same(synthesize(SMALL, 1), small)
    other = synthesize(SMALL, 2)
    assert other.data_hash != small.data_hash
    assert not np.array_equal(other.codes, small.codes)


def test_content_is_pinned(paper: Dataset) -> None:
    """The content is the same on all platforms; a change would change all published numbers."""
    expected = "b9c2b7486eee5c14aa6c0e689d6d8c1f7ae44829799779717b1d806c129475c9"
    assert paper.data_hash == expected


def test_content_of_a_small_set_is_pinned(small: Dataset) -> None:
    expected = "587d1e8b6dcb394b763a858ea91a73b0b9f9a3f23c939142a38daa23ac3a64dd"
    assert small.data_hash == expected


def test_made_in_under_three_seconds() -> None:
    started = time.process_time()
    synthesize(PAPER, 0)
    assert time.process_time() - started < 3


# -- the authors' data --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authors() -> Dataset:
    """The data set of koo2019."""
    study = load("koo2019-synthetic")
    return synthesize(study.datasets["synthetic"], study.data_seed("synthetic"))


def test_the_authors_sequences_are_made_again(authors: Dataset) -> None:
    factors = np.bincount(authors.labels.sum(axis=1))
    assert factors.tolist() == [0, 13065, 6719, 3820, 1120, 276]  # printed in their notebook
    codes, labels = (hashlib.sha256(a.tobytes()) for a in (authors.codes, authors.labels))
    assert codes.hexdigest().startswith("c9db1edac2454fae")
    assert labels.hexdigest().startswith("e20ef924f6eb5e2b")
    assert np.bincount(authors.split).tolist() == [17_500, 2_500, 5_000]


def test_their_motifs_lie_where_it_is_said(authors: Dataset) -> None:
    test_labels_say_what_is_embedded(authors)
    for strand in (1, -1):
        test_bases_at_motifs_follow_the_ppm(authors, strand)
    test_background_is_uniform(authors)
    widths = np.array([len(counts_by_base(ids[0])) for ids in TFS.values()])
    embedded = authors.embedded
    end = embedded["start"] + widths[embedded["class"]]
    assert embedded["start"].min() == 0 and end.max() == 200
    neighbours = embedded["sequence"][1:] == embedded["sequence"][:-1]
    gap = (embedded["start"][1:] - end[:-1])[neighbours]
    assert gap.min() == 0
    # Two motifs are nearer to each other than where every arrangement is equally likely (0.17).
    assert (gap < 10).mean() == pytest.approx(0.10, abs=0.01)


# -- the data set itself --------------------------------------------------------------------


def test_parts_are_views_where_rows_lie_together(small: Dataset) -> None:
    for name, number in (("train", 140), ("valid", 20), ("test", 40)):
        codes, labels = small.part(name)
        assert len(codes) == len(labels) == number
        assert np.shares_memory(codes, small.codes)


def test_parts_of_scattered_rows(small: Dataset) -> None:
    order = np.random.default_rng(0).permutation(200)
    mixed = Dataset(small.codes[order], small.labels[order], small.split[order], small.classes)
    codes, labels = mixed.part("test")
    rows = [i for i in order if small.split[i] == 2]
    assert np.array_equal(codes, small.codes[rows])
    assert np.array_equal(labels, small.labels[rows])


def test_an_empty_part_is_empty(small: Dataset) -> None:
    codes, labels = replace(small, split=np.zeros(200, np.uint8)).part("test")
    assert codes.shape == (0, 40) and labels.shape == (0, 2)


def test_hash_depends_on_everything(small: Dataset) -> None:
    codes, labels, split = small.codes.copy(), small.labels.copy(), small.split.copy()
    codes[3, 4] = 4
    labels[5, 1] ^= 1
    split[0] = 1
    embedded = small.embedded.copy()
    embedded["start"][0] += 1
    hashes = {
        small.data_hash,
        replace(small, codes=codes).data_hash,
        replace(small, labels=labels).data_hash,
        replace(small, split=split).data_hash,
        replace(small, classes=("SRF", "MYC")).data_hash,
        replace(small, embedded=embedded).data_hash,
        replace(small, embedded=None).data_hash,
    }
    assert len(hashes) == 7
    assert replace(small, codes=np.asfortranarray(small.codes)).data_hash == small.data_hash


def test_describe(small: Dataset) -> None:
    codes, labels = small.codes.copy(), small.labels.copy()
    codes[[0, 0, 7], [1, 2, 3]] = 4
    labels[[0, 150], 1] = -1
    facts = describe(replace(small, codes=codes, labels=labels))
    assert facts["length"] == 40
    assert facts["sequences"] == {"train": 140, "valid": 20, "test": 40}
    assert facts["sequences_with_n"] == 2
    assert facts["unknown_labels"]["SRF"] == {"train": 0, "valid": 0, "test": 0}
    assert facts["unknown_labels"]["MAX"] == {"train": 1, "valid": 1, "test": 0}
    assert facts["positives"]["SRF"]["test"] == small.labels[160:, 0].sum()
    assert json.loads(json.dumps(facts)) == facts


# -- our files ------------------------------------------------------------------------------


def test_round_trip(small: Dataset, saved: Path) -> None:
    assert same(read(saved), small)
    assert same(read(saved, ["SRF", "MAX"]), small)
    with h5py.File(saved) as file:
        assert file.attrs["format"] == "motifk8s-dataset"
        assert file.attrs["version"] == 1
        assert file.attrs["data_hash"] == small.data_hash
        assert json.loads(file.attrs["spec"]) == SMALL.model_dump()


def test_round_trip_with_n_unknown_labels_mixed_rows_and_names(
    small: Dataset, tmp_path: Path
) -> None:
    codes, labels = small.codes.copy(), small.labels.copy()
    codes[::3, 5] = 4
    labels[::7, 0] = -1
    order = np.random.default_rng(0).permutation(200)
    odd = Dataset(codes[order], labels[order], small.split[order], ("Größe", "NF-κB"))
    write(odd, tmp_path / "odd.h5", None)
    assert same(read(tmp_path / "odd.h5"), odd)


def test_round_trip_of_many_chunks(tmp_path: Path) -> None:
    spec = SMALL.model_copy(update={"n_sequences": 9_000, "length": 300})
    large = synthesize(spec, 5)
    write(large, tmp_path / "large.h5", None)
    with h5py.File(tmp_path / "large.h5") as file:
        assert 2**19 < np.prod(file["codes"].chunks) <= 2**20
    assert same(read(tmp_path / "large.h5"), large)


def test_same_data_same_bytes(small: Dataset, saved: Path, tmp_path: Path) -> None:
    """Another process at another time writes the same bytes."""
    script = (
        "import sys, json; from motifk8s.data.datasets import synthesize, write;"
        "from motifk8s.study.study import Synthetic; spec = Synthetic(**json.loads(sys.argv[2]));"
        "write(synthesize(spec, 1), sys.argv[1], spec.model_dump())"
    )
    again = tmp_path / "again.h5"
    time.sleep(1.1)  # HDF5's timestamps, if any, are in seconds
    subprocess.run([sys.executable, "-c", script, again, SMALL.model_dump_json()], check=True)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (saved, again)}
    assert len(digests) == 1


def test_no_embedded_motif_at_all(small: Dataset, tmp_path: Path) -> None:
    bare = replace(small, embedded=np.empty(0, EMBEDDED))
    write(bare, tmp_path / "bare.h5", None)
    assert same(read(tmp_path / "bare.h5"), bare)


def test_an_old_file_is_replaced(small: Dataset, saved: Path) -> None:
    write(replace(small, embedded=None), saved, None)
    assert read(saved).embedded is None
    assert [path.name for path in saved.parent.iterdir()] == ["data.h5"]


def test_written_with_the_usual_permissions(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_disk_full_leaves_nothing(
    small: Dataset, saved: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(Problem, match="cannot write .*data.h5: no space left on its disk"):
        write(replace(small, embedded=None), saved, None)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["data.h5"]


def test_a_write_that_is_cut_short_leaves_nothing(small: Dataset, tmp_path: Path) -> None:
    """The operating system stops the write in the middle of the data."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(Problem, match="cannot write .*data.h5: File too large"):
            write(small, tmp_path / "data.h5", None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_to_write_to(small: Dataset, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write .*data.h5"):
        write(small, saved / "data.h5", None)
    write(small, tmp_path / "new" / "data.h5", None)  # Missing folders are created.
    assert same(read(tmp_path / "new" / "data.h5"), small)


# -- the reference layout -------------------------------------------------------------------


def write_reference(
    path: Path, dataset: Dataset, channels_last: bool = False, x: str = "f4"
) -> None:
    """Write one-hot data in the layout of the reference code."""
    with h5py.File(path, "w") as file:
        for part in datasets.PARTS:
            codes, labels = dataset.part(part)
            one_hot = np.eye(5, 4)[codes]
            file[f"X_{part}"] = (one_hot if channels_last else one_hot.transpose(0, 2, 1)).astype(x)
            file[f"Y_{part}"] = labels.astype(x)


@pytest.mark.parametrize("axes", [(2,), (1,), (3,), (2, 3), ()])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_forms_of_the_reference_layout(
    small: Dataset, tmp_path: Path, axes: tuple[int, ...], channels_last: bool, valid: str
) -> None:
    one = replace(small, labels=small.labels[:, :1], classes=("class_0",), embedded=None)
    path = tmp_path / "x.h5"
    write_reference(path, one, channels_last)
    with h5py.File(path, "r+") as file:
        for part in datasets.PARTS:
            x, y = file[f"X_{part}"][...], file[f"Y_{part}"][...]
            del file[f"X_{part}"], file[f"Y_{part}"]
            name = valid if part == "valid" else part
            forms = {"valid": ("X_{}", "Y_{}"), "val": ("x_{}", "y_{}")}
            x_name, y_name = forms.get(valid, ("{}_in", "{}_out"))
            file[x_name.format(name)] = np.expand_dims(x, axes)
            file[y_name.format(name)] = y[:, 0] if axes else y[:, :, None]
    assert same(read(path), one)
    labels, split = datasets.read_labels(path)
    assert (labels == one.labels).all() and (split == one.split).all()


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_ambiguous_bases_are_unknown(small: Dataset, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    write_reference(path, small, x=kind)
    codes = small.codes.copy()
    with h5py.File(path, "r+") as file:
        x = file["X_train"][...]
        for row, shares in enumerate(([0.25] * 4, [0.5, 0, 0.5, 0], [0, 0.33, 0.33, 0.33])):
            x[row, :, 7] = shares
            codes[row, 7] = 4
        file["X_train"][...] = x
    assert (read(path).codes == codes).all()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("x", ["f4", "f8", "i1"])
def test_reference_layout(
    small: Dataset, tmp_path: Path, channels_last: bool, x: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, labels = small.codes.copy(), small.labels.copy()
    codes[::3, 5] = 4
    labels[::7, 0] = -1
    expected = Dataset(codes, labels, small.split, ("class_0", "class_1"))
    write_reference(tmp_path / "x.h5", expected, channels_last, x)
    assert same(read(tmp_path / "x.h5"), expected)
    named = read(tmp_path / "x.h5", ["SRF", "MAX"])
    assert same(named, replace(expected, classes=("SRF", "MAX")))
    # With seven rows in a block, parts end within a block.
    monkeypatch.setattr(
        reference,
        "blocks",
        lambda shape: (slice(i, min(i + 7, shape[0])) for i in range(0, shape[0], 7)),
    )
    assert same(read(tmp_path / "x.h5"), expected)


@given(st.integers(0, 50), st.integers(1, 2**23), st.integers(1, 4))
def test_blocks_cover_all_rows_once(n: int, width: int, channels: int) -> None:
    rows = [i for block in reference.blocks((n, channels, width)) for i in range(n)[block]]
    assert rows == list(range(n))


# -- bad files ------------------------------------------------------------------------------


def rejected(path: Path, classes: list[str] | None = None) -> str:
    """Read a bad file; return the message, one line that begins with the path."""
    with pytest.raises(InputError) as caught:
        read(path, classes)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    return message


def test_no_file_a_folder_or_something_else(tmp_path: Path) -> None:
    assert "no such data set file" in rejected(tmp_path / "none.h5")
    assert "is a folder" in rejected(tmp_path)
    for content in (b"", b"hello\n", b"\x89HDF\r\n\x1a\n"):
        (tmp_path / "text.h5").write_bytes(content)
        assert "not an HDF5 file, or truncated or damaged" in rejected(tmp_path / "text.h5")


def test_truncated_anywhere(saved: Path) -> None:
    content = saved.read_bytes()
    for size in range(0, len(content), 331):
        saved.write_bytes(content[:size])
        assert "truncated" in rejected(saved)


def test_damage_anywhere_is_detected_or_harmless(small: Dataset, saved: Path) -> None:
    content = saved.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= random.integers(1, 256)
        saved.write_bytes(damaged)
        try:
            assert same(read(saved), small)  # The damage is in bytes that are not read.
        except InputError as error:
            assert "\n" not in str(error)


def change(name: str, data: Any = None, **options: Any) -> Callable[[h5py.File], None]:
    """Replace one array of a file, or remove it."""

    def apply(file: h5py.File) -> None:
        del file[name]
        if data is not None:
            file.create_dataset(name, data=data, **options)

    return apply


def put(name: str, at: Any, value: Any) -> Callable[[h5py.File], None]:
    """Change some values of one array of a file."""

    def apply(file: h5py.File) -> None:
        array = file[name][...]
        array[at] = value
        file[name][...] = array

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (change("codes"), "has no dataset codes; a data set has codes, labels, split, classes"),
        (change("labels"), "has no dataset labels"),
        (change("split"), "has no dataset split"),
        (change("classes"), "has no dataset classes"),
        (change("codes", np.zeros((200, 40))), "codes is float64 of shape"),
        (change("codes", np.zeros(200, np.uint8)), r"it must be uint8 of shape (N, L)"),
        (change("codes", np.zeros((9, 40), np.uint8)), "codes (9, 40), labels (200, 2), split"),
        (change("codes", np.zeros((200, 0), np.uint8)), "has no sequences or no classes"),
        (change("classes", [1, 2]), "classes is int64"),
        (change("classes", [b"SRF", b"\xff"]), "damaged"),
        (change("classes", [b"SRF"]), "1 class names do not fit"),
        (change("classes", [b"SRF", b"SRF"]), "class name SRF is given more than once"),
        (change("embedded", [1]), "embedded is int64"),
        (change("embedded", np.array([(200, 0, 0, 1)], EMBEDDED)), "embedded sequence must be 0"),
        (change("embedded", np.array([(0, 2, 0, 1)], EMBEDDED)), "embedded class must be 0 to 1"),
        (change("embedded", np.array([(0, 0, -1, 1)], EMBEDDED)), "embedded start must be 0"),
        (put("codes", (3, 4), 5), "codes range from 0 to 5, but must be 0 to 4"),
        (put("labels", (3, 1), 2), "labels range from 0 to 2, but must be -1 to 1"),
        (put("labels", (3, 1), -2), "labels range from -2 to 1"),
        (put("split", 3, 3), "split range from 0 to 3, but must be 0 to 2"),
        (put("split", slice(140, 160), 0), "the valid part has no sequences"),
        (put("labels", (slice(0, 140), 1), 0), "class MAX has no positive sequence in the train"),
        (put("labels", (slice(160, 200), 0), 0), "class SRF has no positive sequence in the test"),
        (put("labels", (slice(160, 200), 0), 1), "class SRF has no negative sequence in the test"),
        (put("labels", (slice(0, 140), 0), -1), "class SRF has no positive sequence in the train"),
        (put("codes", (3, 4), 4), "content does not match data_hash"),
        (lambda file: file.attrs.modify("version", 2), "version 2, but this program reads"),
        (lambda file: file.attrs.__delitem__("version"), "is of version None"),
        (lambda file: file.attrs.__delitem__("data_hash"), "has no attribute data_hash, which"),
        (lambda file: file.attrs.modify("format", "x"), "has no dataset X_train"),
    ],
)
def test_what_is_wrong_with_our_file(
    saved: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(saved, "r+") as file:
        damage(file)
    assert message in rejected(saved)


def test_labels_all_zero_in_the_valid_part_are_allowed(small: Dataset, tmp_path: Path) -> None:
    labels = small.labels.copy()
    labels[140:160] = 0
    write(replace(small, labels=labels), tmp_path / "data.h5", None)
    assert read(tmp_path / "data.h5").part("valid")[1].sum() == 0


def test_class_names_that_do_not_fit(saved: Path) -> None:
    assert "has 2 classes (SRF, MAX), not 1 (SRF)" in rejected(saved, ["SRF"])
    assert "the classes are SRF, MAX, in this order, not MAX, SRF" in rejected(
        saved, ["MAX", "SRF"]
    )


@pytest.mark.parametrize(
    "damage, message",
    [
        (change("X_test"), "has no dataset X_test; a data set has"),
        (change("Y_valid"), "has no dataset Y_valid"),
        (change("X_train", np.zeros((140, 160))), "X_train is float64 of shape (140, 160)"),
        (change("X_train", ["ACGT"]), "X_train is object of shape (1,)"),
        (change("Y_train", np.zeros(140)), "Y_valid (20, 2) do not fit each other or X_train"),
        (change("Y_train", np.zeros((140, 2, 2))), "it must be numbers of shape (N, C)"),
        (change("Y_valid", np.full((20, 2), -1)), "class class_0 has no known label in the valid"),
        (change("Y_valid", np.tile([1, -1], (20, 1))), "class class_1 has no known label in the"),
        (change("Y_train", np.zeros((141, 2))), "X_train (140, 4, 40) and Y_train (141, 2) do not"),
        (change("Y_test", np.zeros((40, 3))), "X_test (40, 4, 40) and Y_test (40, 3) do not fit"),
        (change("X_test", np.zeros((40, 4, 41))), "X_test (40, 4, 41) and Y_test (40, 2) do not"),
        (change("X_test", np.zeros((40, 40, 4))), "X_test (40, 40, 4) and Y_test (40, 2) do not"),
        (put("X_test", (3, 0, 7), np.nan), "X_test: sequence 3, position 7 is not one-hot"),
        (put("X_train", (3, slice(None), 7), 0.5), "X_train: sequence 3, position 7 is not"),
        (put("X_train", (3, slice(None), 7), 1), "X_train: sequence 3, position 7 is not"),
        (put("Y_train", (3, 1), np.nan), "Y_train row 3, class 1 is nan; labels are 1, 0 or -1"),
        (put("Y_valid", (3, 1), 0.5), "Y_valid row 3, class 1 is 0.5"),
        (
            put("Y_train", (slice(None), 1), 0),
            "class class_1 has no positive sequence in the train",
        ),
        (put("Y_test", (slice(None), 1), 1), "class class_1 has no negative sequence in the test"),
    ],
)
def test_what_is_wrong_with_a_reference_file(
    small: Dataset, tmp_path: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    path = tmp_path / "reference.h5"
    write_reference(path, small)
    with h5py.File(path, "r+") as file:
        damage(file)
    assert message in rejected(path)


def test_reference_file_without_four_channels(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "reference.h5"
    with h5py.File(path, "w") as file:
        for part in datasets.PARTS:
            file[f"X_{part}"] = np.zeros((4, 5, 40))
            file[f"Y_{part}"] = np.zeros((4, 2))
    assert "X_train is (4, 5, 40), not (N, 4, L) or (N, L, 4)" in rejected(path)


def test_class_names_for_a_reference_file(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "reference.h5"
    write_reference(path, small)
    assert "has 2 classes (class_0, class_1), not 3 (a, b, c)" in rejected(path, ["a", "b", "c"])
    assert "class name a is given more than once" in rejected(path, ["a", "a"])


# -- files that declare more than they have, or name others -------------------------------------


def elsewhere(file: h5py.File, name: str, how: str) -> None:
    """Move an array of a file to another file, or to another name."""
    data = file[name][...]
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["x"] = data
    del file[name]
    if how == "soft link":
        file["else"] = data
        file[name] = h5py.SoftLink("/else")
    elif how == "external link":
        file[name] = h5py.ExternalLink("other.h5", "/x")
    elif how == "external storage":
        other.write_bytes(data.tobytes())
        place = [(str(other), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, data.shape, data.dtype, external=place)
    else:
        layout = h5py.VirtualLayout(data.shape, data.dtype)
        layout[...] = h5py.VirtualSource("other.h5", "x", data.shape)
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("how", ["soft link", "external link", "external storage", "virtual"])
@pytest.mark.parametrize("name", ["codes", "labels", "split", "embedded", "X_train", "Y_test"])
def test_data_in_other_places_are_not_read(
    small: Dataset, tmp_path: Path, how: str, name: str
) -> None:
    path = tmp_path / "x.h5"
    if name[1] == "_":
        write_reference(path, small)
    else:
        write(small, path, None)
    with h5py.File(path, "r+") as file:
        elsewhere(file, name, how)
    said = "links are not followed" if "link" in how else "is stored in other files, which are not"
    assert said in rejected(path)


@pytest.mark.parametrize("what", ["never written", "one chunk", "compressed twice"])
@pytest.mark.parametrize("name", ["codes", "labels", "split", "classes", "X_train", "Y_valid"])
def test_declared_sizes_are_not_trusted(
    small: Dataset, tmp_path: Path, what: str, name: str
) -> None:
    path = tmp_path / "x.h5"
    if name[1] == "_":
        write_reference(path, small)
    else:
        write(small, path, None)
    with h5py.File(path, "r+") as file:
        shape, kind = file[name].shape, file[name].dtype
        del file[name]
        if what == "never written":
            file.create_dataset(name, (3 * 10**9, *shape[1:]), kind, chunks=True)
        elif what == "one chunk":
            chunks = (10**8, *shape[1:]) if len(shape) < 3 else (10**6, *shape[1:])
            limits = (None, *shape[1:])
            file.create_dataset(name, shape, kind, chunks=chunks, maxshape=limits)
        else:
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            space = h5py.h5s.create_simple((10**8, *shape[1:]))
            properties.set_chunk((2**20, *shape[1:]))
            properties.set_deflate(9)
            properties.set_deflate(9)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(kind), space, properties)
    assert re.search(
        f"{name} declares [0-9,]+ bytes; the budget is [0-9,]+, because", rejected(path)
    )


def test_data_that_do_not_fit_into_memory(
    small: Dataset, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reference(tmp_path / "x.h5", small)
    monkeypatch.setattr(files, "budget", lambda: 8000)
    assert "its arrays need" in rejected(saved)
    assert "200 sequences need 8,400 bytes; the budget is 8,000" in rejected(tmp_path / "x.h5")

    def no_memory(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(datasets, "_read_ours", no_memory)
    with pytest.raises(Problem, match="not enough memory to read it"):
        read(saved)


def test_the_budget_is_below_every_limit() -> None:
    before = files.budget()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (before, limits[1]))
    try:
        assert files.budget() == before // 2
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
