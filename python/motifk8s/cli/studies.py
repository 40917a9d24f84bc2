"""The commands that run a study on this machine, as a whole or step by step, and report it."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motifk8s.cli.arguments import (
    DEFAULT,
    STUDIES,
    Commands,
    add,
    add_store,
    add_study,
    count,
    local_path,
    open_study,
    optional,
    positive,
    print_error,
    study_inputs,
)
from motifk8s.errors import IncompleteError, InputError, Problem

if TYPE_CHECKING:
    from motifk8s.report.aggregate import Aggregate
    from motifk8s.store.base import Store
    from motifk8s.study.study import Study

PAPER = "koo2019"  # the built-in study that reproduces the paper


def add_run(commands: Commands) -> None:
    """Add the command run."""
    text = "run the missing cells of a study on this machine, then aggregate the results"
    sub = add(commands, "run", _run, text)
    add_study(sub)
    sub.add_argument(
        "--jobs",
        metavar="N",
        type=count,
        help="cells that run at the same time (default: one per core; one on a GPU)",
    )
    sub.add_argument(
        "--cells", metavar="PATTERN", default="*", help="run only these, e.g. 'synthetic/cnn-25/*'"
    )


def _run(args: argparse.Namespace) -> int:
    from motifk8s.cells.run import run_study
    from motifk8s.cli import terminal
    from motifk8s.report.aggregate import aggregate

    study, store = open_study(args)
    with terminal.Progress() as watch:
        run_study(study, store, watch, jobs=args.jobs, only=args.cells)
    made = aggregate(study, store)
    terminal.print_results(study, made)
    _check_complete(made)
    return 0


def add_plan(commands: Commands) -> None:
    """Add the command plan."""
    text = "show which cells of a study are done and which are missing"
    sub = add(commands, "plan", _plan, text)
    add_study(sub)
    sub.add_argument("--json", action="store_true", help="print the unfinished cells as JSON")
    sub.add_argument(
        "--max-gpu-hours",
        metavar="H",
        type=optional(positive),
        help="estimate the GPU hours of the missing cells, and fail if they exceed H",
    )
    sub.add_argument(
        "--price", metavar="P", type=positive, help="price of a GPU hour; estimate the cost"
    )
    sub.add_argument(
        "--gpus",
        metavar="N",
        type=count,
        default=1,
        help=f"GPUs of a cell's pod, which all count (the chart's gpu.count) {DEFAULT}",
    )
    sub.add_argument(
        "--attempts",
        metavar="N",
        type=count,
        help="attempts of a cell (the chart's retry.limit and 1); print what retries can add",
    )
    _add_outputs(sub, "study, name, datasets")


def _plan(args: argparse.Namespace) -> int:
    from motifk8s.cells import estimate
    from motifk8s.cells.networks import try_all
    from motifk8s.cells.plan import keep_study, plan
    from motifk8s.cli import terminal
    from motifk8s.data.sizes import check_labels

    study, store = open_study(args)
    states = plan(study, store)
    unfinished = [state.cell for state in states if state.state != "done"]
    for name in dict.fromkeys(cell.dataset for cell in unfinished):
        check_labels(study, name, store)
    networks = try_all(study, unfinished)
    if args.json:
        ordered = estimate.longest_first(study, store, unfinished, networks)
        print(json.dumps([cell.id for cell in ordered]))
    else:
        terminal.print_plan(study, store, states)
        for (dataset, model), network in networks.items():
            print(f"{dataset}/{model}: {network}")
    if args.max_gpu_hours or (args.price and not args.json):
        expected = estimate.estimate(study, store, states, args.gpus, networks)
        if not args.json:
            terminal.print_estimate(expected, args.price, args.max_gpu_hours, args.attempts)
        if args.max_gpu_hours:
            estimate.check_cap(expected, args.max_gpu_hours)
    if args.outputs:
        datasets = list(dict.fromkeys(cell.dataset for cell in unfinished))
        _write_outputs(
            args,
            study=keep_study(study, store),
            name=study.name,
            datasets=json.dumps(datasets),
        )
    return 0


def add_dataset(commands: Commands) -> None:
    """Add the command dataset."""
    text = "make or import a data set of a study, unless the store has it"
    sub = add(commands, "dataset", _dataset, text)
    add_study(sub)
    sub.add_argument("name", metavar="NAME", nargs="?", help="data set (default: all)")
    sub.add_argument("--from", metavar="FILE", dest="source", help="HDF5 file to import")
    sub.add_argument("--again", action="store_true", help="make it even if the store has it")
    sub.add_argument(
        "--bundle",
        metavar="BUNDLE",
        default=os.environ.get("MOTIFK8S_DEEPSEA"),
        help="DeepSEA bundle for data sets of kind deepsea (default: MOTIFK8S_DEEPSEA)",
    )
    _add_outputs(sub, "cells")


def _dataset(args: argparse.Namespace) -> int:
    from motifk8s.cells.estimate import longest_first
    from motifk8s.cells.plan import plan
    from motifk8s.cli import terminal
    from motifk8s.data import stored

    study, store = open_study(args)
    if (args.source or args.outputs) and not args.name:
        what = f"{args.source} is" if args.source else "to make"
        raise InputError(f"say which data set {what}: {', '.join(study.datasets)}")
    for name in [args.name] if args.name else list(study.datasets):
        if not args.again and (change := stored.change(study, name, store)):
            print(f"{change}; importing it")
        facts = _prepare(args, study, name, store)
        terminal.print_dataset(name, f"{store.url}/{stored.where(study, name, store)}", facts)
    if args.outputs:
        states = [s for s in plan(study, store) if s.cell.dataset == args.name]
        cells = [state.cell for state in states if state.state != "done"]
        ids = [cell.id for cell in longest_first(study, store, cells)]
        _write_outputs(args, cells=json.dumps(ids))
    return 0


def _prepare(args: argparse.Namespace, study: Study, name: str, store: Store) -> dict[str, Any]:
    """Write a data set to the store, from DeepSEA's bundle if one is given; return its facts."""
    from motifk8s.data import deepsea, stored

    kind = getattr(study.datasets.get(name), "kind", None)
    from_bundle = kind == "deepsea" and args.bundle and not args.source
    if not from_bundle or (not args.again and stored.is_ready(study, name, store)):
        return stored.prepare(study, name, store, args.source, args.again)
    try:
        return deepsea.prepare(study, name, store, args.bundle)
    except Problem as error:
        raise type(error)(f"{error}; {stored.absent(study, name, store)}") from error


