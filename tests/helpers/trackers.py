"""Stand-ins for the parts of MLflow and Weights & Biases that examples/tracking uses, in memory."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

Metric = namedtuple("Metric", "key value timestamp step")
Param = namedtuple("Param", "key value")
RunTag = namedtuple("RunTag", "key value")


class Page(list[Any]):
    token: str | None = None


class MlflowClient:
    """One experiment and its runs, for all clients of a URI; answers two runs a page."""

    servers: dict[str, dict[str, Any]] = {}

    def __init__(self, tracking_uri: str) -> None:
        self.runs = self.servers.setdefault(tracking_uri, {})

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1") if self.runs else None

    def create_experiment(self, name: str) -> str:
        return "1"

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: dict[str, str] | None = None,
        run_name: str | None = None,
    ) -> Any:
        own = str(len(self.runs))
        self.runs[own] = run = SimpleNamespace(
            info=SimpleNamespace(run_id=own, run_name=run_name, status="RUNNING"),
            data=SimpleNamespace(tags=dict(tags or {}), params={}, metrics={}),
            times=[start_time],
            history=[],
            artifacts=set(),
        )
        return run

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        max_results: int = 2,
        page_token: str | None = None,
    ) -> Page:
        match = re.fullmatch(r"tags\.`([^`]+)` = '([^']*)'", filter_string)
        assert match
        found = [run for run in self.runs.values() if run.data.tags.get(match[1]) == match[2]]
        begin = int(page_token or 0)
        page = Page(found[begin : begin + max_results])
        page.token = str(begin + max_results) if len(found) > begin + max_results else None
        return page

    def delete_run(self, run_id: str) -> None:
        self.runs[run_id].data.tags.clear()

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert len(metrics) <= 1000 and len(params) <= 100 and len(tags) <= 100
        run = self.runs[run_id]
        run.history += [(m.key, m.value, m.step) for m in metrics]
        run.data.metrics.update((m.key, m.value) for m in metrics)
        run.data.params.update((p.key, p.value) for p in params)
        run.data.tags.update((t.key, t.value) for t in tags)

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        return [Metric(k, v, 0, step) for k, v, step in self.runs[run_id].history if k == key]

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        assert Path(local_path).is_file()
        self.runs[run_id].artifacts.add(
            "/".join(filter(None, [artifact_path, Path(local_path).name]))
        )

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        self.runs[run_id].info.status = status or "FINISHED"


def mlflow() -> dict[str, ModuleType]:
    """The modules, to be put into `sys.modules`."""
    modules = {f"mlflow{name}": ModuleType(f"mlflow{name}") for name in
               ("", ".entities", ".exceptions", ".tracking")}  # fmt: skip
    modules["mlflow.entities"].__dict__.update(Metric=Metric, Param=Param, RunTag=RunTag)
    modules["mlflow.exceptions"].__dict__.update(MlflowException=type("E", (Exception,), {}))
    modules["mlflow.tracking"].__dict__.update(MlflowClient=MlflowClient)
    return modules


class WandbRun:
    """A run in offline mode, which leaves a folder."""

    def __init__(self, **options: Any) -> None:
        self.options, self.rows, self.summary = options, [], {}
        folder = Path("wandb", f"offline-run-20260101_000000-{options['id']}")
        (folder / "files").mkdir(parents=True)
        self.dir = str(folder / "files")

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows.append({"_step": step, **row})

    def log_artifact(self, artifact: Any) -> None:
        self.artifact = artifact

    def finish(self) -> None:
        pass


class Artifact:
    def __init__(self, name: str, type: str) -> None:
        self.names: list[str] = []

    def new_file(self, name: str, mode: str) -> Any:
        self.names.append(name)
        return open("/dev/null", mode)


def wandb(runs: list[WandbRun]) -> ModuleType:
    """The module, to be put into `sys.modules`; its runs are added to `runs`."""

    def init(**options: Any) -> WandbRun:
        runs.append(WandbRun(**options))
        return runs[-1]

    module = ModuleType("wandb")
    module.__dict__.update(
        init=init, Artifact=Artifact, Run=WandbRun, Error=type("Error", (Exception,), {}),
        Settings=SimpleNamespace,
    )  # fmt: skip
    return module
