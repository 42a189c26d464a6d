"""The model, the data, and training: PyTorch as usual."""

import functools
import gzip
import pathlib

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    """A CNN of a million parameters, with a batch norm, whose counter is an integer."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.norm = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * 7 * 7, 312)
        self.fc2 = nn.Linear(312, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.norm(self.conv2(x))), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


@functools.lru_cache
def _read(folder, part):
    images, labels = (gzip.decompress(pathlib.Path(folder, f"{part}-{kind}-ubyte.gz").read_bytes()) for kind in ("images-idx3", "labels-idx1"))
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(pixels), torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))


def client_data(folder, client, clients):
    """Every clients-th image, from the client's own on."""
    images, labels = _read(folder, "train")
    return images[client::clients], labels[client::clients]


def train(model, images, labels, learning_rate, batch=32):
    """One epoch of SGD; the mean loss."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    losses = []
    for start in range(0, len(images), batch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[start:start + batch]), labels[start:start + batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def accuracy(model, folder, images=2000):
    model.eval()
    x, y = (part[:images] for part in _read(folder, "t10k"))
    return (model(x).argmax(1) == y).float().mean().item()
