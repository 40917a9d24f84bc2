"""The commands submit, status and cancel, for studies in a cluster."""

from __future__ import annotations

import argparse
import json

from motifk8s.cli.arguments import Commands, add, add_study, open_study, positive
from motifk8s.errors import InputError, Problem, command


def register(commands: Commands) -> None:
    """Add submit, status and cancel."""
    sub = add(commands, "submit", _submit, "run the missing cells of a study in a cluster")
    add_study(sub)
    _add_namespace(sub)
    sub.add_argument("--wait", action="store_true", help="print its progress until it ends")
    sub.add_argument(
        "--max-gpu-hours",
        metavar="H",
        type=positive,
        help="fail if the estimate is higher (default: the chart's maxGpuHours)",
    )

    sub = add(commands, "status", _status, "show the state of a study in store and cluster")
    add_study(sub)
    _add_namespace(sub)
    sub.add_argument("--json", action="store_true", help="print JSON, with every cell")

    sub = add(commands, "cancel", _cancel, "stop a study in a cluster; submit resumes it")
    add_study(sub)
    _add_namespace(sub)


def _add_namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace",
        metavar="NS",
        help="Kubernetes namespace (default: ARGO_NAMESPACE, or the kubeconfig's)",
    )


def _submit(args: argparse.Namespace) -> int:
    from motifk8s.cli.follow import Lines, follow
    from motifk8s.cluster.client import connect
    from motifk8s.cluster.submit import attempts_line, new_workflow, upload
    from motifk8s.cluster.workflows import workflows_of
    from motifk8s.data.stored import pinned

    study = pinned(*open_study(args))
    workflow = new_workflow(study, args.study, args.max_gpu_hours)
    cluster = connect(args.namespace)
    template = cluster.read_template()
    others = workflows_of(cluster.workflows(), study, args.study)
    if running := [other.name for other in others if other.active]:
        print(
            f"study {study.name} is already running: {', '.join(running)}; results stay correct, "
            "but some cells may be computed twice"
        )
    for line in upload(study, args.store):
        print(line, flush=True)
    name = cluster.create(workflow)["metadata"]["name"]
    rest = [args.study, *(["--namespace", args.namespace] if args.namespace else [])]
    print(f"workflow {name} in namespace {cluster.namespace} of {cluster.url}")
    print(f"show its state: {command('status', *rest, store=args.store)}")
    print(f"stop it:        {command('cancel', *rest, store=args.store)}", flush=True)
    if line := attempts_line(template):
        print(line, flush=True)
    if args.wait:
        cells = len(study.cells())
        follow(cluster, name, study, Lines(cells))
        print(f"workflow {name} succeeded: all {cells} cells are done")
    return 0


def _status(args: argparse.Namespace) -> int:
    from motifk8s.cli.status_table import print_status
    from motifk8s.cluster.client import connect
    from motifk8s.cluster.status import gather, to_json
    from motifk8s.cluster.workflows import workflows_of

    study, store = open_study(args)
    remarks, namespace, workflows = [], None, []
    try:
        cluster = connect(args.namespace)
        workflows = workflows_of(cluster.workflows(), study, args.study)
        namespace = cluster.namespace
    except InputError:
        raise
    except Problem as error:
        remarks = [f"{error}; without the cluster, waiting cells and their reasons are unknown"]
    status = gather(study, store, workflows)
    status = status._replace(namespace=namespace, remarks=[*remarks, *status.remarks])
    if args.json:
        print(json.dumps(to_json(status), indent=1))
    else:
        print_status(status)
    return 0


def _cancel(args: argparse.Namespace) -> int:
    from motifk8s.cluster.client import connect
    from motifk8s.cluster.workflows import Workflow, workflows_of

    study, _ = open_study(args)
    cluster = connect(args.namespace)
    running = [w for w in workflows_of(cluster.workflows(), study, args.study) if w.active]
    for workflow in running:
        try:
            cluster.terminate(workflow.name)
        except Problem:
            if Workflow(cluster.get(workflow.name)).active:
                raise
            continue  # it ended in the meantime
        print(f"stopping workflow {workflow.name}; its pods save their checkpoints")
    if running:
        print("run the same submit command to resume")
    else:
        print(f"nothing to stop: no workflow of study {study.name} runs in namespace "
              f"{cluster.namespace}")  # fmt: skip
    return 0
