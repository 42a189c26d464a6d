"""The server: FewbitsFedAvg in the place of FedAvg."""

import json
import pathlib

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fewbits.flower import FewbitsFedAvg
from fewbits_app import task

app = ServerApp()


class PlainFedAvg(FedAvg):
    """FedAvg as it is, whose messages go past FewbitsMod."""

    def configure_train(self, *arguments):
        messages = list(super().configure_train(*arguments))
        return [Message(message.content, message.metadata.dst_node_id, "train.plain") for message in messages]


@app.main()
def main(grid: Grid, context: Context) -> None:
    run = context.run_config
    clients = int(run["clients"])
    options = {"fraction_train": clients / max(clients, 1), "min_train_nodes": clients, "min_available_nodes": clients, "fraction_evaluate": 0.0}
    strategy = PlainFedAvg(**options) if run["plan"] == "none" else FewbitsFedAvg(str(run["plan"]), **options)

    def evaluate(_: int, arrays: ArrayRecord) -> MetricRecord:
        model = task.Net()
        model.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": task.accuracy(model, run["data"])})

    torch.manual_seed(1)
    result = strategy.start(grid, ArrayRecord(task.Net().state_dict()), num_rounds=int(run["rounds"]), evaluate_fn=evaluate)
    accuracies = [metrics["accuracy"] for _, metrics in sorted(result.evaluate_metrics_serverapp.items())]
    uploads = [vars(done) for done in getattr(strategy, "rounds", [])]
    if run["report"]:
        pathlib.Path(str(run["report"])).write_text(json.dumps({"accuracy": accuracies, "rounds": uploads, "run": context.run_id}))
