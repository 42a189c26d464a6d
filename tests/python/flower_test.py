"""fewbits in Flower, message by message, with Flower's own classes: what is sent, what is refused, and what the log says.

    flower_test.py PYTHONPATH

The network, a real SuperLink, is in flower_network_test.py.
"""

import sys
import unittest

sys.path.insert(0, sys.argv.pop(1))

from optional import need  # noqa: E402: beside this file

need("flwr")

import numpy as np  # noqa: E402: behind the path
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.clientapp.mod import fixedclipping_mod  # noqa: E402
from flwr.serverapp.strategy import (DifferentialPrivacyClientSideFixedClipping, DifferentialPrivacyServerSideFixedClipping,  # noqa: E402
                                     FedAdam, FedAvg)

from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

import fewbits  # noqa: E402
from fewbits.flower import FewbitsFedAvg, FewbitsMod, FewbitsStrategy  # noqa: E402

# Of the ServerApp's process, which the network would set.
TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 2**64 - 77, 2, 1

OPTIONS = {"fraction_evaluate": 0.0, "min_train_nodes": 3, "min_available_nodes": 3}


def model(seed=0):
    draw = np.random.default_rng(seed)
    return {"w": draw.standard_normal((40, 50), dtype=np.float32), "half": draw.standard_normal(30).astype(np.float16),
            "double": draw.standard_normal(20), "steps": np.array(7 + seed), "flags": np.array([True, False]),
            "bytes": np.array([250, 3], np.uint8), "scalar": np.float32(seed).reshape(())}


def record(arrays):
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def numpy(arrays):
    return {name: array.numpy() for name, array in arrays.items()}


class Clients:
    """Three nodes in the place of a Grid. `train(arrays, node)` gives the new arrays; `apps` may differ from node to node."""

    def __init__(self, train, mods=(), app_of=None, tamper=None):
        self.train, self.tamper = train, tamper or (lambda reply, node: reply)
        self.contexts = {node: Context(run_id=0, node_id=node, node_config={}, state=RecordDict(), run_config={}) for node in (11, 2**63 + 5, 13)}
        self.app_of = app_of or (lambda node: mods)
        self.seen = []

    def get_node_ids(self):
        return list(self.contexts)

    def app(self, node):
        app = ClientApp()

        @app.train(mods=list(self.app_of(node)))
        def train(message, context):
            self.seen.append(message.content)
            arrays = self.train(numpy(message.content["arrays"]), node)
            return Message(RecordDict({"arrays": record(arrays), "metrics": MetricRecord({"loss": 1.0, "num-examples": 10 * (node % 7 + 1)})}), reply_to=message)

        return app

    def send_and_receive(self, messages, timeout=None):
        replies = []
        for message in sorted(messages, key=lambda message: message.metadata.dst_node_id):
            node = message.metadata.dst_node_id
            sent = Message(RecordDict(dict(message.content)), metadata=message.metadata)   # as the network does, a copy for each
            replies.append(self.tamper(self.app(node)(sent, self.contexts[node]), node))
        return replies


def trained(arrays, node):
    """Away from the model by something of the node's own."""
    own = model(node % 1000)
    return {**{name: (array + 0.01 * own[name]).astype(array.dtype) for name, array in arrays.items() if array.dtype.kind == "f"},
            "steps": arrays["steps"] + node % 5, "flags": (1 - arrays["flags"]).astype(arrays["flags"].dtype),
            "bytes": arrays["bytes"] + arrays["bytes"].dtype.type(9)}


def in_order(train):
    return lambda arrays, node: {name: train(arrays, node)[name] for name in arrays}


TRAIN = in_order(trained)


def start(strategy, clients, rounds=2, arrays=None):
    return strategy.start(clients, record(arrays or model()), num_rounds=rounds)


