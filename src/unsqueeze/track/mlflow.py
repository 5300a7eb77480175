"""MLflow: where MLFLOW_TRACKING_URI says, or in a database in the run's own directory."""

import os
import time
from collections.abc import Mapping

from unsqueeze.track.tracker import TrackedRun

TAG = "unsqueeze_id"
"""The tag by which a run is found again."""


class MLflow:
    """One MLflow run in the experiment that is named like the project."""

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient

        where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path.absolute() / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=where)
        experiment = self._client.get_experiment_by_name(run.project)
        experiment_id = self._client.create_experiment(run.project) if experiment is None else experiment.experiment_id
        found = self._client.search_runs([experiment_id], filter_string=f"tags.{TAG} = '{run.id}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(experiment_id, run_name=run.name, tags={TAG: run.id}).info.run_id

    def last_step(self, kind: str) -> int | None:
        return max((metric.step for metric in self._client.get_metric_history(self._id, f"{kind}/step")), default=None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._id)
