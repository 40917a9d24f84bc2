"""Measure the peak memory of training on a data set as large as the paper's in vivo data.

    python bench/memory.py [--sequences 270000] [--length 1000] [--rows 20000]

The script puts random codes and labels on the device, and trains on some rows. It reports the peak
resident memory of the process minus its memory after the first operation of TensorFlow. The network
is CNN-25 of koo2019 with its in vivo training settings.
"""

from __future__ import annotations

import argparse
import time

import machine
import numpy as np


def main() -> None:
    """Measure the memory and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--sequences", type=int, default=270_000, help="number of sequences (%(default)s)")
    add("--length", type=int, default=1_000, help="length of a sequence in bp (%(default)s)")
    add("--rows", type=int, default=20_000, help="sequences to train on (%(default)s)")
    args = parser.parse_args()

    from motifk8s.study.study import load
    from motifk8s.training import devices, models

    devices.setup(1)
    import keras

    keras.ops.convert_to_numpy(keras.ops.ones((2, 2)) @ keras.ops.ones((2, 2)))
    before = machine.resident()

    paper = load("koo2019")
    settings = paper.training_for("invivo")
    source = np.random.default_rng(0)
    codes = source.integers(0, 4, (args.sequences, args.length), dtype=np.uint8)
    labels = source.integers(0, 2, (args.sequences, 12), dtype=np.int8)
    model = models.build(paper.models["cnn-25"], settings, args.length, 12)
    adam = keras.optimizers.Adam(settings.learning_rate)
    device = devices.open_device(model, adam, settings.steps(args.sequences))
    data = device.put(codes, labels)
    order = source.permutation(args.sequences)[: args.rows].astype(np.int32)
    start = time.monotonic()
    device.train(data, order, settings.batch_size)
    seconds = time.monotonic() - start
    device.predict(codes[: args.rows])
    peak = machine.peak()
    print(
        f"{args.sequences} x {args.length} bp: peak {(peak - before) / 2**20:.0f} MiB beyond "
        f"{before / 2**20:.0f} MiB with TensorFlow; {args.rows} rows trained in {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
