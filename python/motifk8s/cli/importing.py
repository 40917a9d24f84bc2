"""The command ``motifk8s import``: data sets from DeepSEA's bundle, FASTA, BED or HDF5."""

from __future__ import annotations

import argparse
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motifk8s.cli.arguments import add, add_store
from motifk8s.data.starter_study import assignments, class_motifs, names_in, starter_study
from motifk8s.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from motifk8s.data.datasets import Dataset

COMPARED = ["here", "paper", "difference"]
FILES = """\
FILES are CLASS=FILE for each class, or one pattern with {} in the place of the class, such as
peaks/{}.fa.gz, or one FILE for all classes. Any file may be compressed by gzip.
"""
LABELLED = """\
One FASTA file for all classes has labels in its headers: ">name labels=SRF,-YY1" is positive for
SRF and negative for YY1, "labels=" is negative for all, and "split=test" (or valid, train) puts a
sequence there.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``import`` to those of the program."""
    text = "make a data set from other people's files, or your own"

    def told(_: argparse.Namespace) -> int:
        parent.print_help()
        return 2

    parent = add(commands, "import", told, text, epilog="")
    kinds = parent.add_subparsers(title="kinds", metavar="KIND")
    kind = partial(add, kinds, epilog="")

    sub = kind("deepsea", _deepsea, "put DeepSEA's data, the paper's in vivo set, into the store")
    sub.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", help="folder, tar.gz or URL (default: DeepSEA's own)"
    )
    sub.add_argument("--study", default="koo2019", help="that says which classes (%(default)s)")
    sub.add_argument("--dataset", metavar="NAME", help="of the study, if several are DeepSEA's")
    add_store(sub)

    sub = kind("fasta", _fasta, "make a data set from FASTA files", epilog=FILES + LABELLED)
    sub.add_argument("files", metavar="FILES", nargs="+", help="sequences for training")
    sub.add_argument(
        "--valid", metavar="FILES", nargs="+", help="for validation, or a share (default: 0.1)"
    )
    sub.add_argument(
        "--test", metavar="FILES", nargs="+", help="for the test, or a share (default: 0.2)"
    )
    sub.add_argument(
        "--negatives",
        metavar="FILES",
        nargs="+",
        help="negatives for training, or dinucleotide to make them by shuffling (default: none)",
    )
    sub.add_argument(
        "--valid-negatives", metavar="FILES", nargs="+", help="negatives for validation"
    )
    sub.add_argument("--test-negatives", metavar="FILES", nargs="+", help="negatives for the test")
    sub.add_argument(
        "--negatives-from-others",
        action="store_true",
        help="take every sequence that is not given for a class as negative, not as unknown",
    )
    sub.add_argument("--length", metavar="BP", type=int, help="crop longer sequences to the centre")
    _output(sub)

    sub = kind(
        "bed", _bed, "make a data set from peaks (BED, narrowPeak) and a genome", epilog=FILES
    )
    sub.add_argument("files", metavar="FILES", nargs="+", help="peaks of each class")
    sub.add_argument("--genome", metavar="FASTA", type=Path, required=True, help="of the peaks")
    sub.add_argument("--bin", metavar="BP", type=int, default=200, help="(%(default)s)")
    sub.add_argument(
        "--length", metavar="BP", type=int, default=1000, help="of sequences (%(default)s)"
    )
    sub.add_argument(
        "--rule",
        choices=["bin", "merged"],
        default="bin",
        help="a bin with flanks, or bins merged with their labels (%(default)s)",
    )
    sub.add_argument("--test", metavar="A,B", default="chr8,chr9", help="chromosomes (%(default)s)")
    sub.add_argument(
        "--valid", metavar="A,B", default="chr7", help="chromosomes, or a share (%(default)s)"
    )
    sub.add_argument("--chromosomes", metavar="A,B", help="to use (default: autosomes)")
    sub.add_argument(
        "--negatives",
        choices=["bins", "all", "dinucleotide"],
        help="add as many bins without peaks, all bins, or shuffled sequences (default: none)",
    )
    sub.add_argument("--both-strands", action="store_true", help="add reverse complements")
    sub.add_argument("--bins-out", metavar="FILE.tsv", type=Path, help="where each row comes from")
    _output(sub)

    sub = kind("hdf5", _hdf5, "name the classes of an HDF5 file (X_train, Y_train, ...)")
    sub.add_argument("file", metavar="FILE.h5", type=Path, help="ours, or of the reference layout")
    sub.add_argument("--classes", metavar="A,B", required=True, help="names, in order of labels")
    _output(sub, seed=False)


