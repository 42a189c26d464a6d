"""fewbits in Flower, message by message, with Flower's own classes: what is sent, what is refused, and what the log says.

    flower_test.py PYTHONPATH

The network, a real SuperLink, is in flower_network_test.py.
"""

import math
import sys
import unittest

sys.path.insert(0, sys.argv.pop(1))

from optional import need  # noqa: E402: beside this file

need("flwr")

import numpy as np  # noqa: E402: behind the path
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.clientapp.mod import fixedclipping_mod  # noqa: E402
from flwr.serverapp.strategy import (DifferentialPrivacyClientSideFixedClipping, DifferentialPrivacyServerSideFixedClipping,  # noqa: E402
                                     FedAdam, FedAvg)

from flwr.common.serde import context_from_proto, context_to_proto  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

import fewbits  # noqa: E402
from fewbits import privacy  # noqa: E402
from fewbits.flower import FewbitsFedAvg, FewbitsMod, FewbitsStrategy, SecureFedAvg  # noqa: E402

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

    def __init__(self, train, mods=(), app_of=None, tamper=None, nodes=(11, 2**63 + 5, 13)):
        self.train, self.tamper = train, tamper or (lambda reply, node: reply)
        self.contexts = {node: Context(run_id=0, node_id=node, node_config={}, state=RecordDict(), run_config={}) for node in nodes}
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
            reply = self.tamper(self.app(node)(sent, self.contexts[node]), node)
            if reply is not None:
                replies.append(reply)
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


def norm(arrays, base):
    return math.sqrt(sum(float(np.square(arrays[name].astype(float) - base[name]).sum()) for name in base))


PHASES = ("advertise", "share", "input", "unmask")


class Lossy(Clients):
    """Nodes that are lost from a phase on: no reply, or an exception in the app. Contexts go through Flower's bytes, as between processes."""

    def __init__(self, train, lost=(), raises=(), nodes=(11, 2**63 + 5, 13, 14, 15), **options):
        super().__init__(train, [FewbitsMod()], nodes=nodes, **options)
        self.lost, self.raises, self.phases, self.sent = dict(lost), dict(raises), [], []

    def send_and_receive(self, messages, timeout=None):
        messages = list(messages)
        phases = {str(message.content["fewbits"]["phase"]) for message in messages}
        self.phases.append((*phases, len(messages)) if phases else ())
        self.phase, = phases or {""}
        replies = super().send_and_receive(messages, timeout)
        self.sent += [(self.phase, reply) for reply in replies]
        for node, context in self.contexts.items():
            self.contexts[node] = context_from_proto(context_to_proto(context))
        return replies

    def app(self, node):
        def gone(phases):
            return self.phase and node in phases and PHASES.index(self.phase) >= PHASES.index(phases[node])

        if gone(self.lost):
            return lambda message, context: None
        if gone(self.raises):
            return lambda message, context: Message(Error(code=5, reason="it has burnt"), reply_to=message)
        app = super().app(node)
        return lambda message, context: self.tamper(app(message, context), node)


