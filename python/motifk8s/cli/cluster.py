"""The command line of clusters: submit a study, ask how it stands, cancel it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from motifk8s.cli.arguments import Commands, add, add_study, positive
from motifk8s.errors import InputError, Problem

if TYPE_CHECKING:
    from motifk8s.cluster.client import Cluster
    from motifk8s.study.study import Study

LONGEST = 128 * 1024 - 1  # bytes of one argument of a process, Linux's limit


def register(commands: Commands) -> None:
    """Add submit, status and cancel."""
    sub = add(commands, "submit", _submit, "run a study in a cluster: only what is missing of it")
    add_study(sub)
    _namespace(sub)
    sub.add_argument("--wait", action="store_true", help="show its progress until it ends")
    sub.add_argument(
        "--max-gpu-hours",
        metavar="H",
        type=positive,
        help="refuse the study if it is planned to take more (default: the chart's value)",
    )
    sub = add(commands, "status", _status, "show how a study stands, in store and cluster")
    add_study(sub)
    _namespace(sub)
    sub.add_argument("--json", action="store_true", help="print it as JSON, with every cell")
    sub = add(commands, "cancel", _cancel, "stop a study in a cluster; it can go on later")
    sub.add_argument("study", metavar="STUDY", help="as it was submitted")
    _namespace(sub)


def _namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace",
        metavar="NS",
        help="of the cluster (default: ARGO_NAMESPACE, or the kubeconfig's)",
    )


def _submit(args: argparse.Namespace) -> int:
    from motifk8s.cluster.client import connect
    from motifk8s.study.study import load

    study = load(args.study)
    value = argument_of(study, args.study)
    _check_database(study)
    cluster = connect(args.namespace)
    cluster.check_template()
    _say_others(study, args.study, cluster)
    _upload(study, args.store)
    name = cluster.create(workflow(study, value, args.max_gpu_hours))["metadata"]["name"]
    rest = [args.study, *(["--namespace", args.namespace] if args.namespace else [])]
    store = ["--store", args.store] if args.store.startswith("s3://") else []
    print(f"workflow {name} in namespace {cluster.namespace} of {cluster.url}")
    print(f"how it stands: motifk8s status {shlex.join([*rest, *store])}")
    print(f"stop it:       motifk8s cancel {shlex.join(rest)}")
    if args.wait:
        from motifk8s.cli.follow import Lines, follow

        sys.stdout.flush()
        follow(cluster, name, study, Lines(len(study.cells())))
        print(f"workflow {name} succeeded: all {len(study.cells())} cells are done")
    return 0


def argument_of(study: Study, argument: str) -> str:
    """What pods are given for a study: its name or URL; for a file, which they lack, its text."""
    from motifk8s.study.file import builtin_names

    if argument in builtin_names() or argument.startswith("s3://"):
        return argument
    text = json.dumps(study.resolved(), separators=(",", ":"), ensure_ascii=False)
    # Argo would take it for a variable of its own; only strings can hold it.
    text = text.replace("{{", "{\\u007b")
    if (size := len(text.encode())) > LONGEST:
        raise InputError(
            f"study {study.name} takes {size:,} bytes, more than the {LONGEST:,} that a pod can be "
            "given; put its file into the store and name its s3:// address"
        )
    return text


def workflow(study: Study, value: str, max_gpu_hours: float | None) -> dict[str, Any]:
    """The workflow that runs a study."""
    from motifk8s.cluster.client import GROUP, PART_OF, TEMPLATE, VERSION
    from motifk8s.cluster.workflows import STUDY_LABEL

    parameters = [{"name": "study", "value": value}]
    if max_gpu_hours is not None:
        parameters.append({"name": "max-gpu-hours", "value": f"{max_gpu_hours:g}"})
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"{study.name}-",
            "labels": {PART_OF: TEMPLATE, STUDY_LABEL: study.name},
        },
        "spec": {
            "workflowTemplateRef": {"name": TEMPLATE},
            "arguments": {"parameters": parameters},
        },
    }


def _check_database(study: Study) -> None:
    from motifk8s.motifs.motif import releases

    name = study.matches.database
    if name not in releases() and "://" not in name:
        raise InputError(
            f"study {study.name}: matches.database: pods cannot read {name}; put it into the store "
            "and name its s3:// address"
        )


def _say_others(study: Study, argument: str, cluster: Cluster) -> None:
    from motifk8s.cluster.status import workflows_of

    names = [w.name for w in workflows_of(study, argument, cluster) if w.active]
    if names:
        print(
            f"study {study.name} is already running: {', '.join(names)}; that is safe, but cells "
            "may be computed twice"
        )


def _upload(study: Study, url: str) -> None:
    """Put the data sets that are files of this machine into the store, where pods find them."""
    from motifk8s.data import stored as data
    from motifk8s.store.base import open_store

    for name, spec in study.datasets.items():
        path = getattr(spec, "path", None)
        if path is None or "://" in path:
            continue
        if not url.startswith("s3://"):
            raise InputError(
                f"data set {name} is a file of this machine, {path}: to upload it, give the "
                "cluster's store with --store s3://bucket/prefix"
            )
        store = open_store(url)
        if not data.is_ready(study, name, store):
            print(f"uploading data set {name}, {path}, to {store.url}")
            sys.stdout.flush()
            data.prepare(study, name, store)


def _status(args: argparse.Namespace) -> int:
    from motifk8s.cli.status_table import print_status
    from motifk8s.cluster import status
    from motifk8s.cluster.client import connect
    from motifk8s.store.base import open_store
    from motifk8s.study.study import load

    study, store = load(args.study), open_store(args.store)
    remarks = []
    namespace = None
    workflows = []
    try:
        cluster = connect(args.namespace)
        workflows = status.workflows_of(study, args.study, cluster)
        namespace = cluster.namespace
    except InputError:
        raise
    except Problem as error:
        remarks.append(f"{error}; without the cluster, what waits and why cannot be told")
    found = status.gather(study, store, workflows, namespace, remarks)
    if args.json:
        print(json.dumps(status.to_json(found), indent=1))
    else:
        print_status(found)
    return 0


def _cancel(args: argparse.Namespace) -> int:
    from motifk8s.cluster.client import connect
    from motifk8s.cluster.status import workflows_of
    from motifk8s.cluster.workflows import Workflow
    from motifk8s.study.study import load

    study = load(args.study)
    cluster = connect(args.namespace)
    running = [w for w in workflows_of(study, args.study, cluster) if w.active]
    for each in running:
        try:
            cluster.terminate(each.name)
        except Problem:
            if Workflow(cluster.get(each.name)).active:
                raise
            continue  # it has just ended by itself
        print(f"stopping workflow {each.name}; its pods save their checkpoints")
    if running:
        print("the same submit goes on from there")
    else:
        print(f"nothing to stop: no workflow of study {study.name} runs in namespace "
              f"{cluster.namespace}")  # fmt: skip
    return 0
