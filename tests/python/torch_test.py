"""fewbits.torch with real processes: gradients of DistributedDataParallel over gloo, and training inside a structured family.

    torch_test.py PYTHONPATH

Trains on Fashion-MNIST where Debian's package of it is there. With FEWBITS_LONG_TESTS=1 longer, and to lower losses.
"""

import copy
import gzip
import io
import os
import pathlib
import pickle
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, sys.argv[1])   # of the ranks too, which begin as copies of this script

import numpy as np  # noqa: E402: behind the path

from optional import need  # noqa: E402: beside this file

need("torch")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

import fewbits  # noqa: E402
import fewbits.torch  # noqa: E402

LONG = bool(os.environ.get("FEWBITS_LONG_TESTS"))
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
check = unittest.TestCase()


def equal(a, b):
    return torch.equal(torch.as_tensor(a), torch.as_tensor(b))


# ---- ranks ----

def rank_main(rank, world, folder, scenarios):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    results = {}
    for name in scenarios:
        try:
            results[name] = SCENARIOS[name]()
        except BaseException as error:
            raise RuntimeError(f"scenario '{name}', rank {rank} of {world}") from error
    torch.save(results, pathlib.Path(folder, f"{rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()


def run(world, *scenarios):
    """What each scenario gave at each rank."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (world, folder, scenarios), nprocs=world)
        ranks = [torch.load(pathlib.Path(folder, f"{rank}.pt")) for rank in range(world)]
    return {name: [results[name] for results in ranks] for name in scenarios}


def everywhere(tensor):
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return parts


class Given(torch.nn.Module):
    """Parameters whose gradients are what forward is given."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))

    def forward(self, gradients):
        return sum((parameter * gradients[name]).sum() for name, parameter in self.named_parameters())


SHAPES = {"weight": (40, 30), "bias": (40,), "last": (200,)}


def gradients_of(step, shapes=SHAPES, rank=None):
    generator = torch.Generator().manual_seed(1000 * step + (dist.get_rank() if rank is None else rank))
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def hooked(plan, module=None, named=True, ddp_options={}, **options):
    ddp = DistributedDataParallel(Given(**SHAPES) if module is None else module, **ddp_options)
    state, hook = fewbits.torch.ddp_hook(plan, ddp if named else None, **options)
    ddp.register_comm_hook(state, hook)
    return ddp, state


def averaged(ddp, gradients):
    """The gradients that all ranks get for those that each gives."""
    ddp.zero_grad()
    ddp(gradients).backward()
    return {name.removeprefix("module."): parameter.grad.clone() for name, parameter in ddp.named_parameters()}


def true_mean(step, shapes=SHAPES):
    ranks = [gradients_of(step, shapes, rank) for rank in range(dist.get_world_size())]
    return {name: torch.stack([own[name] for own in ranks]).double().mean(0) for name in shapes}


def error(got, want):
    return float(((got.double() - want) ** 2).sum() / (want ** 2).sum())


def same_on_all_ranks(tensors):
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    for other in everywhere(flat):
        check.assertTrue(equal(other, flat))


def warm_up():
    ddp, state = hooked("trellis:bits=2", warmup=2)
    for step in range(3):
        got, want = averaged(ddp, gradients_of(step)), true_mean(step)
        same_on_all_ranks(got.values())
        for name in got:
            (check.assertLess if step < 2 else check.assertGreater)(error(got[name], want[name]), 1e-12)
            check.assertLess(error(got[name], want[name]), 0.2)
    numel = sum(parameter.numel() for parameter in ddp.parameters())
    world = dist.get_world_size()
    check.assertEqual((state.step, state.fallbacks), (3, 0))
    check.assertEqual(state.float32_bytes_sent, 3 * 4 * numel)
    check.assertEqual(state.float32_bytes_on_wire, 3 * 8 * numel * (world - 1) / world)
    frame = state.bytes_sent - 2 * 4 * numel - 8   # beside the float32s of two steps and a length
    check.assertAlmostEqual(8 * frame / numel, 2, delta=0.3)
    check.assertEqual(state.bytes_on_wire, 2 * 8 * numel * (world - 1) / world + (world - 1) * (frame + 8))


def rules():
    ddp, state = hooked("*bias=f32; <256=f32; *=trellis:bits=2", warmup=0)
    for step in range(2):   # DDP makes its buckets anew in between
        got, want = averaged(ddp, gradients_of(step)), true_mean(step)
        check.assertLess(error(got["bias"], want["bias"]), 1e-12)
        check.assertLess(error(got["last"], want["last"]), 1e-12)
        check.assertGreater(error(got["weight"], want["weight"]), 0.01)
        check.assertLess(error(got["weight"], want["weight"]), 0.2)
    with check.assertRaisesRegex(ValueError, "chooses tensors by name"):
        fewbits.torch.ddp_hook("*.bias=f32; *=trellis:bits=2")


def cohorts():
    world = dist.get_world_size()
    ddp, state = hooked(f"permk:cohort={world}+f32", warmup=0)   # exact where all ranks say the same
    given = gradients_of(0, rank=0)
    got = averaged(ddp, given)
    for name in given:
        check.assertTrue(equal(got[name], given[name]))


def integers():
    world = dist.get_world_size()
    for step_size, nbytes in ((1, 1), (0.0175 * world, 2), (1e-3, 4)):   # all of the integers in int8, most of them, or few
        grads = []
        for exchange in ("gather", "reduce"):
            ddp, state = hooked(f"hadamard+trellis:scale=flat,step={step_size}", warmup=0, exchange=exchange)
            grads.append([averaged(ddp, gradients_of(step)) for step in range(3)])
            if exchange == "reduce":
                check.assertEqual(state.fallbacks, 0)
                numel = state.float32_bytes_sent / 4
                sent = (state.bytes_sent - 3 * 16) / numel
                if nbytes == 2:
                    check.assertTrue(1 < sent < 2, sent)
                else:
                    check.assertEqual(sent, nbytes)
        for one, other in zip(*grads):
            for name in one:
                check.assertTrue(equal(one[name], other[name]), (step_size, name))
    with check.assertRaisesRegex(fewbits.Error, "not linear in integers"):
        averaged(hooked("trellis:bits=2", warmup=0, exchange="reduce")[0], gradients_of(0))


def profiles():
    for exchange in ("auto", "gather", "reduce"):
        ddp, state = hooked("trellis:bits=3,scale=profile", exchange=exchange, profile_every=2)
        for step in range(8):
            got, want = averaged(ddp, gradients_of(step)), true_mean(step)
            same_on_all_ranks(got.values())
            for name in got:
                check.assertLess(error(got[name], want[name]), 0.1)
        group, = {id(group): group for group in state._owners.values()}.values()
        check.assertEqual(group.reduces, exchange == "reduce")   # of few ranks frames are shorter
        check.assertEqual(group.profile.has_common_step, exchange == "reduce")
        check.assertEqual(group.learner.rounds, 8)
    # Fine steps take more bits than int8 has: an all-reduce, where it may choose.
    ddp, state = hooked("trellis:scale=flat,step=0.0001", warmup=0, profile_every=2)
    for step in range(4):
        averaged(ddp, gradients_of(step))
    check.assertFalse(next(iter(state._owners.values())).reduces)


def memory_of(state):
    """The mean over ranks of what has not been sent."""
    memories = {name: group.memory()[name] for name, group in state._owners.items()}
    return {name: torch.stack(everywhere(torch.from_numpy(own.copy()))).double().mean(0) for name, own in memories.items()}


def feedback():
    # One bucket; or one at first and then two, last, and weight with bias, the first step of which has a NaN.
    for ddp_options, groups in (({}, 1), ({"bucket_cap_mb": 500 / 2**20}, 3)):
        ddp, state = hooked("topk:keep=0.05+f32", warmup=0, ddp_options=ddp_options)
        sent = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
        true = copy.deepcopy(sent)
        for step in range(10):
            got, want = averaged(ddp, gradients_of(step)), true_mean(step)
            for name in sent:
                sent[name] += got[name]
                true[name] += want[name]
            if step == 0 and groups == 3:
                before = memory_of(state)
                averaged(ddp, {name: own * float("nan") for name, own in gradients_of(step).items()})
                for kept in (state, pickle.loads(pickle.dumps(state))):
                    for name, own in memory_of(kept).items():
                        check.assertTrue(equal(own, before[name]), name)
        check.assertEqual(len(state._groups), groups, list(state._groups))
        for name, left in memory_of(state).items():   # what has come in is what was sent and what is left
            check.assertLess(float((sent[name] + left.view(sent[name].shape) - true[name]).abs().max()), 1e-4, name)
            check.assertGreater(float(left.abs().max()), 0.1)
    for plan, has in (("trellis:bits=2", False), ("topk:keep=0.1", True)):
        for option in (None, False, True, {"momentum": 0.5}):
            ddp, state = hooked(plan + ("+f32" if has else ""), warmup=0, feedback=option)
            averaged(ddp, gradients_of(0))
            check.assertEqual(next(iter(state._owners.values())).feedback is not None, has if option is None else bool(option))


def not_finite():
    for plan, options in (("topk:keep=0.1+f32", {}), ("trellis:scale=flat,step=0.1", {"exchange": "reduce"})):
        for bad in (float("nan"), float("inf"), 1e25):   # the last is beyond what a plan represents, or an Aggregator takes
            ddp, state = hooked(plan, warmup=0, **options)
            averaged(ddp, gradients_of(0))
            before = memory_of(state) if "topk" in plan else {}
            given = gradients_of(1)
            if dist.get_rank() == 1:
                given["weight"][3, 4] = bad
            got = averaged(ddp, given)
            check.assertEqual(int(torch.isfinite(got["weight"]).sum()), 1200 if bad == 1e25 else 1199)
            check.assertEqual(bool(torch.isfinite(got["weight"][3, 4])), bad == 1e25)
            check.assertEqual(state.fallbacks, 1)
            for name, own in before.items():
                check.assertTrue(equal(own, memory_of(state)[name]))
            got = averaged(ddp, gradients_of(2))
            check.assertTrue(all(bool(torch.isfinite(own).all()) for own in got.values()))
            check.assertEqual(state.fallbacks, 1)


def grad_scaler():
    ddp, state = hooked("trellis:bits=2", warmup=0)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    for step in range(2):
        before = [parameter.detach().clone() for parameter in ddp.parameters()]
        given = gradients_of(step)
        if step == 1 and dist.get_rank() == 1:
            given["bias"][0] = 3e38   # overflows when it is scaled
        optimizer.zero_grad()
        scaler.scale(ddp(given)).backward()
        scaler.step(optimizer)
        scaler.update()
        for parameter, own in zip(ddp.parameters(), before):
            check.assertEqual(equal(parameter, own), step == 1)
    check.assertEqual(scaler.get_scale(), 2.0**15)
    same_on_all_ranks([parameter.detach() for parameter in ddp.parameters()])


def halves():
    ddp, state = hooked("trellis:bits=4", Given(**SHAPES).to(torch.bfloat16), warmup=1)
    for step in range(2):
        got = averaged(ddp, {name: own.to(torch.bfloat16) for name, own in gradients_of(step).items()})
        for name, want in true_mean(step).items():
            check.assertEqual(got[name].dtype, torch.bfloat16)
            check.assertLess(error(got[name], want), 0.02)


def small_net():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh(), torch.nn.Linear(30, 5))


def checkpoints():
    def begin(plan, options, saved=None):
        ddp, state = hooked(plan, small_net(), **options)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1, momentum=0.9)
        if saved is not None:
            saved = torch.load(io.BytesIO(saved), weights_only=True)
            for part, own in zip((ddp, optimizer, state), saved):
                part.load_state_dict(own)
        return ddp, optimizer, state

    def train(ddp, optimizer, state, steps):
        for step in steps:
            generator = torch.Generator().manual_seed(100 * step + dist.get_rank())
            x = torch.randn(16, 20, generator=generator)
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(ddp(x), x[:, :5] ** 2).backward()
            optimizer.step()

    for plan, options in (("topk:keep=0.1+f32", {}), ("powersgd:rank=2", {}), ("powersgd:rank=2", {"feedback": False}), ("trellis:bits=2", {"named": False}),
                          ("trellis:bits=2,scale=profile", {"profile_every": 3}), ("topk:keep=0.1+f32", {"feedback": {"momentum": 0.5}}),
                          ("dither:bits=4,scale=profile", {"exchange": "reduce", "profile_every": 3})):
        whole = begin(plan, options)
        train(*whole, range(10))
        first = begin(plan, options)
        train(*first, range(5))
        saved = io.BytesIO()
        torch.save([part.state_dict() for part in first], saved)
        second = begin(plan, options, saved.getvalue())
        train(*second, range(5, 10))
        for a, b in zip(whole[0].parameters(), second[0].parameters()):
            check.assertTrue(equal(a, b), plan)
        for name in ("step", "bytes_sent", "bytes_on_wire"):
            check.assertEqual(getattr(whole[2], name), getattr(second[2], name), name)
        pickled = pickle.loads(pickle.dumps(second[2]))
        check.assertEqual(str(pickled.state_dict()), str(second[2].state_dict()))
    own = first[2].state_dict()
    with check.assertRaisesRegex(ValueError, "saved with seed 7, not 0"):
        first[2].load_state_dict({**own, "seed": 7})
    biased = begin("topk:keep=0.1+f32", {})
    train(*biased, range(3))
    with check.assertRaisesRegex(ValueError, "saved with rank 9"):
        biased[2].load_state_dict({**biased[2].state_dict(), "rank": 9})


