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

from fewbits.flower import FewbitsFedAvg, SecureFedAvg
from secure_app.client_app import update_of

app = ServerApp()


def secaggplus(grid: Grid, context: Context, start: np.ndarray, clients: int) -> np.ndarray:
    strategy = FedAvg(min_fit_clients=clients, min_available_clients=clients, fraction_evaluate=0.0, initial_parameters=ndarrays_to_parameters([start]))
    legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=1), strategy=strategy)
    DefaultWorkflow(fit_workflow=SecAggPlusWorkflow(num_shares=clients, reconstruction_threshold=3))(grid, legacy)
    from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters

    return parameters_to_ndarrays(arrayrecord_to_parameters(legacy.state.array_records["parameters"], keep_input=True))[0]


def private_rounds(grid: Grid, start: np.ndarray, clients: int, plain: np.ndarray, wait: float) -> dict[str, dict[str, float]]:
    """One round each of the three kinds of noise, all of one multiplier: how wide it is in the mean, beside what it should be."""
    clip = 1.01 * max(float(np.linalg.norm(update_of(partition, len(start)))) for partition in range(clients))
    promised = {"clip": clip, "noise_multiplier": 1.0, "delta": 1e-5, "probability": 1.0, "population": clients,
                "min_train_nodes": clients, "min_available_nodes": clients, "fraction_evaluate": 0.0}
    under_masks = {"min_cohort": 3, "dropouts": 0.0}
    strategies = {"server": FewbitsFedAvg("trellis:bits=6,scale=flat", **promised), "server, secure": SecureFedAvg(noise_by="server", **under_masks, **promised),
                  "clients, secure": SecureFedAvg(noise_by="clients", **under_masks, **promised)}
    found = {}
    for name, strategy in strategies.items():
        mean = strategy.start(grid, ArrayRecord({"w": Array(start)}), num_rounds=1, timeout=wait).arrays["w"].numpy()
        done, = strategy.rounds
        found[name] = {"width": float(np.std(mean - plain)) / (clip / clients), "epsilon": done.epsilon, "clients": done.clients}
    return found


@app.main()
def main(grid: Grid, context: Context) -> None:
    run = context.run_config
    clients, parameters = int(run["clients"]), int(run["parameters"])
    start, rounds = np.zeros(parameters, np.float32), []
    plain = np.mean([update_of(partition, parameters) for partition in range(clients) if partition != run["dies"]], axis=0)
    if run["protocol"] == "private":
        found = private_rounds(grid, start, clients, plain, float(run["wait"]))
        pathlib.Path(str(run["report"])).write_text(json.dumps(found))
        return
    if run["protocol"] == "secaggplus":
        mean = secaggplus(grid, context, start, clients)
    else:
        strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", min_cohort=3, min_train_nodes=clients, min_available_nodes=clients, fraction_evaluate=0.0)
        mean = strategy.start(grid, ArrayRecord({"w": Array(start)}), num_rounds=1, timeout=float(run["wait"])).arrays["w"].numpy()
        rounds = [vars(done) for done in strategy.rounds]
    report = {"error": float(np.abs(mean - plain).max()), "norm": float(np.abs(plain).max()), "rounds": rounds, "run": context.run_id}
    pathlib.Path(str(run["report"])).write_text(json.dumps(report))