class Models(unittest.TestCase):
    def test_exact_plans_give_what_flower_gives(self):
        plain = numpy(start(FedAvg(**OPTIONS), Clients(TRAIN)).arrays)
        for strategy in (FewbitsFedAvg("f32", **OPTIONS), FewbitsStrategy(FedAvg(**OPTIONS), "f32")):
            result = start(strategy, Clients(TRAIN, [FewbitsMod()]))
            arrays = numpy(result.arrays)
            for name, array in model().items():
                self.assertEqual(arrays[name].shape, array.shape)
                self.assertEqual(arrays[name].dtype, array.dtype, name)   # Flower's own mean makes float64 of integers
                if name not in ("flags", "bytes"):   # which wrap around
                    tolerance = 2e-3 if name == "half" else 0.5 if name == "steps" else 1e-5
                    np.testing.assert_allclose(arrays[name].astype(float), plain[name].astype(float), rtol=tolerance, atol=tolerance)
            self.assertEqual(result.train_metrics_clientapp[1]["loss"], 1.0)
            first = strategy.rounds[0]
            self.assertEqual((first.clients, first.refused, first.model_bytes), (3, 0, 3 * (8000 + 60 + 160 + 8 + 2 + 2 + 4)))

    def test_integers_pass_exactly(self):
        for strategy in (FewbitsFedAvg("quantize:bits=1", **OPTIONS), FewbitsStrategy(FedAvg(**OPTIONS), "quantize:bits=1")):
            def train(arrays, node):
                return {**arrays, "steps": arrays["steps"] + 2**40, "flags": ~arrays["flags"], "bytes": arrays["bytes"] + np.uint8(5)}

            arrays = numpy(start(strategy, Clients(train, [FewbitsMod()]), rounds=1).arrays)
            self.assertEqual(int(arrays["steps"]), 7 + 2**40)
            np.testing.assert_array_equal(np.asarray(arrays["bytes"], int), [255, 8])
            np.testing.assert_array_equal(arrays["flags"], [False, True])

    def test_means_of_integers_are_rounded(self):
        def train(arrays, node):
            return {"steps": arrays["steps"] + (node != 11)}   # the mean is (70 + 70) / (50 + 70 + 70) more

        for strategy in (FewbitsFedAvg("f32", **OPTIONS), FewbitsStrategy(FedAvg(**OPTIONS), "f32")):
            arrays = numpy(start(strategy, Clients(train, [FewbitsMod()]), rounds=1, arrays={"steps": np.array(7)}).arrays)
            self.assertEqual(int(arrays["steps"]), 8)

    def test_few_bits_come_near(self):
        plain = numpy(start(FedAvg(**OPTIONS), Clients(TRAIN)).arrays)
        for strategy in (FewbitsFedAvg("trellis:bits=4", **OPTIONS), FewbitsStrategy(FedAvg(**OPTIONS), "trellis:bits=4")):
            arrays = numpy(start(strategy, Clients(TRAIN, [FewbitsMod()])).arrays)
            moved = np.linalg.norm(plain["w"] - model()["w"])
            self.assertLess(np.linalg.norm(arrays["w"] - plain["w"]), 0.1 * moved)
            self.assertLess(strategy.rounds[0].frame_bytes, 3 * 2200 * 4.2 / 8)

    def test_other_strategies(self):
        start(FewbitsStrategy(FedAdam(**OPTIONS), "trellis:bits=4"), Clients(lambda arrays, node: {"w": arrays["w"] + 1}, [FewbitsMod()]),
              arrays={"w": model()["w"]})

    def test_profiles_go_down(self):
        scales = np.repeat([1, 0.001], 20).astype(np.float32)[:, None]
        strategy = FewbitsFedAvg("*w=trellis:bits=0.5,scale=profile; *=f32", **OPTIONS)
        clients = Clients(lambda arrays, node: {"w": arrays["w"] + scales * model(node % 100)["w"]}, [FewbitsMod()])
        start(strategy, clients, rounds=3, arrays={"w": model()["w"]})
        self.assertEqual(strategy.rounds[0].profile_bytes, 0)
        self.assertGreater(strategy.rounds[1].profile_bytes, 0)

    def test_correlated_cohorts(self):
        strategy = FewbitsFedAvg("permk:cohort=3+f32", **OPTIONS)
        arrays = numpy(start(strategy, Clients(lambda arrays, node: {"w": arrays["w"] + 1}, [FewbitsMod()]), arrays={"w": model()["w"]}).arrays)
        self.assertGreater(float((arrays["w"] - model()["w"]).mean()), 1)


