"""``motifk8s hits`` on data imported from peaks, on both strands, compared with a plain scan."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import one_line, place_of, run_folder, study_file

from motifk8s.cells import cell as cells
from motifk8s.data import datasets, stored
from motifk8s.data.bed import BedOptions, import_bed
from motifk8s.filters.layer_motifs import layer_motifs, read_filters
from motifk8s.motifs.database import read_database
from motifk8s.motifs.matches import null_targets
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import load

SITES = {"SRF": "CCATATAAGG", "MAX": "CACGTG"}
OPTIONS = BedOptions(
    bin_size=20, length=40, test=["8"], valid=["7"], both_strands=True, negatives="dinucleotide"
)
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
WIDTH = 9
CHANGES: dict[str, Any] = {
    "name": "peaks",
    "trials": 2,
    "datasets": {
        "small": None,
        "own": {
            "kind": "file",
            "path": "own.h5",
            "length": 40,
            "classes": {"SRF": ["MA0083.3"], "MAX": ["MA0058.3"]},
        },
    },
    "models": {"a": {"conv": [{"filters": 8, "width": WIDTH, "pool": 10}]}, "b": None},
    "training": {"learning_rate": 1e-2},
    "matches": {"evalue": 1.0},
    "analysis": {"importance": False, "databases": []},
}


@pytest.fixture(scope="module")
def genome() -> dict[str, str]:
    """Three chromosomes with a site of one class in the middle of each bin, on either strand."""
    rng = np.random.default_rng(11)
    text = {}
    for chrom in ("chr1", "chr7", "chr8"):
        bases = rng.choice(list("ACGT"), 1600)
        for number, start in enumerate(range(5, 1580, 20)):
            site = SITES[["SRF", "MAX"][number % 2]]
            site = site if rng.random() < 0.5 else site.translate(COMPLEMENT)[::-1]
            bases[start : start + len(site)] = list(site)
        text[chrom] = "".join(bases if chrom == "chr1" else bases[:600])
    return text


@pytest.fixture(scope="module")
def made(
    genome: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    """A folder with the study, its data and its store with both cells finished; and the bins."""
    from motifk8s.training import devices

    folder = tmp_path_factory.mktemp("peaks")
    with gzip.open(folder / "genome.fa.gz", "wt") as file:
        file.writelines(f">{name}\n{text}\n" for name, text in genome.items())
    peaks = {}
    for number, name in enumerate(SITES):
        peaks[name] = folder / f"{name}.bed"
        spans = [
            (chrom[3:], start, start + 20)
            for chrom, text in genome.items()
            for start in range(20 * number, len(text), 40)
        ]
        peaks[name].write_text("".join(f"{c}\t{s}\t{e}\n" for c, s, e in spans))
    dataset, _, bins = import_bed(peaks, folder / "genome.fa.gz", OPTIONS)
    datasets.write(dataset, folder / "own.h5", None)
    study = load(str(study_file(folder / "peaks.yaml", CHANGES)))
    store = FolderStore(folder / "store")
    stored.prepare(study, "own", store)
    setup, devices.setup = devices.setup, lambda threads=None: setup(1)
    try:
        for each in study.cells():
            cells.run(study, each, store, threads=1)
    finally:
        devices.setup = setup
    return folder, bins


@pytest.fixture
def copy(made: tuple[Path, pd.DataFrame], tmp_path: Path) -> Path:
    """A copy of that folder, to change."""
    return shutil.copytree(made[0], tmp_path / "copy")


def activations(model: Any, keras: ModuleType, text: str) -> np.ndarray:
    """Compute the first layer's activations (L, F) for a sequence, with numpy from its weights."""
    conv, norm = (
        next(each for each in model.layers if isinstance(each, kind))
        for kind in (keras.layers.Conv1D, keras.layers.BatchNormalization)
    )
    kernel = np.asarray(conv.kernel, np.float64)
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in norm.get_weights())
    half = (WIDTH - 1) // 2
    x = np.pad(
        [[float(base == letter) for letter in "ACGT"] for base in text], ((half, half), (0, 0))
    )
    y = np.array([np.einsum("wc,wcf->f", x[i : i + WIDTH], kernel) for i in range(len(text))])
    return np.maximum((y - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta, 0)


Row = tuple[str, int, int, str, float, str]  # of BED, the score exact


def plain_scan(
    folder: Path, bins: pd.DataFrame, genome: dict[str, str], keras: ModuleType
) -> Iterator[tuple[str, Row]]:
    """Yield the id of the cell, with |conv1|filter and its number, and the row of each firing."""
    study = load(str(folder / "peaks.yaml"))
    targets = {motif.name: motif for motif in read_database(study.matches.database)}
    for cell in study.cells():
        run = run_folder(folder / "store", cell.id, "peaks")
        model = keras.models.load_model(run / "model.keras", compile=False)
        filters = read_filters(run / "filters.h5")["conv1"]
        queries = {motif.name: motif.ppm for motif in layer_motifs(filters, study.motifs)}
        labels = json.loads((run / "metrics.json").read_text())["layers"]["conv1"]["labels"]
        null = {
            width: null_targets(width, [*targets.values()], study.matches.evalue)
            for width in {len(ppm) for ppm in queries.values()}
        }
        hits = pd.read_csv(run / "hits-conv1.tsv", sep="\t").set_index(["Query_ID", "Target_ID"])
        wanted = bins[(bins["part"] == 2) & ~bins["shuffled"]]
        for chrom, first, strand in wanted[["chrom", "sequence_start", "strand"]].to_numpy():
            places = range(first, first + 40)
            text = genome[chrom][first : first + 40]
            if strand == "-":
                places, text = places[::-1], text.translate(COMPLEMENT)[::-1]
            y = activations(model, keras, text)
            for name, label in labels.items():
                target, number, query = label["target"], int(name[6:]), queries[name]
                if target in null[len(query)]:
                    continue
                hit = hits.loc[(name, target)]
                # Where the query begins in the window of 19, which is centred on the position.
                ppm = filters.ppm[number]
                [trimmed] = [
                    i for i in range(20 - len(query)) if np.allclose(ppm[i : i + len(query)], query)
                ]
                for position in range(40):
                    share = y[position, number] / filters.maximum[number]
                    assert abs(share - 0.5) > 1e-6
                    begin = position - 9 + trimmed - hit["Optimal_offset"]
                    end = begin + len(targets[target].ppm)
                    if share <= 0.5 or begin < 0 or end > 40:
                        continue
                    bases = sorted(places[begin:end])
                    sign = "+" if (strand == "+") == (hit["Orientation"] == "+") else "-"
                    what = f"{targets[target].alt}_{target}"
                    row = chrom, bases[0], bases[-1] + 1, what, min(1000.0, 1000 * share), sign
                    yield f"{cell.id}|conv1|{name}", row


def greedy(rows: list[tuple[str, Row]]) -> dict[Row, set[str]]:
    """Merge rows, the strongest first; return those that stay, with the sources of each."""
    result: dict[Row, set[str]] = {}
    for source, row in sorted(rows, key=lambda pair: (-round(pair[1][4]), pair[1][1])):
        for kept, sources in result.items():
            overlap = min(row[2], kept[2]) - max(row[1], kept[1])
            if (row[0], row[3], row[5]) == (kept[0], kept[3], kept[5]) and (
                2 * overlap > row[2] - row[1]
            ):
                sources.add(source)
                break
        else:
            result[row] = {source}
    return result


def read_bed(text: str) -> list[Row]:
    words = [line.split("\t") for line in text.splitlines()]
    assert all(len(row) == 6 for row in words)
    return [(r[0], int(r[1]), int(r[2]), r[3], float(r[4]), r[5]) for r in words]


def same(found: list[Row], expected: list[Row]) -> bool:
    def key(row: Row) -> tuple[str, int, int, str, str]:
        return (*row[:4], row[5])

    pairs = zip(sorted(found, key=key), sorted(expected, key=key), strict=True)
    return all(key(a) == key(b) and abs(a[4] - b[4]) <= 0.51 for a, b in pairs)


def test_the_places_are_those_of_a_plain_scan(
    made: tuple[Path, pd.DataFrame],
    genome: dict[str, str],
    keras: ModuleType,
    here: Any,
    tmp_path: Path,
) -> None:
    folder, bins = made
    rows = [*plain_scan(folder, bins, genome, keras)]
    command = ["hits", folder / "peaks.yaml", "--store", folder / "store"]
    code, out, err = here(*command)
    assert code == 0 and "shuffled sequences, which have no place" in err
    found, expected = read_bed(out), greedy(rows)
    assert len(found) > 50 and {row[5] for row in found} == {"+", "-"}
    assert same(found, [*expected])
    both = [
        row for row, names in expected.items() if len({name.split("|")[0] for name in names}) == 2
    ]
    code, out, _ = here(*command, "--min-cells", 2)
    assert code == 0 and 0 < len(both) < len(found) and same(read_bed(out), both)
    code, out, _ = here(*command, "--by", "filter", "--out", tmp_path / "x.bed.gz")
    assert code == 0 and out.endswith(f"filters: {tmp_path / 'x.bed.gz'}\n")
    each = [(f"{row[3]}|{name}", (*row[:3], f"{row[3]}|{name}", *row[4:])) for name, row in rows]
    text = gzip.decompress((tmp_path / "x.bed.gz").read_bytes()).decode()
    assert same(read_bed(text), [*greedy(each)])
    parts = {part: here(*command, "--part", part)[1] for part in ("all", "train", "valid")}
    everything = read_bed(parts["all"])
    assert set(everything) == {
        *found,
        *read_bed(parts["train"]),
        *read_bed(parts["valid"]),
    }  # chromosomes of their own


# --- What is there -----------------------------------------------------------------------------


def test_data_without_places_are_named_by_row(tiny: Path, here: Any) -> None:
    code, out, err = here("hits", tiny, "--store", tiny.parent / "store")
    assert code == 0
    assert one_line(err).startswith("motifk8s: the data set does not say where its sequences are")
    assert out and all(0 <= int(row[0].removeprefix("test_")) < 50 for row in read_bed(out))
    target = tiny.parent / "new" / "x.bed"
    assert here("hits", tiny, "--store", tiny.parent / "store", "--out", target)[0] == 0
    assert target.read_text() == out


def test_an_import_with_places_repeats_no_training(copy: Path, here: Any) -> None:
    """An earlier version wrote the same data without places; now the user imports them again."""
    placed = (copy / "own.h5").read_bytes()
    dataset = datasets.read(copy / "own.h5")
    without = datasets.Dataset(dataset.codes, dataset.labels, dataset.split, dataset.classes)
    datasets.write(without, copy / "own.h5", None)
    shutil.rmtree(copy / "store" / "datasets")
    command = [copy / "peaks.yaml", "--store", copy / "store"]
    assert here("dataset", *command)[0] == 0
    code, out, err = here("hits", *command)
    assert code == 0 and out.startswith("test_0\t") and "does not say where" in err
    (copy / "own.h5").write_bytes(placed)
    code, _, err = here("hits", *command)
    assert code == 3 and "own.h5 has changed since data set own was made" in one_line(err)
    assert here("dataset", *command)[0] == 0
    code, out, err = here("hits", *command)
    assert code == 0 and out.startswith("chr8\t")


def test_missing_cells_are_named(copy: Path, here: Any) -> None:
    command = ["hits", copy / "peaks.yaml", "--store", copy / "store"]
    _, one, _ = here(*command, "--cells", "own/a/1")
    marker = place_of(copy / "store", "own/a/2", "peaks") / "done.json"
    content = json.loads(marker.read_text())
    content["keys"]["matches"] = "of another database"
    marker.write_text(json.dumps(content))
    code, out, err = here(*command)
    assert (code, out) == (3, one)
    assert err.splitlines()[-1] == (
        "motifk8s: study peaks: 1 of 2 cells is not finished, and the hits are those of the "
        "others: own/a/2 (outdated: its matches settings, data or code have changed)"
    )
    assert here(*command, "--cells", "own/a/1")[0] == 0
    code, out, err = here(*command, "--cells", "own/a/2", "--out", copy / "x.bed")
    assert (code, out) == (3, "") and not (copy / "x.bed").exists()
    assert "no cell is finished: own/a/2 (outdated: its matches" in one_line(err)
    code, _, err = here(*command, "--min-cells", 2)
    assert code == 2 and "--min-cells 2: the number of finished cells is 1" in one_line(err)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--cells", "own/a/*", "own/b/*"], "no cell matches 'own/b/*'; one of its cells is own/a"),
        (["--min-cells", "3"], "--min-cells 3: the number of finished cells is 2"),
        (["--out", "own.h5"], "cannot write own.h5: it is an input"),
        (["--out", "."], "cannot write .: expected a folder and found a file, or the reverse"),
        (["--out", "peaks.yaml/x.bed"], "expected a folder and found a file, or the reverse"),
    ],
)
def test_errors(
    made: tuple[Path, Any], here: Any, monkeypatch: Any, more: list[str], message: str
) -> None:
    monkeypatch.chdir(made[0])
    code, out, err = here("hits", "./peaks.yaml", *more)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if "left out" not in line]
    assert message in one_line("\n".join(lines))


def test_cells_of_two_data_sets_are_refused(tmp_path: Path, here: Any) -> None:
    more = {"datasets": {"more": {"kind": "synthetic", "classes": {"SRF": ["MA0083.3"]}}}}
    path = study_file(tmp_path / "tiny.yaml", more)
    code, _, err = here("hits", path, "--store", tmp_path / "store")
    assert code == 2
    assert "several data sets (small, more); choose one: --cells 'small/*'" in one_line(err)