def add_cell(commands: Commands) -> None:
    """Add the command cell."""
    text = "run one cell of a study: training, filters, matches, analysis"
    sub = add(commands, "cell", _cell, text)
    add_study(sub)
    sub.add_argument("cell", metavar="CELL", help="DATASET/MODEL/TRIAL, e.g. synthetic/cnn-25/3")
    sub.add_argument(
        "--threads", metavar="N", type=optional(count), help="CPU threads (default: one per core)"
    )


def _cell(args: argparse.Namespace) -> int:
    from motifk8s.cells import workers
    from motifk8s.cells.events import Started
    from motifk8s.cli import terminal

    study, store = open_study(args)
    cell = study.cell(args.cell)
    with terminal.Progress() as watch:
        watch(Started(cell.id))
        workers.run_cell(study, cell, store, watch, threads=args.threads)
    return 0


def add_reports(commands: Commands) -> None:
    """Add the commands aggregate and report."""
    text = "write tables, figures and report of a study to its store"
    add_study(add(commands, "aggregate", _aggregate, text))

    text = "write tables, figures and report of a study to a local folder"
    sub = add(commands, "report", _aggregate, text)
    add_study(sub)
    _add_out(sub, "report")


def _aggregate(args: argparse.Namespace) -> int:
    """Aggregate into ``--out``, or into the store if the command has no such option."""
    from motifk8s.report.aggregate import aggregate

    study, store = open_study(args)
    made = aggregate(study, store, getattr(args, "out", None), study_inputs(args.study, study))
    for path in made.outputs.values():
        print(path)
    _check_complete(made)
    return 0


def _check_complete(made: Aggregate) -> None:
    """Print which pictures are missing; raise `IncompleteError` if cells are."""
    for note in made.notes:
        print(f"motifk8s: {note}", file=sys.stderr)
    if made.missing:
        sys.stdout.flush()
        raise IncompleteError(made.missing)


