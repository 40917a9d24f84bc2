"""The command import: data sets from DeepSEA's bundle, FASTA, BED or HDF5."""

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

from motifk8s.cli.arguments import DEFAULT, add, add_store, local_path, open_study, utf8
from motifk8s.errors import InputError, command

if TYPE_CHECKING:
    import pandas as pd

    from motifk8s.data.datasets import Dataset

Files = Path | dict[str, Path]
"""One file, or one file per class."""
COMPARED = ["here", "paper", "difference"]
FILES = """\
FILES are CLASS=FILE for each class, or one pattern with {} in the place of the class, e.g.
peaks/{}.fa.gz, or one FILE for all classes. Files may be compressed with gzip.
"""
LABELLED = """\
A FASTA file for all classes has labels in its headers: ">name labels=SRF,-YY1" is positive for SRF
and negative for YY1; "labels=" is negative for all classes. "split=test" (or valid, train) assigns
a sequence to a part.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command import."""
    text = "make a data set from FASTA, BED or HDF5 files, or import DeepSEA's data"

    def print_help(_: argparse.Namespace) -> int:
        parent.print_help()
        return 2

    parent = add(commands, "import", print_help, text, epilog="")
    kind = partial(add, parent.add_subparsers(title="kinds", metavar="KIND"), epilog="")
    _add_deepsea(kind("deepsea", _deepsea, "import DeepSEA's data (the in vivo data of the paper)"))
    _add_fasta(kind("fasta", _fasta, "make a data set from FASTA files", epilog=FILES + LABELLED))
    _add_bed(
        kind("bed", _bed, "make a data set from peaks (BED, narrowPeak) and a genome", epilog=FILES)
    )
    _add_hdf5(kind("hdf5", _hdf5, "name the classes of an HDF5 file (X_train, Y_train, ...)"))


def _add_deepsea(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", help="folder, tar.gz or URL (default: DeepSEA's URL)"
    )
    parser.add_argument("--study", default="koo2019", help=f"study that has the data set {DEFAULT}")
    parser.add_argument("--dataset", metavar="NAME", help="data set, if the study has several")
    add_store(parser)


def _add_fasta(parser: argparse.ArgumentParser) -> None:
    files = partial(parser.add_argument, metavar="FILES", nargs="+")
    files("files", help="training sequences")
    files("--valid", help="validation sequences, or a share of FILES (default: 0.1)")
    files("--test", help="test sequences, or a share of FILES (default: 0.2)")
    files("--negatives", help="training negatives, or dinucleotide: shuffle the positives")
    files("--valid-negatives", help="validation negatives")
    files("--test-negatives", help="test negatives")
    parser.add_argument(
        "--negatives-from-others",
        action="store_true",
        help="count sequences of other classes as negative for a class, not as unknown",
    )
    parser.add_argument("--length", metavar="BP", type=int, help="crop sequences to their centre")
    _add_seed(parser)
    _add_outputs(parser)


def _add_bed(parser: argparse.ArgumentParser) -> None:
    argument = parser.add_argument
    argument("files", metavar="FILES", nargs="+", help="peaks of each class")
    argument("--genome", metavar="FASTA", type=Path, required=True, help="genome of the peaks")
    argument("--bin", metavar="BP", type=int, default=200, help=f"bin size {DEFAULT}")
    argument("--length", metavar="BP", type=int, default=1000, help=f"sequence length {DEFAULT}")
    argument(
        "--rule",
        choices=["bin", "merged"],
        default="bin",
        help=f"a sequence per bin, or per group of merged bins {DEFAULT}",
    )
    argument("--test", metavar="A,B", default="chr8,chr9", help=f"test chromosomes {DEFAULT}")
    argument("--valid", metavar="A,B", default="chr7", help=f"chromosomes or a share {DEFAULT}")
    argument("--chromosomes", metavar="A,B", help="chromosomes to use (default: autosomes)")
    argument(
        "--negatives",
        choices=["bins", "all", "dinucleotide"],
        help="add as many bins without peaks as positives, all of them, or shuffled sequences",
    )
    argument("--both-strands", action="store_true", help="add reverse complements")
    argument("--bins-out", metavar="FILE.tsv", type=local_path, help="table of the bins to write")
    _add_seed(parser)
    _add_outputs(parser)


def _add_hdf5(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE.h5", type=Path, help="file of motifk8s or of the reference code"
    )
    parser.add_argument("--classes", metavar="A,B", required=True, help="class of each label")
    _add_outputs(parser)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", metavar="N", type=int, default=2019, help=f"seed {DEFAULT}")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="FILE.h5", type=local_path, required=True, help="data set to write"
    )
    parser.add_argument(
        "--study-out", metavar="FILE.yaml", type=local_path, help="study file to write"
    )
    parser.add_argument(
        "--motifs",
        metavar="CLASS=ID,ID",
        nargs="+",
        default=[],
        help="known motifs of a class (default: motifs in JASPAR that have its name)",
    )
    parser.add_argument("--release", default="JASPAR2016", help=f"JASPAR release {DEFAULT}")