def _output(parser: argparse.ArgumentParser, *, seed: bool = True) -> None:
    if seed:
        parser.add_argument("--seed", metavar="N", type=int, default=2019, help="(%(default)s)")
    parser.add_argument("--out", metavar="FILE.h5", type=Path, required=True, help="to write")
    parser.add_argument(
        "--study-out",
        metavar="FILE.yaml",
        type=Path,
        help="write a study of the data to begin with",
    )
    parser.add_argument(
        "--motifs",
        metavar="CLASS=ID,ID",
        nargs="+",
        default=[],
        help="known motifs of classes (default: looked up in JASPAR by name)",
    )
    parser.add_argument("--release", default="JASPAR2016", help="of JASPAR (%(default)s)")


# --- Arguments -------------------------------------------------------------------------------


def parse_files(values: Sequence[str], classes: Sequence[str] = ()) -> Path | dict[str, Path]:
    """One file, or a file by class, from CLASS=FILE ..., a pattern with {}, or FILE.

    Parameters
    ----------
    values : sequence of str
    classes : sequence of str
        What {} stands for; by default whatever is found, in the order of their names.

    Raises
    ------
    InputError
        Also for a class given twice, and a pattern that nothing fits.
    """
    pattern = values[0] if len(values) == 1 and "{}" in values[0] else None
    if pattern is not None and "=" not in pattern.split("{}")[0]:
        if pattern.count("{}") > 1:
            raise InputError(f"{pattern}: give {{}} once, in the place of the class")
        before, after = pattern.split("{}")
        if not classes:
            found = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}")
            classes = sorted(path[len(before) : len(path) - len(after)] for path in found)
            classes = [name for name in classes if name]
        if not classes:
            raise InputError(f"{pattern}: no file fits this pattern")
        return {name: Path(f"{before}{name}{after}") for name in classes}
    if len(values) == 1 and "=" not in values[0]:
        return Path(values[0])
    return {name: Path(path) for name, path in assignments(values, "FILE").items()}


def _share(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9]+(\.[0-9]*)?", text) else None


# --- Commands --------------------------------------------------------------------------------


