"""DistributedDataParallel with gradients of two bits a coordinate.

    torchrun --nproc-per-node=2 python/examples/ddp.py [--plan PLAN] [--steps N] [--data FOLDER]

Trains a small network on Fashion-MNIST where its files are there, else on points of ten random classes, and prints loss and bytes.
"""
import argparse
import gzip
import pathlib

import numpy
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import fewbits.torch

options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--plan", default="trellis:bits=2", help="as fewbits.Codec takes it, or none: float32 (%(default)s)")
options.add_argument("--steps", type=int, default=50)
options.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
options = options.parse_args()


def load():
    if not options.data.is_dir():
        labels = torch.randint(10, (20_000,), generator=torch.Generator().manual_seed(1))
        centers = torch.randn(10, 784, generator=torch.Generator().manual_seed(2))
        return 0.2 * centers[labels] + torch.randn(20_000, 784, generator=torch.Generator().manual_seed(3)), labels
    with gzip.open(options.data / "train-images-idx3-ubyte.gz") as images, gzip.open(options.data / "train-labels-idx1-ubyte.gz") as labels:
        x, y = numpy.frombuffer(images.read(), numpy.uint8, offset=16), numpy.frombuffer(labels.read(), numpy.uint8, offset=8)
    return torch.from_numpy(x.reshape(-1, 784) / numpy.float32(255)), torch.from_numpy(y.astype(numpy.int64))


dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
ddp = DistributedDataParallel(model)
state = None
if options.plan != "none":
    state, hook = fewbits.torch.ddp_hook(options.plan, ddp)
    ddp.register_comm_hook(state, hook)

optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
images, labels = load()
choice = torch.Generator().manual_seed(rank)
for step in range(1, options.steps + 1):
    batch = torch.randint(len(images), (64,), generator=choice)
    loss = torch.nn.functional.cross_entropy(ddp(images[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if rank == 0 and step % 10 == 0:
        print(f"step {step:4}  loss {loss.item():.3f}", flush=True)
if rank == 0 and state is not None:
    print(f"bytes sent a step: {state.bytes_sent // state.step}, {state.float32_bytes_sent / state.bytes_sent:.1f} times fewer than float32"
          f" (over the network of {world} ranks {state.float32_bytes_on_wire / max(state.bytes_on_wire, 1):.1f} times fewer)")
dist.barrier()   # no rank goes while another still talks to it
dist.destroy_process_group()