class Memory(unittest.TestCase):
    def test_error_feedback_is_kept_in_the_context(self):
        for plan, feedback, used in (("topk:keep=0.05+f32", None, True), ("trellis:bits=2", None, False),
                                     ("trellis:bits=1,scale=profile", True, True), ("topk:keep=0.05+f32", False, False)):
            strategy = FewbitsFedAvg(plan, feedback=feedback, **OPTIONS)
            clients = Clients(lambda arrays, node: {"w": arrays["w"] + np.float32(0.01)}, [FewbitsMod()])
            arrays = start(strategy, clients, rounds=30, arrays={"w": model()["w"]}).arrays
            for context in clients.contexts.values():
                self.assertEqual("fewbits" in context.state.array_records, used)
                if used:
                    self.assertLess(len(context.state["fewbits"]["memory"].data), 2.2 * 2000)   # bfloat16
            moved = numpy(arrays)["w"] - model()["w"]
            if plan.startswith("topk") and used:
                self.assertGreater(float(moved.min()), 0)   # what is not sent is sent later
            elif plan.startswith("topk"):
                self.assertEqual(float(moved.min()), 0)


class Again(unittest.TestCase):
    def test_a_second_training_begins_anew(self):
        for make in (lambda plan: FewbitsFedAvg(plan, **OPTIONS), lambda plan: FewbitsStrategy(FedAvg(**OPTIONS), plan)):
            clients = Clients(lambda arrays, node: {name: array + np.float32(1) for name, array in arrays.items()}, [FewbitsMod()])
            strategy = make("topk:keep=0.1+f32")
            for arrays in ({"w": model()["w"]}, {"w": model()["w"]}, {"v": model()["w"][:7]}):
                start(strategy, clients, arrays=arrays)
                self.assertEqual([(done.clients, done.refused) for done in strategy.rounds], [(3, 0), (3, 0)])
            start(make("topk:keep=0.2+f32"), clients, arrays={"w": model()["w"]})
            profiled = make("trellis:bits=1,scale=profile")
            for arrays in ({"w": model()["w"]}, {"v": model()["w"][:7]}):
                start(profiled, clients, arrays=arrays)

    def test_infinite_buffers_that_stay(self):
        arrays = {"w": model()["w"], "mask": np.array([0, -np.inf], np.float32)}
        strategy = FewbitsFedAvg("mask=f32; *=trellis:bits=2", **OPTIONS)
        result = start(strategy, Clients(lambda given, node: {**given, "w": given["w"] + 1}, [FewbitsMod()]), arrays=arrays)
        np.testing.assert_array_equal(numpy(result.arrays)["mask"], arrays["mask"])
        self.assertEqual(strategy.rounds[-1].clients, 3)