class Secure(unittest.TestCase):
    ARRAYS = {"w": model()["w"], "v": model(1)["w"], "half": model()["half"], "steps": np.array(7)}
    SECURE = {"min_cohort": 3, "fraction_evaluate": 0.0, "min_train_nodes": 5}

    def updates(self, node):
        return {name: (0.01 * np.random.default_rng(node % 1000).standard_normal(array.shape)).astype(array.dtype) for name, array in self.ARRAYS.items()
                if name != "steps"}

    def train(self, arrays, node):
        return {**{name: arrays[name] + update for name, update in self.updates(node).items()}, "steps": arrays["steps"] + 1}

    def mean(self, nodes):
        return {name: np.mean([self.updates(node)[name] for node in nodes], axis=0) for name in self.updates(11)}

    def assert_near(self, arrays, nodes, step):
        for name, mean in self.mean(nodes).items():
            # Each of n errors is uniform over a step, and a rotation makes their mean nearly Gaussian: 6 standard deviations.
            tolerance = 6 * step / math.sqrt(12 * len(nodes)) + (1e-3 if name == "half" else 1e-6)
            np.testing.assert_allclose(arrays[name].astype(float), self.ARRAYS[name].astype(float) + mean, atol=tolerance)
        self.assertEqual(int(arrays["steps"]), 7)

    def test_the_model_moves_by_the_mean(self):
        for plan, step, options in (("hadamard+dither:scale=flat,step=0.001", 0.001, {}), ("hadamard+trellis:scale=flat,step=0.001", 0.003, {}),
                                    ("hadamard+dither:scale=flat,step=auto", 0.0002, {"clip": 2.0})):
            strategy = SecureFedAvg(plan, **self.SECURE, **options)
            clients = Lossy(self.train)
            result = start(strategy, clients, rounds=1, arrays=self.ARRAYS)
            self.assert_near(numpy(result.arrays), clients.contexts, step)
            self.assertEqual(clients.phases, [("advertise", 5), ("share", 5), ("input", 5), ("unmask", 5), ()])
            done, = strategy.rounds
            self.assertEqual((done.clients, done.refused, done.nothing, done.epsilon), (5, 0, "", None))
            self.assertEqual(done.model_bytes, 5 * (2 * 8000 + 60 + 8))
            self.assertEqual(done.frame_bytes, 5 * (2 * 4030 + 40))   # 16 bits a coordinate that is no integer
            self.assertLess(done.key_bytes, 5 * 5 * 300)
            self.assertFalse(result.train_metrics_clientapp)

    def test_what_the_server_gets_tells_of_no_node(self):
        clients = Lossy(self.train)
        start(SecureFedAvg("hadamard+dither:scale=flat,step=0.001", **self.SECURE), clients, rounds=1, arrays=self.ARRAYS)
        for phase, reply in clients.sent:
            self.assertFalse(reply.content.metric_records)
            self.assertEqual(len(reply.content), 1)
            if phase == "input":
                words = np.frombuffer(reply.content["arrays"]["frame"].data, np.uint8, offset=40)
                counts = np.bincount(words, minlength=256)   # chi-square of 255 degrees of freedom: over 400 with chance 1e-8
                self.assertLess(float((np.square(counts - words.size / 256) / (words.size / 256)).sum()), 400)
        for context in clients.contexts.values():
            self.assertEqual(dict(context.state["fewbits.secure"]), {})   # secrets go with the round

    def test_nodes_drop_out_of_any_phase(self):
        for phase in PHASES:
            for how in ("lost", "raises"):
                with self.subTest(phase=phase, how=how):
                    clients = Lossy(self.train, **{how: {13: phase}})
                    strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", threshold=3, **self.SECURE)
                    with self.assertLogs("flwr", "INFO") as log:
                        result = start(strategy, clients, rounds=2, arrays=self.ARRAYS)
                    left = [node for node in clients.contexts if node != 13 or phase == "unmask"]
                    self.assertEqual([done.clients for done in strategy.rounds], [len(left)] * 2)
                    self.assertEqual([done.refused for done in strategy.rounds], [how == "raises"] * 2)
                    if how == "raises":
                        self.assertIn("round 1: node 13 is out: it has burnt", "\n".join(log.output))
                    mean = self.mean(left)
                    np.testing.assert_allclose(numpy(result.arrays)["w"], self.ARRAYS["w"] + 2 * mean["w"], atol=0.0025)

    def test_too_few_come_to_nothing_and_the_model_stays(self):
        for phase in PHASES:
            lost = dict.fromkeys((13, 14, 15), phase)
            strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", **self.SECURE)
            with self.assertLogs("flwr", "WARNING") as log:
                result = start(strategy, Lossy(self.train, lost), rounds=1, arrays=self.ARRAYS)
            self.assertRegex("\n".join(log.output), "round 1 comes to nothing, the model stays: .*(few|threshold)")
            done, = strategy.rounds
            self.assertEqual(done.clients, 0)
            self.assertTrue(done.nothing)
            np.testing.assert_array_equal(numpy(result.arrays)["w"], self.ARRAYS["w"])
        strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", min_cohort=6, fraction_evaluate=0.0, min_train_nodes=5, min_available_nodes=5)
        start(strategy, Lossy(self.train), rounds=1, arrays=self.ARRAYS)
        self.assertRegex(strategy.rounds[0].nothing, "5 nodes are too few for a secure sum of at least 6")

    def test_damaged_messages_cost_their_node_the_round(self):
        def tamper(reply, node):
            if node == 13 and not reply.has_error() and "arrays" in reply.content:
                reply.content["arrays"] = ArrayRecord({"frame": Array("uint8", (3,), "fewbits/v1", b"abc")})
            return reply

        strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", threshold=3, **self.SECURE)
        with self.assertLogs("flwr", "WARNING") as log:
            start(strategy, Lossy(self.train, tamper=tamper), rounds=1, arrays=self.ARRAYS)
        self.assertRegex("\n".join(log.output), "node 13 is out: its masked input are refused: .*NOT_A_FRAME")
        self.assertEqual((strategy.rounds[0].clients, strategy.rounds[0].refused), (4, 1))

    def test_a_state_is_used_once(self):
        clients = Lossy(self.train)
        send = clients.send_and_receive
        captured = []

        def collect(messages, timeout=None):
            messages = list(messages)
            replies = send(messages, timeout)
            if clients.phase == "input":
                again = send(messages, timeout)
                captured.extend(reply.error.reason if reply.has_error() else "" for reply in again)
            return replies

        clients.send_and_receive = collect
        strategy = SecureFedAvg("hadamard+dither:scale=flat,step=0.001", **self.SECURE)
        start(strategy, clients, rounds=1, arrays=self.ARRAYS)
        self.assertEqual(len(captured), 5)
        for reason in captured:
            self.assertRegex(reason, "calls masked_input, and what is due is unmask")

    def test_nodes_may_ask_for_more(self):
        options = {**self.SECURE, "min_cohort": 4}
        for mod, words in ((FewbitsMod(min_cohort=5), "would open sums of 4 clients, FewbitsMod asks for min_cohort=5"),):
            with self.assertRaisesRegex(RuntimeError, words):
                clients = Lossy(self.train)
                clients.app_of = lambda node, mod=mod: [mod]
                start(SecureFedAvg("hadamard+dither:scale=flat,step=0.001", **options), clients, rounds=1, arrays=self.ARRAYS)
        with self.assertRaisesRegex(RuntimeError, "asks for an update that is not masked"):
            start(FewbitsFedAvg("f32", **OPTIONS), Clients(TRAIN, [FewbitsMod(secure_only=True)]))
        with self.assertRaisesRegex(RuntimeError, "with FewbitsMod before all other mods"):   # whose app has no model to train
            start(SecureFedAvg("hadamard+dither:scale=flat,step=0.001", **self.SECURE),
                  Lossy(self.train, raises=dict.fromkeys((11, 2**63 + 5, 13, 14, 15), "advertise")), rounds=1)

    def test_plans_and_terms(self):
        for options, words in (({"clip": 1.0, "epsilon": 2.0, "delta": 1e-3}, "needs probability="),
                               ({"clip": 1.0, "epsilon": 2.0, "probability": 0.5}, "needs delta="),
                               ({"epsilon": 2.0, "delta": 1e-3, "probability": 0.5}, "epsilon= needs clip="),
                               ({}, "step=auto needs clip="),
                               ({"clip": 1.0, "noise_by": "clients"}, "needs epsilon= or noise_multiplier="),
                               ({"clip": 1.0, "noise_by": "nobody"}, "expected 'server' or 'clients'"),
                               ({"plan": "hadamard+dither:scale=flat,step=0.1", "clip": 1.0, "noise_multiplier": 1.0, "delta": 1e-3, "probability": 1.0}, "goes with step=auto"),
                               ({"plan": "trellis:bits=2", "clip": 1.0}, "scale"), ({"clip": 1.0, "min_cohort": 2}, "min_cohort"),
                               ({"clip": 1.0, "bits": 40}, "bits")):
            with self.subTest(options), self.assertRaisesRegex(ValueError, words):
                SecureFedAvg(**options)


