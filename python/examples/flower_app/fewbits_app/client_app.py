"""A client: all that fewbits changes is the line with FewbitsMod."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fewbits.flower import FewbitsMod
from fewbits_app import task

app = ClientApp()


def train(message: Message, context: Context) -> Message:
    run, node = context.run_config, context.node_config
    torch.manual_seed(int(message.content["config"]["server-round"]))
    torch.set_num_threads(1)
    images, labels = task.client_data(run["data"], int(node["partition-id"]), int(node["num-partitions"]))
    order = torch.randperm(len(images))[:int(run["examples"]) or None]
    model = task.Net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loss = task.train(model, images[order], labels[order], float(run["learning-rate"]))
    metrics = MetricRecord({"loss": loss, "num-examples": len(order)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


app.train(mods=[FewbitsMod()])(train)
app.train("plain")(train)   # of strategies without fewbits, for comparison
