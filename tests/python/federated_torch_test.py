"""PyTorch modules that the harness trains: fewbits.torch.federated_model.

    federated_torch_test.py PYTHONPATH
"""

import sys
import unittest

PATH = sys.argv.pop(1)
sys.path.insert(0, PATH)

import numpy as np  # noqa: E402: behind the path

from optional import need  # noqa: E402: beside this file

need("torch")

import torch  # noqa: E402

import fewbits.torch  # noqa: E402
from fewbits import federated  # noqa: E402

torch.set_num_threads(1)
CROSS_ENTROPY = torch.nn.functional.cross_entropy


def examples(rows, seed):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 4, rows)
    return (np.eye(4, 12)[y] * 3 + draw.standard_normal((rows, 12))).astype(np.float32), y


TRAIN, TEST = examples(300, 1), examples(500, 2)
CLIENTS = np.arange(300).reshape(10, 30)


def trainer(model, plan="f32", **options):
    return federated.Trainer(model, TRAIN, TEST, CLIENTS, plan, seed=3, rounds=5, clients_per_round=6, batch=8, **options)


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


class Modules(unittest.TestCase):
    def test_a_linear_layer_is_the_built_in_softmax(self):
        layer = torch.nn.Linear(12, 4)
        start = {"dense1.weight": layer.weight.detach().numpy().T.copy(), "dense1.bias": layer.bias.detach().numpy().copy()}
        model = fewbits.torch.federated_model(layer, CROSS_ENTROPY)
        own, built_in = trainer(model), trainer("softmax", start=start)
        self.assertEqual(own.layout, {"weight": (4, 12), "bias": (4,)})
        for a, b in zip(own.run(), built_in.run(), strict=True):
            self.assertAlmostEqual(a.loss, b.loss, places=5)
            self.assertAlmostEqual(a.score, b.score, delta=2 / 500)
        np.testing.assert_allclose(own.released["weight"], built_in.released["dense1.weight"].T, rtol=1e-4, atol=1e-5)
        self.assertIs(model.load(own.released), layer)
        np.testing.assert_array_equal(layer.bias.detach().numpy(), own.released["bias"])
        right = (layer(torch.from_numpy(TEST[0])).argmax(1) == torch.from_numpy(TEST[1])).float().mean()
        self.assertAlmostEqual(float(right), own.results[-1].score, places=6)

    def test_gradients_are_those_of_backward_and_leave_the_module_alone(self):
        torch.manual_seed(1)
        module = torch.nn.Sequential(torch.nn.Linear(12, 12), torch.nn.BatchNorm1d(12), torch.nn.Tanh(), torch.nn.Linear(12, 4))
        module[3].weight.requires_grad_(False)
        model = fewbits.torch.federated_model(module, CROSS_ENTROPY)
        self.assertEqual(set(model.initial), {"0.weight", "0.bias", "1.weight", "1.bias", "3.bias"})
        before = state_of(module)
        other = {name: values + np.float32(0.1) for name, values in model.initial.items()}
        total, count = model.score(other, *TEST)
        loss, gradient = model.loss_and_gradient(other, *TRAIN)
        for name, tensor in state_of(module).items():
            self.assertTrue(torch.equal(tensor, before[name]), name)
        self.assertTrue(all(parameter.grad is None for parameter in module.parameters()))
        self.assertEqual(count, 500)

        model.load(other)
        module.eval()
        self.assertEqual(total, int((module(torch.from_numpy(TEST[0])).argmax(1) == torch.from_numpy(TEST[1])).sum()))
        module.train()
        want = CROSS_ENTROPY(module(torch.from_numpy(TRAIN[0])), torch.from_numpy(TRAIN[1]))
        want.backward()
        self.assertAlmostEqual(loss, want.item(), places=6)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                np.testing.assert_allclose(gradient[name], parameter.grad, rtol=1e-5, atol=1e-7)

    def test_parameters_that_are_tied_unused_or_halves(self):
        class Tied(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.up, self.down = torch.nn.Linear(12, 12, bias=False), torch.nn.Linear(12, 12, bias=False)
                self.down.weight = self.up.weight
                self.out = torch.nn.Linear(12, 4).to(torch.bfloat16)
                self.unused = torch.nn.Parameter(torch.ones(2))

            def forward(self, x):
                return self.out(self.down(self.up(x)).to(torch.bfloat16)).float()

        module = Tied()
        model = fewbits.torch.federated_model(module, CROSS_ENTROPY)
        self.assertEqual(set(model.initial), {"up.weight", "out.weight", "out.bias", "unused"})
        loss, gradient = model.loss_and_gradient(model.initial, *TRAIN)
        CROSS_ENTROPY(module(torch.from_numpy(TRAIN[0])), torch.from_numpy(TRAIN[1])).backward()
        np.testing.assert_allclose(gradient["up.weight"], module.up.weight.grad, rtol=1e-2, atol=1e-3)
        np.testing.assert_array_equal(gradient["unused"], [0, 0])
        own = trainer(model)
        own.step()
        model.load(own.released)
        self.assertEqual(module.out.weight.dtype, torch.bfloat16)

    def test_the_same_bits_each_time(self):
        def run():
            torch.manual_seed(4)
            module = torch.nn.Sequential(torch.nn.Linear(12, 32), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(32, 4))
            own = trainer(fewbits.torch.federated_model(module, CROSS_ENTROPY), "trellis:bits=0.3,scale=profile")
            *_, last = own.run()
            return own.save(), last.score

        first = run()
        self.assertEqual(run(), first)
        self.assertGreater(first[1], 0.6)

    def test_other_scores(self):
        module = torch.nn.Linear(12, 1)
        model = fewbits.torch.federated_model(module, lambda output, y: (output[:, 0] - y).square().mean(),
                                              score=lambda output, y: ((output[:, 0] - y).abs().sum(), len(y)), metric="error", higher_is_better=False)
        own = federated.Trainer(model, (TRAIN[0], TRAIN[0][:, 0]), (TEST[0], TEST[0][:, 0]), CLIENTS, rounds=20, learning_rate=0.02)
        *_, last = own.run()
        self.assertEqual((own.metric, own.higher_is_better), ("error", False))
        self.assertLess(last.score, 0.5 * own.results[0].score)

    def test_what_cannot_be_trained(self):
        with self.assertRaisesRegex(ValueError, "no parameters"):
            fewbits.torch.federated_model(torch.nn.Tanh(), CROSS_ENTROPY)
        model = fewbits.torch.federated_model(torch.nn.Linear(12, 4), CROSS_ENTROPY)
        with self.assertRaises(KeyError):
            model.load({"weight": model.initial["weight"]})

        def broken(output, y):
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            trainer(fewbits.torch.federated_model(torch.nn.Linear(12, 4), broken)).step()


if __name__ == "__main__":
    unittest.main()
