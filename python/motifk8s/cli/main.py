"""The command line: ``motifk8s COMMAND``. Each command parses, calls one function, and prints."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from motifk8s.cli.arguments import (
    EPILOG,
    STUDIES,
    add,
    add_store,
    add_study,
    count,
    optional,
    positive,
)
from motifk8s.errors import IncompleteError, InputError, Problem

if TYPE_CHECKING:
    from motifk8s.report.aggregate import Aggregate
    from motifk8s.store.base import Store
    from motifk8s.study.study import Study

PAPER = "koo2019"  # the study of the paper


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    # SIGTERM, which ends a pod, is answered as Ctrl-C is; running cells do better, see `workers`.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        args = _parser().parse_args(argv)
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except Problem as error:
        return _tell(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _tell("stopped", 75)
    except BrokenPipeError:  # the reader of our output, head say, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # one that no module knows more about, such as a full disk
        where = f"{error.filename}: " if error.filename else ""
        return _tell(f"{where}{error.strerror or error}", 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(text: str, code: int) -> int:
    line = f"motifk8s: {' '.join(text.splitlines())}"
    print(line, file=sys.stderr)
    if "MOTIFK8S_POD" in os.environ:  # Kubernetes and Argo show it as the reason
        with suppress(OSError):
            Path("/dev/termination-log").write_text(line)
    return code


def _parser() -> argparse.ArgumentParser:
    from motifk8s.cli import cluster, importing
    from motifk8s.cli.clean import register

    parser = argparse.ArgumentParser(
        prog="motifk8s",
        description="Which architectures make the filters of a CNN learn whole motifs?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.set_defaults(run=_version_or_help(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    command = partial(add, commands)

    sub = command("run", _run, "run what is missing of a study on this machine, then aggregate it")
    add_study(sub)
    sub.add_argument(
        "--jobs",
        metavar="N",
        type=count,
        help="cells at a time (default: one a core; one on a GPU)",
    )
    sub.add_argument(
        "--cells", metavar="PATTERN", default="*", help="only these, such as 'synthetic/cnn-25/*'"
    )

    sub = command("plan", _plan, "show the grid of a study: what is done and what is missing")
    add_study(sub)
    sub.add_argument("--json", action="store_true", help="print the unfinished cells as JSON")
    sub.add_argument(
        "--max-gpu-hours",
        metavar="H",
        type=optional(positive),
        help="estimate what is left, and refuse more than this",
    )
    sub.add_argument(
        "--price", metavar="P", type=positive, help="of a GPU hour; estimate what is left"
    )
    _outputs(sub, "study, name, datasets")

    sub = command("dataset", _dataset, "make or import a data set of a study, unless it is there")
    add_study(sub)
    sub.add_argument("name", metavar="NAME", nargs="?", help="data set (default: all of the study)")
    sub.add_argument("--from", metavar="FILE", dest="source", help="HDF5 file to import")
    sub.add_argument("--again", action="store_true", help="make it even if it is there")
    sub.add_argument(
        "--bundle",
        metavar="BUNDLE",
        default=os.environ.get("MOTIFK8S_DEEPSEA"),
        help="to import data of the kind deepsea from (default: MOTIFK8S_DEEPSEA)",
    )
    _outputs(sub, "cells")

    importing.register(commands)

    sub = command("cell", _cell, "run one cell of a study: train, read filters, match motifs")
    add_study(sub)
    sub.add_argument("cell", metavar="CELL", help="DATASET/MODEL/TRIAL, such as synthetic/cnn-25/3")
    sub.add_argument(
        "--threads", metavar="N", type=optional(count), help="CPU threads (default: one a core)"
    )

    add_study(
        command("aggregate", _aggregate, "make tables, figures and report of a study in its store")
    )

    sub = command("report", _report, "make tables, figures and report of a study in a local folder")
    add_study(sub)
    sub.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("report"), help="(%(default)s)"
    )

    sub = command("paper", _paper, "make the paper's tables and figures, by name")
    sub.add_argument(
        "study", metavar="STUDY", nargs="?", default=PAPER, help="as elsewhere (%(default)s)"
    )
    sub.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="table1 table2 s1-table fig1 and the study's figures (fig2 ...); default: all it has",
    )
    add_store(sub)
    sub.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("paper"), help="(%(default)s)"
    )

    cluster.register(commands)
    register(commands)
    add_store(command("check", _check, "try the store: list, write, read and delete a file"))

    sub = command("filters", _filters, "turn the filters of any Keras model into motifs")
    sub.add_argument(
        "model", metavar="MODEL.keras", type=Path, help="reads one-hot (N, L, 4), A C G T"
    )
    sub.add_argument("--data", metavar="FILE", required=True, help="HDF5 data set; its test part")
    sub.add_argument(
        "--preset", choices=["as-run", "as-written"], default="as-run", help="rule (%(default)s)"
    )
    sub.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("filters"), help="(%(default)s)"
    )
    _matching(sub)

    sub = command("tomtom", _tomtom, "compare motifs with a database of motifs")
    sub.add_argument("query", metavar="QUERY.meme", type=Path, help="motifs to compare")
    sub.add_argument(
        "--out", metavar="FILE", type=Path, help="write the hits here, not to the terminal"
    )
    _matching(sub)

    command("schema", _schema, "print the JSON Schema of study files, for editors")
    return parser


def _outputs(parser: argparse.ArgumentParser, files: str) -> None:
    parser.add_argument(
        "--outputs",
        metavar="FOLDER",
        type=Path,
        help=f"for workflows: write here what the next step needs ({files})",
    )


def _matching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        metavar="NAME",
        default="JASPAR2016",
        help="a JASPAR release (CORE vertebrates) or a MEME file (default: %(default)s)",
    )
    parser.add_argument(
        "--evalue", metavar="E", type=positive, default=0.1, help="largest E-value (%(default)s)"
    )


def _version_or_help(parser: argparse.ArgumentParser):  # type: ignore[no-untyped-def]
    def run(args: argparse.Namespace) -> int:
        if args.version:
            from motifk8s.provenance import code_version

            print(code_version())
            return 0
        parser.print_help()
        return 2

    return run


def _open(args: argparse.Namespace) -> tuple[Study, Store]:
    from motifk8s.store.open import open_store
    from motifk8s.study.study import load

    return load(args.study), open_store(args.store)


def _run(args: argparse.Namespace) -> int:
    from motifk8s.cells.run import run_study
    from motifk8s.cli import terminal
    from motifk8s.report.aggregate import aggregate

    study, store = _open(args)
    with terminal.Progress() as watch:
        run_study(study, store, watch, jobs=args.jobs, only=args.cells)
    made = aggregate(study, store)
    terminal.print_results(study, made)
    return _complete(made)


def _complete(made: Aggregate) -> int:
    if made.missing:
        sys.stdout.flush()
        raise IncompleteError(made.missing)
    return 0


def _write_outputs(folder: Path, **outputs: str) -> None:
    """Write what a step of a workflow hands to the next ones: a file each, named by its key."""
    from motifk8s.store.files import local_problem

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in outputs.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise local_problem(error, "write to", folder) from error


def _plan(args: argparse.Namespace) -> int:
    from motifk8s.cells import estimate
    from motifk8s.cells.plan import keep_study, plan
    from motifk8s.cli import terminal
    from motifk8s.cli.terminal import print_estimate

    study, store = _open(args)
    states = plan(study, store)
    todo = [state.cell for state in states if state.state != "done"]
    if args.json:
        print(json.dumps([cell.id for cell in todo]))
    else:
        terminal.print_plan(study, store, states)
    if args.max_gpu_hours or (args.price and not args.json):
        expected = estimate.estimate(study, store, states)
        if not args.json:
            print_estimate(expected, args.price, args.max_gpu_hours)
        if args.max_gpu_hours:
            estimate.check_cap(expected, args.max_gpu_hours)
    if args.outputs:
        _write_outputs(
            args.outputs,
            study=keep_study(study, store),
            name=study.name,
            datasets=json.dumps(list(dict.fromkeys(cell.dataset for cell in todo))),
        )
    return 0


def _dataset(args: argparse.Namespace) -> int:
    from motifk8s.cells.plan import plan
    from motifk8s.cli import terminal
    from motifk8s.data import deepsea, stored

    study, store = _open(args)
    if (args.source or args.outputs) and not args.name:
        what = f"{args.source} is" if args.source else "to make"
        raise InputError(f"say which data set {what}: {', '.join(study.datasets)}")
    for name in [args.name] if args.name else list(study.datasets):
        kind = getattr(study.datasets.get(name), "kind", None)
        wanted = args.again or (kind == "deepsea" and not stored.is_ready(study, name, store))
        if kind == "deepsea" and args.bundle and wanted and not args.source:
            try:
                facts = deepsea.prepare(study, name, store, args.bundle)
            except Problem as error:
                raise type(error)(f"{error}; {stored.absent(study, name)}") from error
        else:
            facts = stored.prepare(study, name, store, args.source, args.again)
        terminal.print_dataset(name, f"{store.url}/{stored.place(study, name)}", facts)
    if args.outputs:
        states = [s for s in plan(study, store) if s.cell.dataset == args.name]
        cells = [state.cell.id for state in states if state.state != "done"]
        _write_outputs(args.outputs, cells=json.dumps(cells))
    return 0


def _check(args: argparse.Namespace) -> int:
    from motifk8s.store.open import open_store, try_out

    store = open_store(args.store)
    try_out(store)
    print(f"{store.url}: files can be listed, written, read and deleted")
    return 0


def _cell(args: argparse.Namespace) -> int:
    from motifk8s.cells import workers
    from motifk8s.cells.events import Started
    from motifk8s.cli import terminal

    study, store = _open(args)
    cell = study.cell(args.cell)
    with terminal.Progress() as watch:
        watch(Started(cell.id))
        workers.run_cell(study, cell, store, watch, threads=args.threads)
    return 0


def _aggregate(args: argparse.Namespace) -> int:
    return _make(args, None)


def _report(args: argparse.Namespace) -> int:
    return _make(args, args.out)


def _make(args: argparse.Namespace, out: Path | None) -> int:
    from motifk8s.report.aggregate import aggregate

    study, store = _open(args)
    made = aggregate(study, store, out)
    for path in made.outputs.values():
        print(path)
    return _complete(made)


def _paper(args: argparse.Namespace) -> int:
    from motifk8s.report import paper
    from motifk8s.store.open import open_store
    from motifk8s.study.study import load

    study, wanted = args.study, args.names
    if study not in STUDIES and re.fullmatch("[-a-z0-9]+", study):  # no study, so a NAME
        study, wanted = PAPER, [study, *wanted]
    made = paper.make(load(study), open_store(args.store), wanted, args.out)
    for path in made.files:
        print(path)
    sys.stdout.flush()
    for why in made.lacking:
        _tell(why, IncompleteError.exit_code)
    return IncompleteError.exit_code if made.lacking else 0


def _filters(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.filters.any_model import read_model
    from motifk8s.study.specs import MotifSettings

    rule = MotifSettings.model_validate({"preset": args.preset})
    layers = read_model(args.model, args.data, rule, args.database, args.evalue, args.out)
    terminal.print_layers(layers, args.out)
    return 0


def _tomtom(args: argparse.Namespace) -> int:
    from motifk8s.motifs.tomtom import run_tomtom, to_tsv

    hits = run_tomtom(args.query, args.database, args.evalue, args.out)
    if args.out is None:
        sys.stdout.write(to_tsv(hits))
    else:
        print(f"{len(hits)} hits of {hits['Query_ID'].nunique()} motifs: {args.out}")
    return 0


def _schema(args: argparse.Namespace) -> int:
    from motifk8s.study.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
