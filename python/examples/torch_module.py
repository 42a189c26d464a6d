"""A PyTorch module trained by a hundred simulated clients, with updates as float32 and in 0.03 bit a coordinate.

    python torch_module.py [--rounds N] [--data FOLDER]

Fashion-MNIST, dealt so that clients hold few classes each; prints accuracy and the bytes that clients have uploaded.
"""
import argparse
import gzip
import pathlib

import numpy
import torch

import fewbits.federated
import fewbits.torch

options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--rounds", type=int, default=40)
options.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
options = options.parse_args()


def load(name):
    with gzip.open(options.data / f"{name}-images-idx3-ubyte.gz") as images, gzip.open(options.data / f"{name}-labels-idx1-ubyte.gz") as labels:
        x, y = numpy.frombuffer(images.read(), numpy.uint8, offset=16), numpy.frombuffer(labels.read(), numpy.uint8, offset=8)
    return x.reshape(-1, 1, 28, 28) / numpy.float32(255), y


torch.set_num_threads(1)   # batches are small
train, test = load("train"), load("t10k")
clients = fewbits.federated.partition("dirichlet-client:alpha=3", train[1], 100)

for plan in ("f32", "trellis:bits=0.03,scale=profile"):
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 5, stride=2, padding=2), torch.nn.ReLU(), torch.nn.Flatten(),
                                 torch.nn.Linear(16 * 14 * 14, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    model = fewbits.torch.federated_model(module, torch.nn.functional.cross_entropy)
    trainer = fewbits.federated.Trainer(model, train, test, clients, plan, rounds=options.rounds, clients_per_round=20, learning_rate=0.1,
                                        eval_every=10, eval_examples=2000)
    for result in trainer.run():
        if result.score is not None:
            print(f"{plan}: round {result.round}, accuracy {result.score:.3f}, {result.upload_bytes:,} bytes", flush=True)
    print(f"{plan}: {trainer.summary()['bits_per_coordinate']:.3f} bits a coordinate")
    model.load(trainer.released)   # for all that a module is for