class Noise(unittest.TestCase):
    ARRAYS = {"w": np.zeros((40, 50), np.float32), "v": np.zeros(2096, np.float32)}
    NODES = tuple(range(100, 112))

    def train(self, arrays, node):
        return {name: array + np.float32(1) for name, array in arrays.items()}   # of norm 64

    def run_with(self, make, nodes=NODES, rounds=1, **options):
        strategy = make(clip=0.5, fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=len(nodes), **options)
        clients = Clients(self.train, [FewbitsMod()], nodes=nodes)
        result = start(strategy, clients, rounds=rounds, arrays=self.ARRAYS)
        flat = np.concatenate([numpy(result.arrays)[name].ravel() for name in self.ARRAYS]) if result.arrays else None
        return strategy, result, flat, clients

    def plain(self, **options):
        return FewbitsFedAvg("dither:scale=flat,step=0.0001", **options)

    def secure(self, **options):
        return SecureFedAvg(**{"min_cohort": 3, **options})

    def test_clipping_alone(self):
        for make in (self.plain, self.secure):
            _, result, flat, _ = self.run_with(make, **({"bits": 20} if make == self.secure else {}))
            np.testing.assert_allclose(flat, 0.5 / 64, rtol=0.05)
            self.assertLess(np.linalg.norm(flat), 0.505)
            self.assertFalse(result.train_metrics_clientapp)

    def test_noise_of_the_server_and_of_the_clients(self):
        for make, options, size in ((self.plain, {}, 4096), (self.secure, {}, 4096), (self.secure, {"noise_by": "clients", "bits": 20, "dropouts": 0.0}, 4096)):
            with self.subTest(make=make.__name__, **options):
                strategy, result, flat, _ = self.run_with(make, noise_multiplier=4.0, delta=1e-3, probability=1.0, **options)
                # Of 4096 coordinates, each of deviation 4 * 0.5 / 12; |z| <= 6, and what rounding adds.
                self.assertAlmostEqual(flat.std() / (4 * 0.5 / 12), 1, delta=6 * math.sqrt(0.5 / size) + 0.02)
                self.assertAlmostEqual(flat.mean(), 0.5 / 64, delta=6 * (4 * 0.5 / 12) / 64)
                self.assertEqual(strategy.rounds[0].clients, 12)
                told = result.train_metrics_clientapp[1]
                self.assertEqual(told["epsilon"], strategy.rounds[0].epsilon)
                exact = privacy.epsilon(q=1.0, z=4.0, rounds=1, delta=1e-3)
                self.assertLess(exact * 0.999, told["epsilon"])
                self.assertLess(told["epsilon"], exact * 1.3)

    def test_budgets(self):
        for make in (self.plain, self.secure):
            strategy, result, _, _ = self.run_with(make, epsilon=3.0, delta=1e-3, probability=1.0, rounds=4)
            spent = [done.epsilon for done in strategy.rounds]
            self.assertEqual(len(spent), 4)
            self.assertEqual(spent, sorted(spent))
            self.assertAlmostEqual(spent[-1], 3, delta=0.01)
            self.assertAlmostEqual(strategy.noise_multiplier, privacy.noise_multiplier(q=1.0, rounds=4, epsilon=3.0, delta=1e-3))
            # What is spent stays spent.
            clients = Clients(self.train, [FewbitsMod()], nodes=self.NODES)
            self.assertFalse(start(strategy, clients, rounds=1, arrays=self.ARRAYS).arrays)
            self.assertFalse(clients.seen)
            self.assertRegex(strategy.stopped, "next round would spend more than epsilon 3")

    def test_training_ends_before_the_round_that_would_exceed(self):
        asked = privacy.rounds_for(privacy.GaussianRound(1.0, 4.0), epsilon=2.0, delta=1e-3)
        for make in (self.plain, self.secure):
            scored = []
            strategy = make(clip=0.5, noise_multiplier=4.0, epsilon=2.0, delta=1e-3, probability=1.0, min_available_nodes=12)
            clients = Clients(self.train, [FewbitsMod()], nodes=self.NODES)
            with self.assertLogs("flwr", "WARNING") as log:
                strategy.start(clients, record(self.ARRAYS), num_rounds=asked + 3, evaluate_fn=lambda number, arrays: scored.append(number))
            self.assertEqual((len(strategy.rounds), len(clients.seen)), (asked, 12 * asked))
            self.assertEqual(scored, list(range(asked + 1)))
            self.assertIn("training has ended: the next round would spend more than epsilon 2", "\n".join(log.output))

    def test_cohorts_are_left_to_chance(self):
        cohorts = []
        strategy, _, _, clients = self.run_with(self.plain, noise_multiplier=1.0, delta=1e-3, probability=0.3, rounds=60)
        sizes = [done.clients for done in strategy.rounds]
        self.assertEqual(len(sizes), 60)
        self.assertAlmostEqual(np.mean(sizes), 3.6, delta=6 * math.sqrt(12 * 0.3 * 0.7 / 60))
        self.assertGreater(len(set(sizes)), 3)

    def test_the_denominator_does_not_tell_who_came(self):
        for make in (self.plain, self.secure):
            strategy, _, flat, _ = self.run_with(make, nodes=tuple(range(100, 140)), noise_multiplier=0.05, delta=1e-3, probability=0.6)
            # |z| <= 6 for the noise, of deviation 0.05 * 0.5 / 24 in each of 4096; a client's part is less than 1/24 of 0.5/64.
            self.assertAlmostEqual(flat.mean(), strategy.rounds[0].clients / 24 * 0.5 / 64, delta=6 * 0.05 * 0.5 / 24 / 64 + 1e-5)

    def test_nobody_came(self):
        strategy, result, flat, clients = self.run_with(self.plain, noise_multiplier=1.0, delta=1e-3, probability=1e-9)
        self.assertEqual((strategy.rounds[0].clients, clients.seen), (0, []))
        self.assertGreater(flat.std(), 0)   # noise is released all the same
        self.assertEqual(strategy._private.accountant.rounds, 1)

    def test_few_of_a_private_sum(self):
        for noise_by in ("server", "clients"):
            with self.assertRaisesRegex(ValueError, "would come more often than in a share of delta/rounds, .* at least 0 come"):
                self.run_with(self.secure, noise_multiplier=1.0, delta=1e-3, probability=0.3, noise_by=noise_by)

            def burn(reply, node):
                return reply if node < 102 else Message(Error(code=5, reason="it has burnt"), metadata=reply.metadata)

            strategy = self.secure(clip=0.5, noise_multiplier=1.0, delta=1e-3, probability=1.0, min_available_nodes=12, noise_by=noise_by)
            clients = Clients(self.train, [FewbitsMod()], nodes=self.NODES, tamper=burn)
            result = start(strategy, clients, rounds=1, arrays=self.ARRAYS)
            self.assertRegex(strategy.rounds[0].nothing, "2 clients are left")
            self.assertGreater(strategy.rounds[0].epsilon, 0)   # that few came has been told
            np.testing.assert_array_equal(numpy(result.arrays)["w"], 0)

    def test_metrics_do_not_travel_and_integers_stay(self):
        replies = []
        arrays = {**self.ARRAYS, "steps": np.array(7)}

        def keep(reply, node):
            replies.append(reply)
            return reply

        for make in (self.plain, self.secure):
            strategy = make(clip=0.5, fraction_evaluate=0.0, min_train_nodes=12, min_available_nodes=12)
            clients = Clients(lambda given, node: {name: array + 1 for name, array in given.items()}, [FewbitsMod()], nodes=self.NODES, tamper=keep)
            after = numpy(start(strategy, clients, rounds=1, arrays=arrays).arrays)
            self.assertEqual((int(after["steps"]), after["steps"].dtype), (7, np.int64))
            self.assertGreater(float(after["w"].mean()), 0)
        self.assertEqual({len(reply.content.metric_records) for reply in replies}, {0})

    def test_who_does_not_clip_is_clipped(self):
        strategy = self.plain(clip=0.5, fraction_evaluate=0.0, min_available_nodes=12)

        class Liar(FewbitsMod):
            def __call__(self, message, context, call_next):
                message.content["fewbits"]["clip"] = 1e6
                return super().__call__(message, context, call_next)

        result = start(strategy, Clients(self.train, [Liar()], nodes=self.NODES), rounds=1, arrays=self.ARRAYS)
        flat = np.concatenate([array.ravel() for array in numpy(result.arrays).values()])
        self.assertLess(np.linalg.norm(flat), 0.5)

    def test_fixed_cohorts_and_memories_are_refused(self):
        with self.assertRaisesRegex(ValueError, "cohorts of a fixed size"):
            FewbitsFedAvg("trellis:bits=2", clip=1.0, epsilon=2.0, delta=1e-3)
        with self.assertRaisesRegex(ValueError, "error feedback does not go with clip="):
            FewbitsFedAvg("trellis:bits=2", clip=1.0, feedback=True)
        with self.assertRaisesRegex(ValueError, "noise_multiplier= needs clip="):
            FewbitsFedAvg("trellis:bits=2", noise_multiplier=1.0)


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
