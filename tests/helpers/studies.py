"""A small study, made-up results and cells, and checks of pictures and HTML."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
from PIL import Image

from motifk8s.cells.finished import CellFiles
from motifk8s.filters import analysis
from motifk8s.filters.extract import Filters
from motifk8s.report import tables
from motifk8s.study.study import Study

LAYER = {
    "n_filters": 30, "window": 19, "match_any": 0.5, "match_truth": 0.5, "match_null": 0.0,
    "dead": 0, "coverage": 0.5, "maximum": "observed", "labels": {},
}  # fmt: skip


def study(expected=(), trials=5, labels=None, pools=(("cnn-1", 1), ("cnn-4", 4), ("cnn-25", 25))):
    return Study.model_validate(
        {
            "name": "small",
            "trials": trials,
            "datasets": {"synthetic": {"kind": "synthetic", "classes": {"SRF": ["MA0083.3"]}}},
            "models": {
                name: {
                    "label": (labels or {}).get(name, ""),
                    "conv": [
                        {"filters": 30, "width": 19, "pool": pool},
                        {"filters": 8, "width": 5, "pool": 100 // pool},
                    ],
                }
                for name, pool in pools
            },
            "expected": [{"dataset": "synthetic", "measure": "match_truth", **e} for e in expected],
        }
    )


def metrics(model, trial, layer="conv1", auroc=0.95, **values):
    return {
        "format": 1, "cell": f"synthetic/{model}/{trial}", "dataset": "synthetic", "model": model,
        "trial": trial, "auroc": auroc, "aupr": 0.8, "val_loss": 0.2, "epochs": 44,
        "seconds": 100.0, "layers": {layer: {**LAYER, **values}},
    }  # fmt: skip


def frame(study, shares):
    """Return results of made-up cells from their match_truth by model and trial."""
    cells = [
        metrics(model, trial, match_truth=share)
        for model, trials in shares.items()
        for trial, share in enumerate(trials, 1)
    ]
    return tables.results(cells, study)


def cell_files(model, trial, share, n=6):
    rng = np.random.default_rng(trial)
    ppm = rng.dirichlet([0.2] * 4, size=(n, 19)).astype(np.float32)
    dead = np.arange(n) == n - 1
    labels = {
        "filter0": {"target": "MA0083.3", "evalue": 1e-8, "class": "SRF"},
        "filter3": {"target": "MA0083.3", "evalue": 1e-9, "class": "SRF"},
        "filter2": {"target": "MA0615.1", "evalue": 0.008, "class": ""},
        "filter4": {"target": "<b>mine", "evalue": 0.05, "class": ""},
    }
    values = metrics(model, trial, match_truth=share, n_filters=n, dead=1, labels=labels)
    values |= {"best_epoch": 2, "auroc_by_class": {"SRF": 0.9}, "aupr_by_class": {"SRF": 0.5}}
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [1, 0.5], "val_loss": [1, 0.7], "val_auroc": [0.6, 0.9]}
    )
    ones = np.ones(n)
    provenance = {
        "format": 1, "code_version": "0.1.0+gabc", "libraries": {"keras": f"3.{trial}"},
        "device": "CPU", "data_hash": "ab" * 32, "stages": {"training": 10.0},
        "peak_memory_bytes": 2**30, "resumed_at_epochs": [],
    }  # fmt: skip
    layers = {"conv1": Filters(ppm, ones.astype(int), ones, "observed", dead)}
    return CellFiles(values, history, layers, provenance, analysis_of(labels, share, n))


def analysis_of(labels, share, n):
    """Return the tables of a cell's analysis, for the labels of `cell_files`."""
    sensitivity = [
        ("conv1", setting, value, n, min(1, share + 0.1), share * size, 0.0, 1)
        for setting, values in {
            "threshold": ["0.3", "0.5"], "trim_bits": ["none", "0.5"], "evalue": ["0.1"],
            "database": ["JASPAR2016", "JASPAR2020"],
        }.items()
        for value, size in zip(values, (0.4, 1.0), strict=False)
    ]  # fmt: skip
    importance, firing = [], []
    for i in range(n):
        label = labels.get(f"filter{i}", {"target": "", "class": ""})
        keys = "conv1", f"filter{i}", label["target"], label["class"]
        rise, together = (0.02, 0.05) if label["class"] else (0.001 * i, np.nan)
        importance.append((*keys, rise, 0.01, "SRF", 0.1, together))
        if label["class"]:
            firing.append((*keys, 100, 80 + i, 0.8 + i / 100, 0.05, 60, 24, 0.4, -1.5, 0.5))
    rows = {"sensitivity": sensitivity, "importance": importance, "firing": firing}
    return {
        name: pd.DataFrame(rows[name], columns=list(columns))
        for name, columns in analysis.TABLES.items()
    }


class Balanced(HTMLParser):
    """Fails on a tag that is closed in the wrong place."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


HOSTILE = "A|B<script>*_[x](y)`&amp;"


def check_png(path, dark=0.003):
    with Image.open(path) as image:
        assert image.width > 400 and image.height > 100
        grey = np.asarray(image.convert("L"))
    assert (grey < 200).mean() > dark