# --- Arguments -------------------------------------------------------------------------------


def parse_files(values: Sequence[str], classes: Sequence[str] = ()) -> Files:
    """Parse FILES: CLASS=FILE for each class, a pattern with {}, or one FILE.

    `classes` replace {}. By default, these are the classes of the existing files, sorted.
    """
    only = values[0] if len(values) == 1 else ""
    if "{}" in only and "=" not in only.split("{}")[0]:
        return _matching_files(only, classes)
    if only and "=" not in only:
        return Path(only)
    return {name: Path(path) for name, path in assignments(values, "FILE").items()}


def _matching_files(pattern: str, classes: Sequence[str]) -> dict[str, Path]:
    """Return one file per class from a pattern with {} in the place of the class."""
    if pattern.count("{}") > 1:
        raise InputError(f"{pattern}: expected {{}} once, in the place of the class")
    before, after = pattern.split("{}")
    if not classes:
        paths = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}")
        names = (path[len(before) : len(path) - len(after)] for path in paths)
        classes = sorted(name for name in names if name)
    if not classes:
        raise InputError(f"{pattern}: no file matches this pattern")
    return {utf8(name): Path(f"{before}{name}{after}") for name in classes}


def assignments(values: Sequence[str], what: str) -> dict[str, str]:
    """Parse CLASS=WHAT for each class."""
    result: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            raise InputError(f"{value!r}: give CLASS={what} for each class")
        if name in result:
            raise InputError(f"{value}: class {name} is given twice; give one {what} per class")
        result[utf8(name)] = rest
    return result


def names_in(text: str) -> list[str]:
    """Parse NAME,NAME."""
    names = utf8(text).split(",")
    if not all(names):
        raise InputError(f"{text!r}: a name is empty; give NAME,NAME")
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{text!r}: {min(twice)} is given more than once")
    return names


def _share(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9]+(\.[0-9]*)?", text) else None


# --- Commands --------------------------------------------------------------------------------


