"""Break a DeepSEA bundle: functions that do so, with a pattern of the expected message."""

from __future__ import annotations

import shutil

import numpy as np
from helpers.bundles import write_5, write_73

CLASSES = {"SRF": 361, "Arid3a": 592, "MAX": 636}


def labels(part, change):
    def broken(folder, arrays):
        name = f"{part}data"
        mats = arrays[part] | {name: change(arrays[part][name].copy())}
        (write_73 if part == "train" else write_5)(folder / f"{part}.mat", mats)

    return broken


def sequences(part, change):
    def broken(folder, arrays):
        name = f"{part}xdata"
        mats = arrays[part] | {name: change(arrays[part][name].copy(), arrays[part][f"{part}data"])}
        (write_73 if part == "train" else write_5)(folder / f"{part}.mat", mats)

    return broken


def setting(value, channel=None):
    """Set one base of the last kept row, in one channel or in all."""

    def change(x, y):
        row = np.flatnonzero(y[:, list(CLASSES.values())].any(axis=1))[-1]
        x[row, slice(None) if channel is None else channel, 17] = value
        return x

    return change


def put(y, value):
    y[11, 592] = value
    return y


def swap(one, other):
    def broken(folder, _):
        (folder / one).rename(folder / "third")
        (folder / other).rename(folder / one)
        (folder / "third").rename(folder / other)

    return broken


def cut(name, share):
    def broken(folder, _):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return broken


def spoil(name):
    """Change bytes in the middle of the largest compressed array of a file."""

    def broken(folder, _):
        content = bytearray((folder / name).read_bytes())
        middle = len(content) * 3 // 5
        content[middle : middle + 40] = bytes(b ^ 0x55 for b in content[middle : middle + 40])
        (folder / name).write_bytes(content)

    return broken


def content(name, data):
    def broken(folder, _):
        (folder / name).write_bytes(data)

    return broken


def other_arrays(folder, _):
    write_73(folder / "train.mat", {"data": np.zeros((5, 4), np.uint8)})


def wrong_rows(folder, arrays):
    y = arrays["train"]["traindata"]
    write_73(folder / "train.mat", arrays["train"] | {"traindata": y[:-1]})


def directory(folder, _):
    (folder / "valid.mat").unlink()
    (folder / "valid.mat").mkdir()


BROKEN = {
    "918 labels": (labels("train", lambda y: y[:, :918]), r"train.mat: traindata .*\(61, 918\)"),
    "918 labels in 5": (labels("test", lambda y: y[:, :918]), r"test.mat: testdata .*\(30, 918\)"),
    "float labels": (labels("train", lambda y: y.astype("f4")), "traindata is float32"),
    "float labels in 5": (labels("valid", lambda y: y.astype("f8")), "validdata is float64"),
    "text": (labels("valid", lambda y: "text"), "validdata is not numeric"),
    "label 2": (labels("train", lambda y: put(y, 2)), "sequence 11, label 592 is 2, not 0 or 1"),
    "label 2 in 5": (labels("test", lambda y: put(y, 2)), "sequence 11, label 592 is 2"),
    "label -1": (labels("test", lambda y: put(y.astype("i1"), -1)), "label 592 is -1"),
    "length": (sequences("train", lambda x, y: x[:, :, :-1]), r"\(61, 4, 22\).*\(61, 4, 23\)"),
    "channels": (sequences("train", lambda x, y: x[:, :3]), r"\(61, 3, 23\)"),
    "channels last": (sequences("test", lambda x, y: x.transpose(0, 2, 1)), r"\(30, 23, 4\)"),
    "float": (sequences("train", lambda x, y: x.astype("f8")), "trainxdata is float64"),
    "float in 5": (sequences("test", lambda x, y: x.astype("f4")), "testxdata is float32"),
    "value 2": (sequences("train", setting(2, 1)), r"train.mat.*position 17 .*A G C T = .*2"),
    "value 2 in 5": (sequences("valid", setting(2, 1)), r"valid.mat.*position 17 "),
    "value 16": (sequences("valid", setting(16, 3)), "position 17 is not one-hot"),
    "two bases": (sequences("train", setting(1)), "position 17 .*A G C T = 1, 1, 1, 1"),
    "rows differ": (wrong_rows, r"trainxdata .*\(60, 4, 23\)"),
    "no rows": (labels("valid", lambda y: y[:0]), "validdata"),
    "others": (other_arrays, "has no traindata and no trainxdata; it has data"),
    "train as valid": (swap("train.mat", "valid.mat"), "these are the data of valid.mat"),
    "valid as test": (swap("valid.mat", "test.mat"), "swapped"),
    "cut 7.3": (cut("train.mat", 0.7), "train.mat: truncated or damaged"),
    "cut 7.3 early": (cut("train.mat", 0.01), "train.mat: truncated or damaged"),
    "cut 5": (cut("test.mat", 0.9), "test.mat: truncated or damaged"),
    "cut 5 early": (
        cut("test.mat", 0.3),
        "test.mat: has no testxdata; .* truncated, download it again",
    ),
    "damaged 7.3": (spoil("train.mat"), r"train.mat: truncated or damaged \(traindata: "),
    "damaged 5": (spoil("valid.mat"), "valid.mat: truncated or damaged"),
    "empty": (content("valid.mat", b""), "valid.mat: is not a MATLAB file of version 5 or 7.3"),
    "a page": (content("train.mat", b"<html>" * 99), "train.mat: is not a MATLAB file"),
    "missing": (lambda folder, _: (folder / "valid.mat").unlink(), "has no valid.mat"),
    "a folder": (directory, "valid.mat: cannot read it: Is a directory"),
    "twice": (lambda folder, _: shutil.copytree(folder, folder / "b"), "more than one test.mat"),
    "no positives": (labels("test", lambda y: y & (np.arange(919) != 361)), "class SRF has no pos"),
    "nothing kept": (labels("valid", lambda y: y * 0), "the valid part has no sequences"),
}
