"""Two studies side by side, from made-up cells whose filters are known motifs."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.studies import cell_files, study
from scipy import stats

from motifk8s.cli import main, terminal
from motifk8s.errors import InputError
from motifk8s.filters.extract import Filters
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.motif import reverse_complement
from motifk8s.report import compare
from motifk8s.report.compare import FRACTIONS, MOTIFS, Side

SRF, YY1, GABPA, MAX = "MA0083.3", "MA0095.2", "MA0062.2", "MA0058.3"


def filters(*names, minus=False):
    ppms = []
    for name in names:
        ppm = np.full((19, 4), 0.25)
        known = jaspar_motif(name).ppm
        ppm[1 : 1 + len(known)] = known
        ppms.append(reverse_complement(ppm) if minus else ppm)
    n = len(names)
    array = np.array(ppms, np.float32)
    return {"conv1": Filters(array, np.ones(n, int), np.ones(n), "observed", np.zeros(n, bool))}


def side(shares, names, minus=False, hash_="ab" * 32):
    """Make a study: `shares` are the truth matches of the trials of each model."""
    cells = {}
    for model, values in shares.items():
        for trial, share in enumerate(values, 1):
            files = cell_files(model, trial, share)
            files = files._replace(filters=filters(*names, minus=minus))
            files.provenance["data_hash"] = hash_
            cells[f"synthetic/{model}/{trial}"] = files
    return Side(study(trials=3), cells, 0)


def row(frame, model="cnn-25", measure="match_truth"):
    [found] = frame[(frame.model_b == model) & (frame.measure == measure)].to_dict("records")
    return found


def test_paired_where_cells_and_data_are_the_same():
    a, b = [0.9, 0.8, 0.7], [0.8, 0.6, 0.65]
    frame = compare.compare(side({"cnn-25": a}, [SRF]), side({"cnn-25": b}, [SRF])).fractions
    assert list(frame.columns) == FRACTIONS
    of = row(frame)
    assert of["test"] == "paired"
    assert of["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert of["difference"] == pytest.approx(np.mean(b) - np.mean(a))
    # AUROC and any match are equal in all trials: their p are 1, and count in the correction.
    assert of["p_holm"] == pytest.approx(min(1, 3 * of["p"]))


def test_welch_where_the_data_differ():
    a, b = [0.9, 0.8, 0.7], [0.5, 0.6, 0.65]
    other = side({"cnn-25": b}, [SRF], hash_="cd" * 32)
    of = row(compare.compare(side({"cnn-25": a}, [SRF]), other).fractions)
    assert of["test"] == "Welch"
    assert of["p"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_only_models_of_both_studies_are_paired():
    a = side({"cnn-25": [0.9], "cnn-4": [0.1]}, [SRF])
    b = side({"cnn-25": [0.8], "cnn-1": [0.0]}, [SRF])
    frame = compare.compare(a, b).fractions
    pairs = list(dict.fromkeys(zip(frame.model_a, frame.model_b, strict=True)))
    assert pairs == [("cnn-25", "cnn-25"), ("cnn-4", ""), ("", "cnn-1")]
    assert (frame.test == "").all() and frame.p.isna().all()  # one trial
    alone = frame[frame.model_b == ""]
    assert alone.difference.isna().all() and (alone.trials_b == 0).all()


def test_the_only_models_are_paired_whatever_their_names():
    frame = compare.compare(side({"cnn-25": [0.9]}, [SRF]), side({"cnn-4": [0.1]}, [SRF])).fractions
    assert set(zip(frame.model_a, frame.model_b, strict=True)) == {("cnn-25", "cnn-4")}
    assert row(frame, "cnn-4")["difference"] == pytest.approx(-0.8)


@pytest.mark.parametrize("values", [([1.0] * 3, [1.0] * 3, 1.0), ([1.0] * 3, [0.5] * 3, math.nan)])
def test_welch_without_variance(values):
    a, b, p = values
    assert compare.welch(np.array(a), np.array(b)) == pytest.approx(p, nan_ok=True)


def test_motifs_of_both_and_of_one():
    a = side({"cnn-25": [1, 1]}, [SRF, YY1, MAX])
    b = side({"cnn-25": [1]}, [GABPA, MAX, SRF], minus=True)
    motifs = compare.compare(a, b).motifs
    assert list(motifs.columns) == MOTIFS
    found = {
        (where, factor_a if isinstance(factor_a, str) else factor_b)
        for where, factor_a, factor_b in zip(
            motifs.found_in, motifs.factor_a, motifs.factor_b, strict=True
        )
    }
    assert found == {("both", "SRF"), ("both", "MAX"), ("a", "YY1"), ("b", "Gabpa")}
    both = motifs[motifs.found_in == "both"]
    assert (both.factor_a == both.factor_b).all()
    assert (both.similarity > 0.99).all()  # on the other strand
    assert (both.trials_a == 2).all() and (both.trials_b == 1).all()
    assert list(motifs.found_in) == ["both", "both", "a", "b"]


def test_a_study_and_itself(tmp_path):
    own = side({"cnn-25": [1, 1, 1]}, [SRF, YY1])
    compared = compare.compare(own, own)
    assert (compared.motifs.found_in == "both").all()
    assert (compared.fractions.p == 1).all()
    paths = compare.write(compared, tmp_path)
    assert [path.name for path in paths] == ["fractions.csv", "motifs.csv"]
    assert list(pd.read_csv(paths[1]).motif_a) == ["synthetic-1", "synthetic-2"]
    with pytest.raises(InputError, match="motifs.csv"):
        compare.write(compared, tmp_path, [paths[1]])


def test_what_the_terminal_shows(capsys):
    a = side({"cnn-25": [0.9, 0.8, 0.7]}, [SRF, YY1])
    b = side({"cnn-25": [0.8, 0.6, 0.65]}, [SRF, GABPA])
    terminal.print_comparison(["one", "two"], compare.compare(a, b))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["a: one", "b: two"]
    text = "\n".join(lines)
    assert "0.800 ± 0.082   0.683 ± 0.085" in text and "−0.117" in text
    assert "p: paired t-test, after Holm's correction" in text
    assert "1 motifs of both, 1 of a alone, 1 of b alone" in text
    [line] = [line for line in lines if "YY1" in line]
    assert line.split()[-3:] == ["3", "of", "3"]


def test_the_command(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    store = str(tiny.parent / "store")
    line = ["compare", str(tiny), str(tiny), "--store", store, "--out", str(out)]
    assert main.main(line) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"a: tiny, {store}\nb: tiny, {store}\n")
    assert shown.splitlines()[-2:] == [f"{out}/fractions.csv", f"{out}/motifs.csv"]
    line = ["compare", str(tiny), str(tiny), "--store", store, "--store2", str(tmp_path / "no")]
    assert main.main(line) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "study tiny has no finished cell in" in error
