"""The command line of clusters: submit a study, ask how it stands, cancel it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING

from motifk8s.cli.arguments import Commands, add, add_study, positive
from motifk8s.cluster.submit import (
    _check_database,
    _say_others,
    _upload,
    new_workflow,
    study_argument,
)
from motifk8s.errors import InputError, Problem

if TYPE_CHECKING:
    pass


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
    value = study_argument(study, args.study)
    _check_database(study)
    cluster = connect(args.namespace)
    cluster.check_template()
    _say_others(study, args.study, cluster)
    _upload(study, args.store)
    name = cluster.create(new_workflow(study, value, args.max_gpu_hours))["metadata"]["name"]
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


def _status(args: argparse.Namespace) -> int:
    from motifk8s.cli.status_table import print_status
    from motifk8s.cluster import status
    from motifk8s.cluster.client import connect
    from motifk8s.store.open import open_store
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
