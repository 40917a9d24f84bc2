"""Log a study to Weights & Biases: a run for each cell, and one with report and tables.

Run it again in the same folder after more cells have finished: it adds these alone. Without a
network, set WANDB_MODE=offline, and send the runs later: wandb sync wandb/offline-run-*

    pip install wandb
    python examples/tracking/to_wandb.py STUDY --store STORE --project NAME
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import wandb
from cells import Run, exit_code, parser, read, report_files

from motifk8s.errors import Problem
from motifk8s.store.base import Store
from motifk8s.study.study import Study

COMPLETE = "motifk8s-complete"  # a file in the folder of a run that was logged to its end


def log_study(project: str, study: Study, store: Store, runs: list[Run]) -> int:
    """Log the cells that this folder has not logged yet, and the report; return how many."""
    new = [run for run in runs if not is_logged(identity(study, run.key))]
    for run in new:
        log_run(project, study, run)
    log_report(project, study, store)
    return len(new)


def identity(study: Study, content: str) -> str:
    """Return the id of a run: the same on every machine, so that W&B keeps one."""
    return hashlib.sha256(f"{study.name} {content}".encode()).hexdigest()[:32]


def folders(own: str) -> list[Path]:
    """Return the folders on this machine of the run of this id."""
    return [*Path(os.environ.get("WANDB_DIR", "."), "wandb").glob(f"*run-*-{own}")]


def is_logged(own: str) -> bool:
    """Return whether the run of this id was logged to its end, from this folder."""
    return any((folder / COMPLETE).exists() for folder in folders(own))


def begin(project: str, study: Study, own: str, **options: Any) -> wandb.Run:
    """Start a run of a study; resume the one that a stopped program has left on the server."""
    for folder in folders(own):
        if folder.name.startswith("offline-"):
            shutil.rmtree(folder)
    quiet = wandb.Settings(quiet=True)
    return wandb.init(
        project=project, group=study.name, id=own, resume="allow", settings=quiet, **options
    )


def end(run: wandb.Run) -> None:
    """Finish a run, and mark it as complete."""
    folder = Path(run.dir).parent
    run.finish()
    (folder / COMPLETE).touch()


def log_run(project: str, study: Study, run: Run) -> None:
    """Log a cell."""
    made = begin(
        project,
        study,
        identity(study, run.key),
        job_type="cell",
        name=run.cell.id,
        config={**run.params, **run.tags, "key": run.key},
    )
    for row in run.history:
        made.log({k: v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))
    made.summary.update(run.metrics)
    end(made)


def log_report(project: str, study: Study, store: Store) -> None:
    """Log report and tables as an artifact, unless these are logged; its id is their hash."""
    digest = hashlib.sha256()
    artifact = wandb.Artifact(study.name, type="study")
    for path in report_files(study, store):
        data = store.read(f"{study.name}/{path}")
        digest.update(data)
        with artifact.new_file(path, mode="wb") as file:
            file.write(data)
    own = identity(study, digest.hexdigest())
    if not is_logged(own):
        made = begin(project, study, own, job_type="report", name=f"{study.name} report")
        made.log_artifact(artifact)
        end(made)


def main() -> None:
    """Parse the arguments, and log."""
    arguments = parser("Log a study to Weights & Biases.")
    arguments.add_argument("--project", metavar="NAME", default="motifk8s")
    args = arguments.parse_args()
    study, store, runs = read(args.study, args.store)
    try:
        new = log_study(args.project, study, store, runs)
    except wandb.Error as error:
        raise Problem(f"Weights & Biases: {error}") from None
    print(f"project {args.project}: {new} cells added, {len(runs) - new} were there")


if __name__ == "__main__":
    sys.exit(exit_code(main))
