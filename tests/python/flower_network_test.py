"""fewbits in Flower on the real network: a SuperLink and three SuperNodes on loopback, the simulation of twenty clients, and secure sums.

    flower_network_test.py PYTHONPATH

The app is python/examples/flower_app: a CNN of a million parameters on Fashion-MNIST. Of secure sums it is flower_secure_app, on five
SuperNodes of their own, while the others run: all mostly wait. FEWBITS_LONG_TESTS=1: more rounds, and Flower's own protocol.
"""

import concurrent.futures
import math
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import unittest

PATH = os.path.abspath(sys.argv.pop(1))
sys.path.insert(0, PATH)

from optional import need  # noqa: E402: beside this file

need("flwr", "ray", "torch")

from flower_network import APP, Network  # noqa: E402: behind the path

LONG = os.environ.get("FEWBITS_LONG_TESTS") == "1"
CONFIG = {"rounds": 15 if LONG else 3, "examples": 2560 if LONG else 320, "learning_rate": 0.05}
MODEL_BYTES = 4_003_792
TWO_BITS = "*running_*=f32; *=trellis:bits=2"
FEW_BITS = "*running_*=f32; *=trellis:bits=0.03,scale=profile"
MODEL_ARRAYS = 13
# A few bits at each coordinate want more clients than three, or many rounds: accuracies are compared in the simulation.
ROUNDS = {} if LONG else {"none": {"rounds": 1}, TWO_BITS: {"rounds": 2}, FEW_BITS: {"rounds": 2}}
# Bytes in Flower's totals beside the arrays' data: of a message, and of each of its arrays.
FRAMING, ARRAY_FRAMING = 2000, 650

SECURE_APP = pathlib.Path(__file__).resolve().parent / "flower_secure_app"
SECURE_NODES, PARAMETERS, STEP = 5, 1_000_000, 0.001

secure_runs = {}


def setUpModule():
    """The runs of UnderMasks begin; the class that waits for them comes last."""
    worker = concurrent.futures.ThreadPoolExecutor(1)
    for name in ("all", "one dies", "private", *(["secaggplus"] if LONG else [])):
        secure_runs[name] = worker.submit(run_secure, name)
    worker.shutdown(wait=False)


