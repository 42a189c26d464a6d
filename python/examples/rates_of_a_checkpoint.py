"""How few bits does your model's update take? Draws error against rate for the difference of two checkpoints.

    python rates_of_a_checkpoint.py BEFORE AFTER [--out rates.png]

BEFORE, AFTER: .npz, or what torch.save wrote of a state_dict. Cells begin with `# %%`, as notebooks and editors know them.
"""

# %% What to measure
import argparse

import numpy as np

import fewbits
import fewbits.plot

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("before")
parser.add_argument("after")
parser.add_argument("--out", default="rates.png", help="the picture [rates.png]")
arguments = parser.parse_args()


def tensors_of(path):
    if path.endswith(".npz"):
        return dict(np.load(path))
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state.get("model", state))
    return {name: (tensor.float() if tensor.is_floating_point() else tensor).numpy() for name, tensor in state.items()}


# %% The update: what training changed, tensor by tensor. Counters and other integers are no matter of rate.
before, after = tensors_of(arguments.before), tensors_of(arguments.after)
update = {name: (after[name] - before[name]).astype(np.float32) for name in before if before[name].dtype.kind == "f"}
print(f"{len(update)} tensors, {sum(tensor.size for tensor in update.values()):,} coordinates")

# %% Real frames of real encoders, at a few rates each
plans = [f"trellis:bits={bits}" for bits in (0.1, 0.3, 1, 2, 4)]
plans += [f"hadamard+quantize:bits={bits}" for bits in (1, 2, 4)]
plans += [f"eden:bits={bits}" for bits in (1, 2, 4)]
measured = []
for plan in plans:
    one = fewbits.measure(fewbits.Codec(plan, update), update, repeats=3)
    measured.append(one)
    print(f"{plan:24} {one['bytes']:12,.0f} bytes  {one['bits_per_coordinate']:7.3f} bits a coordinate  NMSE {one['nmse']:.3g}")

# %% The picture
fewbits.plot.rate_and_error(measured, f"the update from {arguments.before} to {arguments.after}").savefig(arguments.out, dpi=120)
print(arguments.out)
