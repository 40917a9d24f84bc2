"""Log a study to MLflow: a parent run with report and tables, and a run in it for each cell.

Run it again after more cells have finished: it adds these alone, and replaces report and tables.

    pip install mlflow-skinny    # for a server; mlflow, for a local database
    python examples/tracking/to_mlflow.py STUDY --store STORE --experiment NAME
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

from cells import Run, exit_code, parser, read, report_files
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from motifk8s.errors import Problem
from motifk8s.store.base import Store
from motifk8s.study.study import Study

KEY = "motifk8s.key"  # of a cell's run
CELLS_OF = "motifk8s.cells-of"  # of the study's run
PARENT = "mlflow.parentRunId"
MOST = 1000, 100, 100  # metrics, parameters and tags of a request


def log_study(client: MlflowClient, experiment: str, study: Study, store: Store, runs: list[Run]):
    """Log report, tables and the runs that the experiment lacks; return how many it lacked."""
    found = client.get_experiment_by_name(experiment)
    place = found.experiment_id if found else client.create_experiment(experiment)
    parent = parent_run(client, place, study)
    logged = finished_children(client, place, parent)
    new = [run for run in runs if run.key not in logged]
    for run in new:
        log_run(client, place, parent, run)
    for path in report_files(study, store):
        with store.local(f"{study.name}/{path}") as file:
            client.log_artifact(parent, str(file), path.rpartition("/")[0] or None)
    client.set_terminated(parent)
    return len(new)


def parent_run(client: MlflowClient, experiment: str, study: Study) -> str:
    """Return the id of the study's run; create it if there is none."""
    found = client.search_runs([experiment], f"tags.`{CELLS_OF}` = '{study.name}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {CELLS_OF: study.name, "mlflow.note.content": study.title}
    return client.create_run(experiment, tags=tags, run_name=study.name).info.run_id


def finished_children(client: MlflowClient, experiment: str, parent: str) -> set[str]:
    """Return the keys of the cells that are logged; delete what a stopped program has left."""
    keys, token = set(), None
    while True:
        page = client.search_runs([experiment], f"tags.`{PARENT}` = '{parent}'", page_token=token)
        for run in page:
            if run.info.status == "FINISHED":
                keys.add(run.data.tags.get(KEY))
            else:
                client.delete_run(run.info.run_id)
        if not (token := page.token):
            return keys


def log_run(client: MlflowClient, experiment: str, parent: str, run: Run) -> None:
    """Log a cell. Its run is finished last, so that a half-logged one can be recognized."""
    end = milliseconds(run.ended) or int(time.time() * 1000)
    begin = milliseconds(run.started) or end
    made = client.create_run(
        experiment, begin, {PARENT: parent, KEY: run.key}, run_name=run.cell.id
    ).info.run_id
    metrics = [Metric(name, value, end, 0) for name, value in run.metrics.items()] + [
        Metric(name, value, end, int(row["epoch"]))
        for row in run.history
        for name, value in row.items()
        if name != "epoch"
    ]
    params = [Param(name, str(value)) for name, value in run.params.items()]
    tags = [RunTag(f"motifk8s.{name}", value) for name, value in run.tags.items()]
    while metrics or params or tags:
        batch: list[list[Any]] = [
            part[:n] for part, n in zip((metrics, params, tags), MOST, strict=True)
        ]
        client.log_batch(made, *batch)
        metrics, params, tags = metrics[MOST[0] :], params[MOST[1] :], tags[MOST[2] :]
    client.set_terminated(made, "FINISHED", end)


def milliseconds(moment: datetime | None) -> int | None:
    """Convert a time to MLflow's."""
    return moment and int(moment.timestamp() * 1000)


def main() -> None:
    """Parse the arguments, and log."""
    arguments = parser("Log a study to MLflow.")
    arguments.add_argument("--experiment", metavar="NAME", default="motifk8s")
    arguments.add_argument(
        "--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI, or that of MLflow"
    )
    args = arguments.parse_args()
    study, store, runs = read(args.study, args.store)
    try:
        client = MlflowClient(args.tracking_uri)
        new = log_study(client, args.experiment, study, store, runs)
    except MlflowException as error:
        raise Problem(f"MLflow: {error}") from None
    print(f"experiment {args.experiment}: {new} cells added, {len(runs) - new} were there")


if __name__ == "__main__":
    sys.exit(exit_code(main))