def run_secure(name):
    """(output, runs, report)"""
    dying = SECURE_NODES // 2
    with tempfile.TemporaryDirectory(prefix="fewbits-flower-") as folder, Network(folder, PATH, nodes=SECURE_NODES) as network:
        if name == "all":
            return network.run(SECURE_APP, timeout=1500)
        if name == "private":
            return network.run(SECURE_APP, timeout=1500, protocol="private")
        if name == "secaggplus":
            app = pathlib.Path(folder, "legacy")
            shutil.copytree(SECURE_APP, app)
            settings = app / "pyproject.toml"
            settings.write_text(settings.read_text().replace("client_app:app", "client_app:legacy"))
            return network.run(app, timeout=1500, protocol="secaggplus")
        marker, over = pathlib.Path(folder, "marker"), threading.Event()

        def kill():
            while not marker.exists() and not over.wait(0.2):
                pass
            if marker.exists():   # the node has its shares, and was asked for its update
                os.killpg(network.processes[1 + dying].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            return network.run(SECURE_APP, timeout=1500, dies=dying, marker=str(marker), wait=120.0)
        finally:
            over.set()
            killer.join()


def inbound(runs, run):
    traffic, = (listed["network-traffic"] for listed in runs["runs"] if listed["run-id"] == str(run))
    return traffic["inbound-bytes"]


class SuperLink(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="fewbits-flower-")
        cls.network = Network(cls.folder.name, PATH, nodes=3)
        cls.network.__enter__()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.addClassCleanup(cls.network.__exit__)

    def run_app(self, change=None, **config):
        app = APP
        if change is not None:
            app = pathlib.Path(self.folder.name, "changed")
            shutil.rmtree(app, ignore_errors=True)
            shutil.copytree(APP, app)
            client = app / "fewbits_app" / "client_app.py"
            client.write_text(change(client.read_text()))
        return self.network.run(app, timeout=1500, **{**CONFIG, **config})

    def test_bytes_and_quality(self):
        figures = {}
        for plan in ("none", TWO_BITS, FEW_BITS):
            output, runs, report = self.run_app(plan=plan, **ROUNDS.get(plan, {}))
            self.assertIsNotNone(report, output)
            messages = 3 * (len(report["accuracy"]) - 1)
            uploaded = inbound(runs, report["run"])
            frames = sum(done["frame_bytes"] for done in report["rounds"]) or messages * MODEL_BYTES
            self.assertGreater(uploaded, frames)
            self.assertLess(uploaded, frames + messages * (FRAMING + ARRAY_FRAMING * (MODEL_ARRAYS if plan == "none" else 1)), "Flower counts what we count, and its framing")
            figures[plan] = (uploaded / messages, report["accuracy"][-1])
            print(f"{plan}: {uploaded / messages:,.0f} bytes an update by Flower's count, {frames / messages:,.0f} of arrays; accuracy {report['accuracy'][-1]:.3f}", flush=True)
        plain, two, few = figures.values()
        self.assertLess(two[0], plain[0] / 12)
        self.assertLess(few[0], plain[0] / 300)
        if LONG:
            self.assertGreater(plain[1], 0.8)
            self.assertAlmostEqual(two[1], plain[1], delta=0.02)

    def test_a_client_with_broken_frames_is_left_out(self):
        def damage(text):
            return text.replace("app.train(mods=[FewbitsMod()])(train)", '''
def damage(message, context, call_next):
    reply = call_next(message, context)
    if context.node_config["partition-id"] == 1:
        frame = reply.content["arrays"]["frame"]
        reply.content["arrays"]["frame"] = type(frame)(frame.dtype, frame.shape, frame.stype, frame.data[:-1] + bytes([frame.data[-1] ^ 1]))
    return reply


app.train(mods=[damage, FewbitsMod()])(train)''')

        output, _, report = self.run_app(damage, plan=TWO_BITS, rounds=1, examples=64)
        self.assertRegex(output, r"fewbits: round 1: node \d+ is left out: its frame is refused: .*CHECKSUM_MISMATCH")
        self.assertEqual([(done["clients"], done["refused"]) for done in report["rounds"]], [(2, 1)])

    def test_clients_without_the_mod_end_the_run(self):
        output, runs, report = self.run_app(lambda text: text.replace("mods=[FewbitsMod()]", "mods=[]"), plan=TWO_BITS, rounds=1, examples=64)
        self.assertIsNone(report)
        self.assertIn("without a frame: FewbitsMod() must be the first of its ClientApp's mods", output)
        self.assertIn("finished:failed", [listed["status"] for listed in runs["runs"]])


class Simulation(unittest.TestCase):
    def test_twenty_clients(self):
        with tempfile.TemporaryDirectory(prefix="fewbits-flower-") as folder, Network(folder, PATH, nodes=20, simulated=True) as network:
            accuracies = {}
            for plan in ("none", TWO_BITS, FEW_BITS):
                output, _, report = network.run(timeout=1500, plan=plan, rounds=CONFIG["rounds"], examples=128)
                self.assertIsNotNone(report, output)
                accuracies[plan] = report["accuracy"][-1]
            self.assertEqual([done["clients"] for done in report["rounds"]], [20] * CONFIG["rounds"])
            self.assertLess(sum(done["frame_bytes"] for done in report["rounds"]), 20 * CONFIG["rounds"] * MODEL_BYTES / 600)
            print(f"20 simulated clients: accuracy {accuracies}", flush=True)
            plain, two, few = accuracies.values()
            self.assertGreater(plain, 0.7 if LONG else 0.4)
            self.assertAlmostEqual(two, plain, delta=0.02 if LONG else 0.08)
            self.assertAlmostEqual(few, plain, delta=0.03 if LONG else 0.1)


class UnderMasks(unittest.TestCase):
    def check(self, name, clients):
        output, runs, report = secure_runs[name].result()
        self.assertIsNotNone(report, output)
        done, = report["rounds"]
        self.assertEqual((done["clients"], done["nothing"]), (clients, ""), output)
        # Of a million errors, each the mean of `clients` uniform ones in a rotation: over 6.5 standard deviations once in 10,000 runs.
        self.assertLess(report["error"], 6.5 * STEP / math.sqrt(12 * clients))
        self.assertEqual(done["frame_bytes"], clients * (2 * PARAMETERS + 40))
        self.assertLess(done["key_bytes"], SECURE_NODES * 2000)
        uploaded = inbound(runs, report["run"])
        payload = done["frame_bytes"] + done["key_bytes"]
        self.assertGreater(uploaded, payload)
        self.assertLess(uploaded, payload + 4 * SECURE_NODES * (FRAMING + ARRAY_FRAMING), "four messages a node, and Flower's framing")
        print(f"secure, {name}: {uploaded / clients / PARAMETERS:.4f} bytes a parameter by Flower's count, {payload / clients / PARAMETERS:.4f} of ours", flush=True)
        return output, uploaded

    def test_the_sum_of_all(self):
        self.check("all", SECURE_NODES)

    def test_a_node_that_dies_between_shares_and_input(self):
        self.check("one dies", SECURE_NODES - 1)

    def test_noise_is_as_wide_as_it_is_accounted(self):
        output, _, report = secure_runs["private"].result()
        self.assertIsNotNone(report, output)
        self.assertEqual(set(report), {"server", "server, secure", "clients, secure"}, output)
        for name, found in report.items():
            self.assertEqual(found["clients"], SECURE_NODES, output)
            # Of a million values: 0.07 % are a standard deviation. Rounding of six bits, or to words, adds a percent at most.
            self.assertGreater(found["width"], 0.996, name)
            self.assertLess(found["width"], 1.02, name)
            self.assertAlmostEqual(found["epsilon"], report["server"]["epsilon"], delta=0.1 * report["server"]["epsilon"])
            self.assertGreater(found["epsilon"], 3)   # of one round with q = 1 and z = 1

    @unittest.skipUnless(LONG, "with FEWBITS_LONG_TESTS=1")
    def test_flowers_own_protocol_uploads_four_times_as_much(self):
        output, runs, report = secure_runs["secaggplus"].result()
        self.assertIsNotNone(report, output)
        uploaded = inbound(runs, report["run"])
        print(f"secure, SecAgg+ of Flower: {uploaded / SECURE_NODES / PARAMETERS:.4f} bytes a parameter by Flower's count; error {report['error']:.2g}", flush=True)
        _, own = self.check("all", SECURE_NODES)
        self.assertGreater(uploaded, 3.9 * own)


if __name__ == "__main__":
    unittest.main()