def _deepsea(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.data import deepsea, stored
    from motifk8s.store.open import open_store
    from motifk8s.study.study import load

    study, store = load(args.study), open_store(args.store)
    names = [name for name, spec in study.datasets.items() if spec.kind == "deepsea"]
    name = args.dataset or (names[0] if len(names) == 1 else None)
    if name not in names:
        raise InputError(
            f"study {study.name}: say which DeepSEA data set by --dataset: {', '.join(names)}"
            if names
            else f"study {study.name} has no data set of kind deepsea; try --study koo2019"
        )
    with _bytes_bar() as progress:
        facts = deepsea.prepare(study, name, store, args.bundle, progress)
    terminal.print_dataset(name, f"{store.url}/{stored.place(study, name)}", facts)
    rows = [
        [row["what"], *("" if row[key] is None else f"{row[key]:,}" for key in COMPARED)]
        for row in deepsea.compare(facts)
    ]
    _print_table(["", *COMPARED], rows)
    return 0


@contextmanager
def _bytes_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for what is read or downloaded; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(bar_width=24), DownloadColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _fasta(args: argparse.Namespace) -> int:
    from motifk8s.data.fasta import import_fasta

    _check_outputs(args)
    train = parse_files(args.files)
    classes = list(train) if isinstance(train, dict) else []

    def given(values: list[str] | None, word: str = "") -> Any:
        if values is None or values == [word]:
            return values and word
        if len(values) == 1 and (share := _share(values[0])) is not None:
            return share
        return parse_files(values, classes)

    options: dict[str, Any] = {
        "valid": given(args.valid),
        "test": given(args.test),
        "negatives": given(args.negatives, "dinucleotide"),
        "valid_negatives": given(args.valid_negatives),
        "test_negatives": given(args.test_negatives),
    }
    for name in ("negatives", "valid_negatives", "test_negatives"):
        if isinstance(options[name], float):
            raise InputError(f"--{name.replace('_', '-')}: give files, not a share")
    rest = {
        "others_negative": args.negatives_from_others,
        "length": _positive(args.length, "--length"),
        "seed": _seed(args.seed),
    }
    dataset, notes = import_fasta(train, **options, **rest)
    spec = {"import": "fasta", "train": train, **options, **rest}
    _finish(args, dataset, spec, notes)
    return 0


def _bed(args: argparse.Namespace) -> int:
    from rich.console import Console

    from motifk8s.data.bed import import_bed

    _check_outputs(args)
    peaks = parse_files(args.files)
    if isinstance(peaks, Path):
        raise InputError(f"{peaks}: name its class: CLASS={peaks}")
    share = _share(args.valid)
    # A name such as 7 is a chromosome; a share has a point.
    valid = share if share is not None and "." in args.valid else names_in(args.valid)
    options: dict[str, Any] = {
        "bin_size": args.bin,
        "length": args.length,
        "rule": args.rule,
        "test": names_in(args.test),
        "valid": valid,
        "chromosomes": names_in(args.chromosomes) if args.chromosomes else None,
        "negatives": args.negatives,
        "both_strands": args.both_strands,
        "seed": _seed(args.seed),
    }
    with Console(stderr=True).status("peaks") as status:
        dataset, notes, bins = import_bed(peaks, args.genome, **options, progress=status.update)
    spec = {"import": "bed", "peaks": peaks, "genome": args.genome.name, **options}
    _finish(args, dataset, spec, notes, bins if args.bins_out else None)
    return 0


def _hdf5(args: argparse.Namespace) -> int:
    from motifk8s.data import datasets

    _check_outputs(args)
    dataset = datasets.read(args.file, names_in(args.classes))
    _finish(args, dataset, {"import": "hdf5", "file": args.file}, {})
    return 0


def _positive(value: int | None, option: str) -> int | None:
    if value is not None and value < 1:
        raise InputError(f"{option} {value}: must be at least 1")
    return value


def _seed(value: int) -> int:
    if value < 0:
        raise InputError(f"--seed {value}: must be at least 0")
    return value


def _check_outputs(args: argparse.Namespace) -> None:
    """Tell before the work what would spoil its end."""
    for path in (args.out, args.study_out, getattr(args, "bins_out", None)):
        if path is not None and path.is_dir():
            raise InputError(f"{path}: is a folder; give the name of a file")
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    if args.study_out and args.study_out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--study-out {args.study_out}: its name must end in .yaml")


def _finish(
    args: argparse.Namespace,
    dataset: Dataset,
    spec: Mapping[str, Any],
    notes: Mapping[str, int],
    bins: pd.DataFrame | None = None,
) -> None:
    """Look up motifs, write data set, study and bins, and print what they hold."""
    from motifk8s.cli import terminal
    from motifk8s.data import datasets
    from motifk8s.store.files import replacing

    motifs, remarks = class_motifs(dataset.classes, args.motifs, args.release)
    study = None
    if args.study_out:
        path = os.path.relpath(args.out.absolute(), args.study_out.absolute().parent)
        length = dataset.codes.shape[1]
        study = starter_study(args.study_out.stem, path, length, motifs, args.release)
    datasets.write(dataset, args.out, _plain(spec))
    if study:
        with replacing(args.study_out) as file:
            file.write(study.encode())
    if bins is not None:
        bins["part"] = [datasets.PARTS[part] for part in bins["part"]]
        for i, name in enumerate(dataset.classes):
            bins[name] = dataset.labels[:, i]
        with replacing(args.bins_out) as file:
            bins.to_csv(file, sep="\t", index=False, lineterminator="\n")

    facts = datasets.describe(dataset)
    terminal.print_dataset(args.out.stem, str(args.out), facts)
    parts = ["training", "validation", "test"]
    rows = []
    for i, name in enumerate(dataset.classes):
        negative = [int((dataset.part(part)[1][:, i] == 0).sum()) for part in datasets.PARTS]
        unknown = facts["unknown_labels"][name].values()
        rows.append([name, *(f"{n} ({u})" for n, u in zip(negative, unknown, strict=True))])
    _print_table(["negatives (unknown)", *parts], rows)
    if notes:
        _print_table(["what was done", "number"], [[k, f"{n:,}"] for k, n in notes.items()])
    _print_table(
        [f"known motifs ({args.release})", "ids"],
        [[name, ", ".join(ids) or remarks[name]] for name, ids in motifs.items()],
    )
    if args.study_out:
        place = args.study_out if args.study_out.is_absolute() else f"./{args.study_out}"
        print(f"a study of it: {args.study_out}; run it: motifk8s run {place}")


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i and name != "ids" else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: a name may look like markup
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 100
    console.print()
    console.print(table)


def _plain(value: Any) -> Any:
    """As JSON, files by their name and the hash of their content."""
    from motifk8s.store.files import sha256_of

    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {"file": value.name, "sha256": sha256_of(value)} if isinstance(value, Path) else value
