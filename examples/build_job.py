"""A job made in Python and run at once: three sites fit one line, each to points that it alone has.

The classes of this script go along with the job: each process of it imports them from a copy.
"""

import tempfile
from pathlib import Path

import numpy as np

from zmqfl import FLContext, Shareable, Signal
from zmqfl.fl.dxo import DXO, DataKind, MetaKey, from_shareable
from zmqfl.fl.executor import Executor
from zmqfl.fl.fedavg import FedAvg
from zmqfl.fl.jobs.builder import Job
from zmqfl.fl.model_persistor import NPModelPersistor
from zmqfl.fl.weighted_mean import Weights


class Line:
    """What is fitted: y = slope * x + offset."""

    def initial_weights(self) -> Weights:
        return {"line": np.zeros(2)}


class Fitter(Executor):
    def __init__(self, steps: int, rate: float = 0.1) -> None:
        self.steps = steps
        self.rate = rate

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        rng = np.random.default_rng(ord(fl_ctx.get_identity_name()[-1]))
        x = rng.uniform(-1, 2, 50)
        points = np.stack([x, np.ones(50)], 1)
        y = 2 * x + 1 + rng.normal(0, 0.1, 50)
        line = from_shareable(shareable).data["line"]
        for _ in range(self.steps):
            line -= self.rate * points.T @ (points @ line - y) / 50
        return DXO(DataKind.WEIGHTS, {"line": line}, {MetaKey.NUM_STEPS_CURRENT_ROUND: self.steps}).to_shareable()


def main() -> None:
    job = Job("line", min_clients=3)
    job.to_server(FedAvg(num_rounds=5))
    job.to_server(NPModelPersistor(Line()), id="persistor")
    job.to_clients(Fitter(steps=30), tasks=["train"])
    with tempfile.TemporaryDirectory() as workspace:
        status = job.simulate(workspace, n_clients=3, threads=3)
        with np.load(Path(workspace, "server/simulate_job/models/model.npz")) as model:
            slope, offset = model["line"]
    print(f"status {status}: y = {slope:.1f} x + {offset:.1f}")


if __name__ == "__main__":
    main()