class Refusals(unittest.TestCase):
    def strategies(self, plan="trellis:bits=2"):
        return FewbitsFedAvg(plan, **OPTIONS), FewbitsStrategy(FedAvg(**OPTIONS), plan)

    def test_a_damaged_frame_costs_its_client_the_round(self):
        def tamper(reply, node):
            if node != 13:
                return reply
            data = bytearray(reply.content["arrays"]["frame"].data)
            data[len(data) // 2] ^= 4
            reply.content["arrays"] = ArrayRecord({"frame": Array("uint8", (len(data),), "fewbits/v1", bytes(data))})
            return reply

        for strategy in self.strategies():
            with self.assertLogs("flwr", "WARNING") as log:
                result = start(strategy, Clients(TRAIN, [FewbitsMod()], tamper=tamper))
            self.assertRegex("\n".join(log.output), r"round 1: node 13 is left out: its frame is refused: .*CHECKSUM_MISMATCH")
            self.assertEqual([(done.clients, done.refused) for done in strategy.rounds], [(2, 1), (2, 1)])
            self.assertTrue(np.isfinite(numpy(result.arrays)["w"]).all())

    def test_a_frame_of_another_node_or_round(self):
        kept = {}

        def tamper(reply, node):
            if node == 11:
                kept.setdefault("first", reply.content["arrays"])
                reply.content["arrays"] = kept["first"]     # sent again in every round
            if node == 13:
                reply.content["arrays"] = kept["first"]     # of node 11
            return reply

        for strategy in self.strategies():
            kept.clear()
            with self.assertLogs("flwr", "WARNING") as log:
                start(strategy, Clients(TRAIN, [FewbitsMod()], tamper=tamper))
            text = "\n".join(log.output)
            self.assertRegex(text, "round 1: node 13 .*WRONG_CLIENT")
            self.assertRegex(text, "round 2: node 11 .*WRONG_ROUND")

    def test_a_node_that_was_not_asked(self):
        def tamper(reply, node):
            if node == 11:
                reply.metadata.__dict__["_src_node_id"] = 99   # with the frame of a client 99, were it taken
            return reply

        class Impostor(Clients):
            def app(self, node):
                app = super().app(node)

                def other(message, context):
                    return app(message, Context(run_id=0, node_id=99, node_config={}, state=RecordDict(), run_config={}))

                return other if node == 11 else app

        for strategy in self.strategies():
            with self.assertLogs("flwr", "WARNING") as log:
                start(strategy, Impostor(TRAIN, [FewbitsMod()], tamper=tamper), rounds=1)
            self.assertIn("node 99 is left out: it was not asked in this round", "\n".join(log.output))

    def test_weights(self):
        def tamper(reply, node):
            if node == 13:
                reply.content["metrics"] = MetricRecord({"loss": 1.0, "num-examples": -5.0})
            if node == 11:
                reply.content["metrics"] = MetricRecord({"loss": 1.0})
            return reply

        strategy = FewbitsFedAvg("f32", **OPTIONS)
        with self.assertLogs("flwr", "WARNING") as log:
            start(strategy, Clients(TRAIN, [FewbitsMod()], tamper=tamper), rounds=1)
        self.assertRegex("\n".join(log.output), "(?s)node 11 .*without a number 'num-examples'.*node 13 .*weight is -5")
        self.assertEqual(strategy.rounds[0].clients, 1)

    def test_clients_without_the_mod_stop_the_first_round(self):
        for strategy in self.strategies():
            with self.assertRaisesRegex(RuntimeError, r"none of the 3 replies of round 1 .*without a frame: FewbitsMod\(\) must be the first"):
                start(strategy, Clients(TRAIN))
            some = Clients(TRAIN, app_of=lambda node: [] if node == 11 else [FewbitsMod()])
            start(strategy, some)   # one of three
            self.assertEqual(strategy.rounds[-1].refused, 1)

    def test_clients_with_a_mod_without_the_strategy(self):
        with self.assertLogs("flwr", "INFO") as log:
            result = start(FedAvg(**OPTIONS), Clients(TRAIN, [FewbitsMod()]))
        self.assertIn(r"the server's strategy does not know of FewbitsMod: wrap it, FewbitsStrategy(strategy, plan)", "\n".join(log.output))
        self.assertFalse(result.arrays)

    def test_training_that_changes_names_or_shapes(self):
        for train, words in ((lambda arrays, node: {**arrays, "more": arrays["w"]}, "names of the arrays"),
                             (lambda arrays, node: {**arrays, "w": arrays["w"].T}, r"'w' has shape \(50, 40\) after training"),
                             (lambda arrays, node: {**arrays, "w": arrays["w"] * np.nan}, "has nan at coordinate"),
                             (lambda arrays, node: {**arrays, "steps": arrays["steps"] * 0.5}, "'steps' is of float64 after training, int64 before")):
            with self.assertRaisesRegex(RuntimeError, words):
                start(FewbitsFedAvg("f32", **OPTIONS), Clients(train, [FewbitsMod()]))

    def test_plans(self):
        with self.assertRaisesRegex(fewbits.Error, "no stage is named 'quantise'"):
            FewbitsFedAvg("quantise")
        with self.assertRaisesRegex(ValueError, "structured family"):
            FewbitsFedAvg("train=mask:keep=0.5 | f32")
        with self.assertRaisesRegex(TypeError, "first argument is a strategy, not str"):
            FewbitsStrategy("trellis:bits=2", FedAdam())
        FewbitsFedAvg("*w=trellis:bits=2")
        with self.assertRaisesRegex(fewbits.Error, "no rule matches"):
            start(FewbitsFedAvg("*w=trellis:bits=2", **OPTIONS), Clients(TRAIN, [FewbitsMod()]))

    def test_metrics_of_one_client_that_are_others(self):
        def tamper(reply, node):
            if node == 13:
                reply.content["metrics"] = MetricRecord({"loss": [1.0, 2.0], "num-examples": 5})
            return reply

        strategy = FewbitsFedAvg("f32", **OPTIONS)
        with self.assertLogs("flwr", "WARNING") as log:
            result = start(strategy, Clients(TRAIN, [FewbitsMod()], tamper=tamper), rounds=1)
        self.assertRegex("\n".join(log.output), "node 13 is left out: its metrics are others")
        self.assertEqual(result.train_metrics_clientapp[1]["loss"], 1.0)

    def test_arrays_without_a_mean(self):
        with self.assertRaisesRegex(TypeError, "'w' is of complex64"):
            start(FewbitsFedAvg("f32", **OPTIONS), Clients(TRAIN, [FewbitsMod()]), arrays={"w": np.zeros(3, np.complex64)})


class Privacy(unittest.TestCase):
    ARRAYS = {"w": model()["w"], "v": model(1)["w"]}

    def train(self, arrays, node):
        return {name: array + 10 for name, array in arrays.items()}

    def test_clipping_at_the_client(self):
        strategy = FewbitsStrategy(DifferentialPrivacyClientSideFixedClipping(FedAvg(**OPTIONS), 1e-9, 1.0, 3), "trellis:bits=4")
        arrays = numpy(start(strategy, Clients(self.train, [FewbitsMod(), fixedclipping_mod]), rounds=1, arrays=self.ARRAYS).arrays)
        norm = np.sqrt(sum(np.square(arrays[name] - self.ARRAYS[name]).sum() for name in arrays))
        self.assertAlmostEqual(norm, 1, delta=0.02)
        wrapped = DifferentialPrivacyClientSideFixedClipping(FewbitsStrategy(FedAvg(**OPTIONS), "trellis:bits=4"), 1e-9, 1.0, 3)
        start(wrapped, Clients(self.train, [FewbitsMod(), fixedclipping_mod]), rounds=1, arrays=self.ARRAYS)

    def test_clipping_at_the_client_in_the_wrong_order(self):
        strategy = FewbitsStrategy(DifferentialPrivacyClientSideFixedClipping(FedAvg(**OPTIONS), 1e-9, 1.0, 3), "trellis:bits=4")
        with self.assertRaisesRegex(RuntimeError, "(?s)none of the 3 replies.*with FewbitsMod before all other mods"):
            start(strategy, Clients(self.train, [fixedclipping_mod, FewbitsMod()]), arrays=self.ARRAYS)

    def test_clipping_at_the_server(self):
        strategy = FewbitsStrategy(DifferentialPrivacyServerSideFixedClipping(FedAvg(**OPTIONS), 1e-9, 1.0, 3), "trellis:bits=4")
        arrays = numpy(start(strategy, Clients(self.train, [FewbitsMod()]), rounds=1, arrays=self.ARRAYS).arrays)
        norm = np.sqrt(sum(np.square(arrays[name] - self.ARRAYS[name]).sum() for name in arrays))
        self.assertAlmostEqual(norm, 1, delta=0.02)


if __name__ == "__main__":
    unittest.main()
