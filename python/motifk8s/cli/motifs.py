"""The commands that need no study: filters and tomtom."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from motifk8s.cli.arguments import DEFAULT, Commands, add, local_path, positive
from motifk8s.cli.streams import write_data


def register(commands: Commands) -> None:
    """Add filters and tomtom."""
    sub = add(commands, "filters", _filters, "turn the filters of any Keras model into motifs")
    sub.add_argument(
        "model",
        metavar="MODEL.keras",
        type=Path,
        help="model with one-hot input (N, L, 4) in the order A C G T",
    )
    sub.add_argument(
        "--data",
        metavar="FILE",
        required=True,
        help="HDF5 data set (the sequences of its test part)",
    )
    sub.add_argument(
        "--preset",
        choices=["as-run", "as-written"],
        default="as-run",
        help=f"motif settings {DEFAULT}",
    )
    sub.add_argument(
        "--out",
        metavar="FOLDER",
        type=local_path,
        default=Path("filters"),
        help=f"output folder {DEFAULT}",
    )
    _add_matching(sub)

    sub = add(commands, "tomtom", _tomtom, "compare motifs with a database of motifs")
    sub.add_argument("query", metavar="QUERY.meme", type=Path, help="motifs to compare")
    sub.add_argument(
        "--out",
        metavar="FILE",
        type=local_path,
        help="write the hits to this file instead of stdout",
    )
    sub.add_argument(
        "--background",
        metavar="FILE",
        type=Path,
        help="letter frequencies, as the program's -bfile (default: those of QUERY.meme)",
    )
    _add_matching(sub)


def _add_matching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        metavar="NAME",
        default="JASPAR2016",
        help=f"JASPAR release (CORE vertebrates) or MEME file {DEFAULT}",
    )
    parser.add_argument(
        "--evalue", metavar="E", type=positive, default=0.1, help=f"largest E-value {DEFAULT}"
    )
    parser.add_argument(
        "--qvalue", metavar="Q", type=positive, help="largest q-value, in place of --evalue"
    )
    parser.add_argument(
        "--distance",
        choices=["euclidean", "pearson"],
        default="euclidean",
        help=f"how columns are compared {DEFAULT}",
    )


def _filters(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.filters.any_model import read_model
    from motifk8s.study.specs import MotifSettings

    rule = MotifSettings.model_validate({"preset": args.preset})

    def note(text: str) -> None:
        print(f"motifk8s: {text}", file=sys.stderr)

    more = args.database, args.evalue, args.out
    options = {"distance": args.distance, "qvalue": args.qvalue}
    layers = read_model(args.model, args.data, rule, *more, note, **options)
    terminal.print_layers(layers, args.out)
    return 0


def _tomtom(args: argparse.Namespace) -> int:
    from motifk8s.motifs.tomtom import run_tomtom, to_tsv

    hits, queries = run_tomtom(
        args.query,
        args.database,
        args.evalue,
        args.out,
        background=args.background,
        distance=args.distance,
        qvalue=args.qvalue,
    )
    if args.out is None:
        write_data(to_tsv(hits))
    else:
        print(f"{len(hits)} hits of {queries} motifs: {args.out}")
    return 0
