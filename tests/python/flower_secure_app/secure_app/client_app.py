"""A node: its update follows from its number."""

import pathlib
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp

from fewbits.flower import FewbitsMod


def update_of(partition: int, parameters: int) -> np.ndarray:
    return np.random.default_rng(partition).standard_normal(parameters, dtype=np.float32) * np.float32(0.01)


def train(message: Message, context: Context) -> Message:
    run, partition = context.run_config, int(context.node_config["partition-id"])
    if partition == run["dies"]:
        pathlib.Path(str(run["marker"])).touch()
        time.sleep(600)
    moved = message.content["arrays"]["w"].numpy() + update_of(partition, int(run["parameters"]))
    return Message(RecordDict({"arrays": ArrayRecord({"w": Array(moved)}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


class Legacy(NumPyClient):
    """The same for Flower's own protocol, whose clients are of an older kind."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def fit(self, parameters, config):
        return [parameters[0] + update_of(int(self.context.node_config["partition-id"]), len(parameters[0]))], 1, {}


app = ClientApp()
app.train(mods=[FewbitsMod()])(train)
legacy = ClientApp(client_fn=lambda context: Legacy(context).to_client(), mods=[secaggplus_mod])
