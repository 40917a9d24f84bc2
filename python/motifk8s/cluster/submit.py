"""Submit a study to a cluster."""

from __future__ import annotations

import json
import sys
from typing import Any

from motifk8s.cluster.client import GROUP, PART_OF, TEMPLATE, VERSION, Cluster
from motifk8s.cluster.status import workflows_of
from motifk8s.cluster.workflows import STUDY_LABEL
from motifk8s.data import stored
from motifk8s.errors import InputError
from motifk8s.motifs.jaspar import releases
from motifk8s.store.open import open_store
from motifk8s.study.file import builtin_names
from motifk8s.study.study import Study

LONGEST = 128 * 1024 - 1  # bytes of one argument of a process, Linux's limit


def study_argument(study: Study, argument: str) -> str:
    """What pods are given for a study: its name or URL; for a file, which they lack, its text."""
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


def new_workflow(study: Study, value: str, max_gpu_hours: float | None) -> dict[str, Any]:
    """The workflow that runs a study."""
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

    name = study.matches.database
    if name not in releases() and "://" not in name:
        raise InputError(
            f"study {study.name}: matches.database: pods cannot read {name}; put it into the store "
            "and name its s3:// address"
        )


def _say_others(study: Study, argument: str, cluster: Cluster) -> None:

    names = [w.name for w in workflows_of(study, argument, cluster) if w.active]
    if names:
        print(
            f"study {study.name} is already running: {', '.join(names)}; that is safe, but cells "
            "may be computed twice"
        )


def _upload(study: Study, url: str) -> None:
    """Put the data sets that are files of this machine into the store, where pods find them."""
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
        if not stored.is_ready(study, name, store):
            print(f"uploading data set {name}, {path}, to {store.url}")
            sys.stdout.flush()
            stored.prepare(study, name, store)