def add_compare(commands: Commands) -> None:
    """Add the command compare."""
    text = "compare the motifs and the fractions of two studies"
    sub = add(commands, "compare", _compare, text)
    sub.add_argument("study", metavar="STUDY", help="the first study")
    sub.add_argument("study2", metavar="STUDY", help="the second study")
    add_store(sub)
    sub.add_argument(
        "--store2", metavar="URL", help="store of the second study (default: that of the first)"
    )
    sub.add_argument(
        "--out",
        metavar="FOLDER",
        type=local_path,
        help="write fractions.csv and motifs.csv to this folder",
    )


def _compare(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.report import compare

    second = argparse.Namespace(study=args.study2, store=args.store2 or args.store)
    (study, store), (study2, store2) = open_study(args), open_study(second)
    sides = compare.read_side(study, store), compare.read_side(study2, store2)
    compared = compare.compare(*sides)
    names = [study.name, study2.name]
    if len(set(names)) == 1:
        names = [f"{name}, {place.url}" for name, place in zip(names, (store, store2), strict=True)]
    terminal.print_comparison(names, compared)
    if args.out:
        inputs = [*study_inputs(args.study, study), *study_inputs(args.study2, study2)]
        for path in compare.write(compared, args.out, inputs):
            print(path)
    lacking = [f"{s.study.name}: {s.missing} cells" for s in sides if s.missing]
    if lacking:
        sys.stdout.flush()
        raise IncompleteError(f"the comparison is partial; missing of {', '.join(lacking)}")
    return 0


def add_paper(commands: Commands) -> None:
    """Add the command paper."""
    sub = add(commands, "paper", _paper, "write the paper's tables and figures")
    sub.add_argument("study", metavar="STUDY", nargs="?", default=PAPER, help=f"study {DEFAULT}")
    sub.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="table1, table2, s1-table, fig1 or a figure of the study (fig2 ...); default: all",
    )
    add_store(sub)
    _add_out(sub, "paper")


def _paper(args: argparse.Namespace) -> int:
    from motifk8s.report import paper
    from motifk8s.store.open import open_store
    from motifk8s.study.find import newest
    from motifk8s.study.study import load

    name, names = args.study, args.names
    if name not in STUDIES and re.fullmatch("[-a-z0-9]+", name):
        of_paper = name in paper.names(load(PAPER))
        if of_paper or not newest(name, open_store(args.store)):  # STUDY is left out
            args.study, names = PAPER, [name, *names]
    study, store = open_study(args)
    inputs = study_inputs(args.study, study)
    made = paper.make(study, store, names, args.out, inputs)
    for path in made.files:
        print(path)
    sys.stdout.flush()
    for reason in made.lacking:
        print_error(reason, IncompleteError.exit_code)
    return IncompleteError.exit_code if made.lacking else 0


def add_check(commands: Commands) -> None:
    """Add the command check."""
    add_store(add(commands, "check", _check, "test the store: write, list, read and delete a file"))


def _check(args: argparse.Namespace) -> int:
    from motifk8s.store.open import open_store, try_out

    store = open_store(args.store)
    try_out(store)
    print(f"{store.url}: files can be listed, written, read and deleted")
    return 0


def add_schema(commands: Commands) -> None:
    """Add the command schema."""
    add(commands, "schema", _schema, "print the JSON Schema of study files, for editors")


def _schema(args: argparse.Namespace) -> int:
    from motifk8s.study.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _add_out(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=local_path,
        default=Path(folder),
        help=f"output folder {DEFAULT}",
    )


def _add_outputs(parser: argparse.ArgumentParser, files: str) -> None:
    parser.add_argument(
        "--outputs",
        metavar="FOLDER",
        type=local_path,
        help=f"for workflows: folder for the outputs of this step ({files})",
    )


def _write_outputs(args: argparse.Namespace, **outputs: str) -> None:
    """Write each output to a file that has its name, in the folder ``--outputs``."""
    from motifk8s.store.files import refuse_inputs, write_text

    paths = [args.outputs / name for name in outputs]
    refuse_inputs(paths, [args.study, getattr(args, "source", None) or ""])
    for path, text in zip(paths, outputs.values(), strict=True):
        write_text(path, text)