def _deepsea(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.data import deepsea, stored

    study, store = open_study(args)
    names = [name for name, spec in study.datasets.items() if spec.kind == "deepsea"]
    name = args.dataset or (names[0] if len(names) == 1 else None)
    if name not in names:
        raise InputError(
            f"study {study.name}: choose a DeepSEA data set with --dataset: {', '.join(names)}"
            if names
            else f"study {study.name} has no data set of kind deepsea; try --study koo2019"
        )
    with _bytes_bar() as progress:
        facts = deepsea.prepare(study, name, store, args.bundle, progress)
    terminal.print_dataset(name, f"{store.url}/{stored.where(study, name, store)}", facts)
    rows = [
        [row["what"], *("" if row[key] is None else f"{row[key]:,}" for key in COMPARED)]
        for row in deepsea.compare(facts)
    ]
    _print_table(["", *COMPARED], rows)
    return 0


@contextmanager
def _bytes_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for bytes read or downloaded; nothing without a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from motifk8s.cli import terminal

    console = terminal.new_console(stderr=True)
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
    from motifk8s.data.fasta import FastaOptions, import_fasta

    train = parse_files(args.files)
    classes = list(train) if isinstance(train, dict) else []
    negatives: Any = "dinucleotide"
    if args.negatives != ["dinucleotide"]:
        negatives = _negative_files("--negatives", args.negatives, classes)
    options = FastaOptions(
        valid=_files_or_share(args.valid, classes),
        test=_files_or_share(args.test, classes),
        negatives=negatives,
        valid_negatives=_negative_files("--valid-negatives", args.valid_negatives, classes),
        test_negatives=_negative_files("--test-negatives", args.test_negatives, classes),
        others_negative=args.negatives_from_others,
        length=args.length,
        seed=args.seed,
    )
    _check_outputs(args, train, *vars(options).values())
    dataset, notes = import_fasta(train, options)
    _finish(args, dataset, {"import": "fasta", "train": train, **vars(options)}, notes)
    return 0


def _files_or_share(values: list[str] | None, classes: list[str]) -> Files | float | None:
    if values is None:
        return None
    share = _share(values[0]) if len(values) == 1 else None
    return parse_files(values, classes) if share is None else share


def _negative_files(option: str, values: list[str] | None, classes: list[str]) -> Files | None:
    files = _files_or_share(values, classes)
    if isinstance(files, float):
        raise InputError(f"{option}: give files, not a share")
    return files


def _bed(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.data.bed import BedOptions, import_bed

    peaks = parse_files(args.files)
    if isinstance(peaks, Path):
        raise InputError(f"{peaks}: name its class: CLASS={peaks}")
    index = {suffix: Path(f"{args.genome}{suffix}") for suffix in (".fai", ".gzi")}
    _check_outputs(args, peaks, args.genome, index)
    # 7 is a chromosome, because a share has a decimal point.
    share = _share(args.valid) if "." in args.valid else None
    options = BedOptions(
        bin_size=args.bin,
        length=args.length,
        rule=args.rule,
        test=names_in(args.test),
        valid=names_in(args.valid) if share is None else share,
        chromosomes=names_in(args.chromosomes) if args.chromosomes else None,
        negatives=args.negatives,
        both_strands=args.both_strands,
        seed=args.seed,
    )
    with terminal.new_console(stderr=True).status("peaks") as status:
        dataset, notes, bins = import_bed(peaks, args.genome, options, status.update)
    spec = {"import": "bed", "peaks": peaks, "genome": args.genome.name, **vars(options)}
    _finish(args, dataset, spec, notes, bins if args.bins_out else None)
    return 0


def _hdf5(args: argparse.Namespace) -> int:
    from motifk8s.data import datasets

    _check_outputs(args, args.file)
    dataset = datasets.read(args.file, names_in(args.classes))
    _finish(args, dataset, {"import": "hdf5", "file": args.file}, {})
    return 0


def _check_outputs(args: argparse.Namespace, *options: Any) -> None:
    """Raise `InputError` for outputs that cannot be written, before the work begins.

    No output may be one of the input files, which are those of type `Files` among `options`.
    """
    from motifk8s.store.files import refuse_inputs

    outputs = [args.out, args.study_out, getattr(args, "bins_out", None)]
    groups = (option.values() if isinstance(option, dict) else [option] for option in options)
    refuse_inputs(outputs, [path for group in groups for path in group if isinstance(path, Path)])
    for path in outputs:
        if path is not None and path.is_dir():
            raise InputError(f"{path}: is a folder; give the path of a file")
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}; create it first")
    if args.study_out and args.study_out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--study-out {args.study_out}: its name must end in .yaml")


def _finish(
    args: argparse.Namespace,
    dataset: Dataset,
    spec: Mapping[str, Any],
    notes: Mapping[str, int],
    bins: pd.DataFrame | None = None,
) -> None:
    """Look up motifs, write data set, study and bins, and print their summary."""
    from motifk8s.data import datasets
    from motifk8s.data.starter_study import class_motifs, starter_study
    from motifk8s.store.files import write_text

    given = {name: names_in(ids) for name, ids in assignments(args.motifs, "ID,ID").items()}
    motifs, remarks = class_motifs(dataset.classes, given, args.release)
    study = ""
    if args.study_out:
        # Without symbolic links, because ".." after one leads out of the folder that it leads to.
        out, folder = map(os.path.realpath, (args.out, args.study_out.parent))
        path = utf8(os.path.relpath(out, folder))
        length = dataset.codes.shape[1]
        study = starter_study(utf8(args.study_out.stem), path, length, motifs, args.release)
    datasets.write(dataset, args.out, _plain(spec))
    if study:
        write_text(args.study_out, study)
    if bins is not None:
        _write_bins(args.bins_out, bins, dataset)
    _print_counts(args, dataset, notes)
    _print_table(
        [f"known motifs ({args.release})", "ids"],
        [[name, ", ".join(ids) or remarks[name]] for name, ids in motifs.items()],
    )
    if study:
        place = args.study_out if args.study_out.is_absolute() else f"./{args.study_out}"
        print(f"study file: {args.study_out}; run it: {command('run', str(place))}")


def _write_bins(path: Path, bins: pd.DataFrame, dataset: Dataset) -> None:
    """Write the position, part and labels of each sequence as TSV."""
    from motifk8s.data.datasets import PARTS
    from motifk8s.store.files import write_text

    bins["part"] = [PARTS[part] for part in bins["part"]]
    for i, name in enumerate(dataset.classes):
        bins[name] = dataset.labels[:, i]
    write_text(path, bins.to_csv(sep="\t", index=False, lineterminator="\n"))


def _print_counts(args: argparse.Namespace, dataset: Dataset, notes: Mapping[str, int]) -> None:
    """Print the numbers of sequences and labels, and what the import did."""
    from motifk8s.cli import terminal
    from motifk8s.data import datasets

    facts = datasets.describe(dataset)
    terminal.print_dataset(args.out.stem, str(args.out), facts)
    labels = [dataset.part(part)[1] for part in datasets.PARTS]
    rows = []
    for i, name in enumerate(dataset.classes):
        negative = [int((part[:, i] == 0).sum()) for part in labels]
        unknown = facts["unknown_labels"][name].values()
        rows.append([name, *(f"{n} ({u})" for n, u in zip(negative, unknown, strict=True))])
    _print_table(["negatives (unknown)", "training", "validation", "test"], rows)
    if notes:
        _print_table(["import", "number"], [[k, f"{n:,}"] for k, n in notes.items()])


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from motifk8s.cli import terminal

    table = terminal.new_table()
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i and name != "ids" else "left")
    for row in rows:
        table.add_row(*row)
    console = terminal.new_console()
    console.print()
    console.print(table)


def _plain(value: Any) -> Any:
    """Return a value as plain JSON; a file becomes its name and the hash of its content."""
    from motifk8s.store.files import sha256_of

    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {"file": value.name, "sha256": sha256_of(value)} if isinstance(value, Path) else value