# ---- training on real data ----

def images(kind):
    def read(name, offset):
        with gzip.open(DATA / f"{kind}-{name}-ubyte.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)
    return torch.from_numpy(read("images-idx3", 16).reshape(-1, 784).astype(np.float32) / 255), torch.from_numpy(read("labels-idx1", 8).astype(np.int64))


STEPS = {2: 1500 if LONG else 120, 4: 600 if LONG else 100}
BATCH = 64


def hook_of_torch(name, ddp):
    if name == "fp16_compress_hook":
        ddp.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif name == "powerSGD_hook, rank 4":
        ddp.register_comm_hook(powerSGD_hook.PowerSGDState(None, 4, start_powerSGD_iter=2), powerSGD_hook.powerSGD_hook)


PLANS = {"trellis:bits=2": {}, "trellis:bits=1": {}, "trellis:bits=2,scale=profile": {"exchange": "reduce"},
         "topk:keep=0.01+quantize:bits=4": {}, "powersgd:rank=4": {}}


def training(name):
    """Final loss, and bytes a step that a rank hands to collectives; of torch's hooks counted where they hand them over."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    ddp = DistributedDataParallel(model)
    state = None
    if name in PLANS:
        state, hook = fewbits.torch.ddp_hook(name, ddp, **PLANS[name])
        ddp.register_comm_hook(state, hook)
    else:
        hook_of_torch(name, ddp)
    steps, world, rank = STEPS[dist.get_world_size()], dist.get_world_size(), dist.get_rank()
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)   # noise of the last batches does not decide
    x, labels = images("train")
    generator = torch.Generator().manual_seed(5)
    counted, reduce = 0, dist.all_reduce

    def all_reduce(tensor, *arguments, **named):
        nonlocal counted
        counted += tensor.nbytes
        return reduce(tensor, *arguments, **named)

    curve = []
    with mock.patch.object(dist, "all_reduce", all_reduce):
        for _ in range(steps):
            batch = torch.randint(len(x), (world * BATCH,), generator=generator)[rank::world]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(ddp(x[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    same_on_all_ranks([parameter.detach() for parameter in ddp.parameters()])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(x[:20_000]), labels[:20_000]).item()
        test, truth = images("t10k")
        accuracy = (model(test).argmax(1) == truth).float().mean().item()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sent = state.bytes_sent if state else 4 * parameters * steps if name == "float32" else counted
    wire = state.bytes_on_wire if state else 2 * (world - 1) / world * sent
    return {"loss": loss, "accuracy": accuracy, "curve": curve, "sent": sent / steps, "wire": wire / steps, "parameters": parameters}


SCENARIOS = {scenario.__name__: scenario for scenario in
             (warm_up, rules, cohorts, integers, profiles, feedback, not_finite, grad_scaler, halves, checkpoints)}
TRAININGS = ("float32", "fp16_compress_hook", "powerSGD_hook, rank 4", *PLANS)
SCENARIOS |= {name: (lambda name=name: training(name)) for name in TRAININGS}


class Hook(unittest.TestCase):
    def test_two_ranks(self):
        run(2, "warm_up", "rules", "cohorts", "integers", "profiles", "feedback", "not_finite", "grad_scaler", "halves", "checkpoints")

    def test_four_ranks(self):
        run(4, "warm_up", "cohorts", "integers", "not_finite")

    def train(self, world, names):
        results = {name: ranks[0] for name, ranks in run(world, *names).items()}
        plain = results["float32"]
        print(f"\n{world} ranks, {STEPS[world]} steps of {BATCH} images a rank, MLP of {plain['parameters']} parameters; bytes a step and rank:"
              f"\n{'hook':37}{'sent':>9}{'less':>7}{'on the wire':>13}{'less':>7}{'loss':>9}{'accuracy':>10}")
        for name, own in results.items():
            hook = name + "".join(f", {value}" for value in PLANS.get(name, {}).values())
            print(f"{hook:37}{own['sent']:9.0f}{plain['sent'] / own['sent']:6.1f}x{own['wire']:13.0f}{plain['wire'] / own['wire']:6.1f}x"
                  f"{own['loss']:9.4f}{own['accuracy']:9.1%}", flush=True)
        return plain, results

    @unittest.skipUnless(DATA.is_dir(), "no Fashion-MNIST in " + str(DATA))
    def test_training_with_two_ranks(self):
        plain, results = self.train(2, TRAININGS if LONG else [n for n in TRAININGS if n != "trellis:bits=1"])
        two = results["trellis:bits=2"]
        self.assertLess(plain["loss"], plain["curve"][0] / 3)
        self.assertLess(abs(two["loss"] / plain["loss"] - 1), 0.01)
        self.assertGreater(plain["sent"] / two["sent"], 12)
        self.assertGreater(results["fp16_compress_hook"]["sent"] / two["sent"], 6)
        reduced = results["trellis:bits=2,scale=profile"]
        self.assertLess(abs(reduced["loss"] / plain["loss"] - 1), 0.01)
        self.assertGreater(plain["sent"] / reduced["sent"], 3.5)
        # Biased plans are slower at first, and still learn.
        for name in ("topk:keep=0.01+quantize:bits=4", "powersgd:rank=4"):
            self.assertLess(results[name]["loss"], 1.05 * plain["loss"])
        # The curves stay together: means of ten batches differ by a tenth at most.
        curves = [np.array(own["curve"])[: len(plain["curve"]) // 10 * 10].reshape(-1, 10).mean(1) for own in (plain, two)]
        np.testing.assert_allclose(curves[1], curves[0], rtol=0.1)

    @unittest.skipUnless(DATA.is_dir(), "no Fashion-MNIST in " + str(DATA))
    def test_training_with_four_ranks(self):
        plain, results = self.train(4, TRAININGS if LONG else ("float32", "trellis:bits=2"))
        self.assertLess(abs(results["trellis:bits=2"]["loss"] / plain["loss"] - 1), 0.01)
        self.assertGreater(plain["sent"] / results["trellis:bits=2"]["sent"], 12)

    def test_options_are_checked(self):
        for plan, options, words in (("trellis:bits=2", {"exchange": "ring"}, "auto, gather, reduce"), ("trellis:bits=2", {"warmup": -1}, "warmup"),
                                     ("topk:keep=0.1", {"exchange": "reduce", "feedback": True}, "needs frames"),
                                     ("train=mask:keep=0.5 | f32", {}, "structured"), ("trelis:bits=2", {}, "trelis")):
            with self.assertRaisesRegex(ValueError, words):
                fewbits.torch.ddp_hook(plan, **options)


# ---- structured families ----

def net():
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))


X = torch.randn(64, 12, generator=torch.Generator().manual_seed(3))
Y = X[:, :3] * X[:, 3:6]


def loss_of(model):
    return torch.nn.functional.mse_loss(model(X), Y)


def flat(model):
    return np.concatenate([parameter.detach().numpy().ravel() for parameter in model.parameters()])


def values_of(family):
    return np.concatenate([getattr(owner, tensor).detach().numpy().ravel() for owner, tensor in family._tensors])


FAMILIES = ("mask:keep=0.25", "lowrank:rank=2")


class Families(unittest.TestCase):
    def test_what_is_refused_changes_nothing(self):
        model = net()
        before = flat(model)
        family = fewbits.torch.structured(model, "mask:keep=0.25", seed=1, round=2**28 - 2)
        with torch.no_grad():
            family.free.fill_(0.5)
        with self.assertRaisesRegex(ValueError, "structured already"):
            fewbits.torch.structured(model, "mask:keep=0.25", seed=1)
        with self.assertRaises(fewbits.Error):
            family.next_round(round=2**28)
        with self.assertRaisesRegex(ValueError, "shape"):
            family.next_round(torch.tensor(1.0))
        self.assertEqual((family.round, float(family.free.detach().mean())), (2**28 - 2, 0.5))
        family.next_round()
        with torch.no_grad():
            family.free.fill_(0.5)
        after = flat(family.remove())   # in the last round there is
        self.assertGreater(np.abs(after - before).max(), 0.4)

    def test_gradients_of_complex_parameters_are_refused(self):
        state = fewbits.torch.DDPState("f32")
        with self.assertRaisesRegex(ValueError, "complex parameters"):
            state._group_of([torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64))])
        for feedback, error in (({"method": "ef21"}, ValueError), ({"nonsense": 1}, TypeError)):
            with self.assertRaises(error):
                fewbits.torch.ddp_hook("topk:keep=0.1+f32", feedback=feedback)

    def test_gradients_are_the_dense_ones_pulled_back(self):
        for plan in FAMILIES:
            dense, model = net(), net()
            family = fewbits.torch.structured(model, plan, seed=1, round=3)
            self.assertEqual([name for name, p in model.named_parameters() if p.requires_grad], ["structured_free"])
            self.assertTrue(equal(loss_of(model), loss_of(dense)))   # free parameters begin at zero
            with torch.no_grad():
                family.free.normal_(generator=torch.Generator().manual_seed(4)).mul_(0.1)
            subspace = fewbits.Structure(family.codec, seed=1, round=3)
            update = subspace.expand(family.free.detach().numpy())
            with torch.no_grad():
                for parameter, part in zip(dense.parameters(), torch.from_numpy(update).split([p.numel() for p in dense.parameters()])):
                    parameter += part.view(parameter.shape)
            loss_of(model).backward()
            loss_of(dense).backward()
            gradient = np.concatenate([parameter.grad.numpy().ravel() for parameter in dense.parameters()])
            np.testing.assert_allclose(family.free.grad, subspace.pull_back(gradient), rtol=1e-4, atol=1e-6)
            # Along a direction, by central differences: errors of float32 over the step, and of the step squared.
            direction = torch.randn(family.free.shape, generator=torch.Generator().manual_seed(5))
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    family.free += sign * 0.01 * direction
                    ends.append(loss_of(model).item())
                    family.free -= sign * 0.01 * direction
            self.assertAlmostEqual((ends[0] - ends[1]) / 0.02, float(family.free.grad @ direction), delta=2e-3)

    def test_training_stays_inside(self):
        for plan in FAMILIES:
            for make in (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.Adam(p, lr=0.01)):
                model = net()
                base, before = flat(model), loss_of(model).item()
                family = fewbits.torch.structured(model, plan, seed=1, round=3)
                optimizer = make(model.parameters())   # the base needs no gradients, and is left alone
                for _ in range(60):
                    optimizer.zero_grad()
                    loss_of(model).backward()
                    optimizer.step()
                self.assertLess(loss_of(model).item(), 0.9 * before)
                update = values_of(family) - base
                subspace = fewbits.Structure(family.codec, seed=1, round=3)
                np.testing.assert_allclose(subspace.expand(subspace.project(update)), update, atol=1e-5)
                np.testing.assert_array_equal(family.codec.decode(family.encode(client=7), seed=1), family.free.detach().numpy())

    def test_rounds(self):
        for plan in FAMILIES:
            model = net()
            base = flat(model)
            family = fewbits.torch.structured(model, plan, seed=1, round=3, code="quantize:bits=8")
            optimizer = torch.optim.SGD([family.free], lr=0.1)
            loss_of(model).backward()
            optimizer.step()
            total = fewbits.Aggregator(family.codec, seed=1, round=3)
            total.add(family.encode(client=7), client=7)
            subspace = fewbits.Structure(family.codec, seed=1, round=3)
            family.next_round(total.mean())
            second = base + subspace.expand(total.mean())
            np.testing.assert_allclose(values_of(family), second, rtol=1e-6, atol=1e-7)
            self.assertEqual((family.round, int(torch.count_nonzero(family.free))), (4, 0))
            family.free.data.fill_(0.1)
            want = values_of(family)
            other = fewbits.Structure(family.codec, seed=1, round=4)
            np.testing.assert_allclose(want - second, other.expand(np.full(other.free_parameters, 0.1, np.float32)), atol=1e-6)
            self.assertIs(family.remove(), model)
            self.assertEqual([name for name, _ in model.named_parameters()], [name for name, _ in net().named_parameters()])
            self.assertEqual([type(p) for p in model.parameters()], 4 * [torch.nn.Parameter])
            self.assertTrue(all(p.requires_grad and p.is_leaf for p in model.parameters()))
            np.testing.assert_array_equal(flat(model), want)
            self.assertFalse(model._forward_hooks or model._forward_pre_hooks)
            loss_of(model).backward()

    def test_one_expansion_a_forward(self):
        model = net()
        family = fewbits.torch.structured(model, "lowrank:rank=2", seed=1)
        with mock.patch.object(fewbits.torch._Expand, "apply", wraps=fewbits.torch._Expand.apply) as expand:
            loss_of(model).backward()
        self.assertEqual(expand.call_count, 1)
        self.assertIsNone(family._pieces)

    def test_what_cannot_be_structured(self):
        tied = net()
        tied.add_module("again", tied[0])
        with self.assertRaisesRegex(ValueError, "two names"):
            fewbits.torch.structured(tied, "mask:keep=0.5", seed=1)
        with self.assertRaisesRegex(ValueError, "no parameters"):
            fewbits.torch.structured(torch.nn.Tanh(), "mask:keep=0.5", seed=1)
        with self.assertRaises(fewbits.Error):
            fewbits.torch.structured(net(), "hadamard", seed=1)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
