"""The server: one round, and how far its mean is from that of the updates."""

import json
import pathlib

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

from fewbits.flower import SecureFedAvg
from secure_app.client_app import update_of

app = ServerApp()


def secaggplus(grid: Grid, context: Context, start: np.ndarray, clients: int) -> np.ndarray:
    strategy = FedAvg(min_fit_clients=clients, min_available_clients=clients, fraction_evaluate=0.0, initial_parameters=ndarrays_to_parameters([start]))
    legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=1), strategy=strategy)
    DefaultWorkflow(fit_workflow=SecAggPlusWorkflow(num_shares=clients, reconstruction_threshold=3))(grid, legacy)
    from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters

    return parameters_to_ndarrays(arrayrecord_to_parameters(legacy.state.array_records["parameters"], keep_input=True))[0]


@app.main()
def main(grid: Grid, context: Context) -> None:
    run = context.run_config
    clients, parameters = int(run["clients"]), int(run["parameters"])
    start, rounds = np.zeros(parameters, np.float32), []
    if run["protocol"] == "secaggplus":
        mean = secaggplus(grid, context, start, clients)
    else:
        strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", min_cohort=3, min_train_nodes=clients, min_available_nodes=clients, fraction_evaluate=0.0)
        mean = strategy.start(grid, ArrayRecord({"w": Array(start)}), num_rounds=1, timeout=float(run["wait"])).arrays["w"].numpy()
        rounds = [vars(done) for done in strategy.rounds]
    plain = np.mean([update_of(partition, parameters) for partition in range(clients) if partition != run["dies"]], axis=0)
    report = {"error": float(np.abs(mean - plain).max()), "norm": float(np.abs(plain).max()), "rounds": rounds, "run": context.run_id}
    pathlib.Path(str(run["report"])).write_text(json.dumps(report))
