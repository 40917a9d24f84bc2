"""Submit a study to a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from motifk8s.cluster.client import GROUP, PART_OF, TEMPLATE, VERSION
from motifk8s.cluster.workflows import STUDY_LABEL, study_text
from motifk8s.data import stored
from motifk8s.errors import InputError
from motifk8s.motifs.jaspar import releases
from motifk8s.store.open import open_store
from motifk8s.study.file import builtin_names
from motifk8s.study.study import Study

LONGEST = 128 * 1024 - 1  # bytes of one argument of a process, Linux's limit


def new_workflow(study: Study, argument: str, max_gpu_hours: float | None) -> dict[str, Any]:
    """Return the manifest of the workflow that runs a study.

    `argument` is the study as the user gives it: a name, file, text or URL. `max_gpu_hours` is by
    default the chart's value.

    Raises
    ------
    InputError
        The study is too large to pass to pods, or pods cannot read its database of motifs.
    """
    database = study.matches.database
    parameters = [{"name": "study", "value": study_argument(study, argument)}]
    if database not in releases() and "://" not in database:
        raise InputError(
            f"study {study.name}: matches.database: pods cannot read {database}; copy it to the "
            "store and give its s3:// address"
        )
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


def study_argument(study: Study, argument: str) -> str:
    """Return the study as pods can load it: its name or URL, or its text for a local file."""
    if argument in builtin_names() or argument.startswith("s3://"):
        return argument
    text = study_text(study)
    if (size := len(text.encode())) > LONGEST:
        raise InputError(
            f"study {study.name} has {size:,} bytes, more than the {LONGEST:,} of an argument of a "
            "pod; copy its file to the store and give its s3:// address"
        )
    return text


def attempts_line(template: dict[str, Any]) -> str:
    """Return what the attempts of a cell can cost at most; empty if the template does not say.

    `template` is the chart's WorkflowTemplate.
    """
    templates = (template.get("spec") or {}).get("templates") or []
    cell: dict[str, Any] = next((each for each in templates if each.get("name") == "cell"), {})
    limits = ((cell.get("container") or {}).get("resources") or {}).get("limits") or {}
    try:
        attempts = int((cell.get("retryStrategy") or {})["limit"]) + 1
        hours = int(cell["activeDeadlineSeconds"]) / 3600
        gpus = sum(int(n) for name, n in limits.items() if "/" in name)
    except (KeyError, TypeError, ValueError):  # not as the chart writes it
        return ""
    on = f" on {gpus} GPU{'' if gpus == 1 else 's'}" if gpus else ""
    return (
        f"a preempted cell resumes: up to {attempts} attempts{on}, each of at most {hours:g} h; a "
        "cap on GPU hours does not count repeated work"
    )


def upload(study: Study, url: str) -> Iterator[str]:
    """Upload data sets that are local files to the store, and yield a message before each upload.

    Raises
    ------
    InputError
        A data set is a local file, but `url` is not a store that pods can read.
    """
    for name, spec in study.datasets.items():
        path = getattr(spec, "path", None)
        if path is None or "://" in path:
            continue
        if not url.startswith("s3://"):
            raise InputError(
                f"data set {name} is a local file, {path}; give the cluster's store to upload it: "
                "--store s3://bucket/prefix"
            )
        store = open_store(url)
        if not stored.is_ready(study, name, store):
            change = stored.change(study, name, store)
            yield f"uploading data set {name}, {path}, to {store.url}{change and f'; {change}'}"
            stored.prepare(study, name, store)
