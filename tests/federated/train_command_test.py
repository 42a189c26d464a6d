"""`fewbits train` from outside: outputs, configuration files, interruption and resumption, refusals.

    train_command_test.py PROGRAM
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
SETTING = ["--model", "softmax", "--plan", "f32", "--plan", "hadamard+quantize:bits=2 @ lr=0.05,label=two bits"]


def train(*arguments, code=0):
    done = subprocess.run([PROGRAM, "train", *map(str, arguments)], capture_output=True, text=True, timeout=200)
    if done.returncode != code:
        raise AssertionError(f"exit code {done.returncode}, expected {code}:\n{done.stdout}{done.stderr}")
    return done


def results(folder):
    """Lines of results.jsonl without the times."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith("seconds")} for line in lines]


class TrainCommand(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name) / "run"

    def tearDown(self):
        self.folder.cleanup()

    def refused(self, *arguments):
        done = train(*arguments, code=2)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        return done.stderr

    def test_outputs(self):
        done = train(*SETTING, "--rounds", 7, "--out", self.out, "--target", 0.6)
        for word in ("two bits", "rounds to target", "60.00 %"):
            self.assertIn(word, done.stdout)
        self.assertIn("round 7/7", done.stderr)
        summary = json.loads((self.out / "summary.json").read_text())
        self.assertEqual(
            {k: summary[k] for k in ("dataset", "model", "parameters", "clients", "clients_per_round", "rounds", "target_score")},
            {"dataset": "fashion-mnist", "model": "softmax", "parameters": 7850, "clients": 100, "clients_per_round": 10,
             "rounds": 7, "target_score": 0.6},
        )
        lines = results(self.out)
        self.assertEqual(lines[0]["type"], "run")
        self.assertEqual(len(lines[0]["data"]["files"]), 4)
        self.assertEqual(len(lines), 1 + 2 * 7)
        for entry in summary["plans"]:
            rounds = [line for line in lines[1:] if line["plan"] == entry["plan"]]
            self.assertEqual([line["round"] for line in rounds], list(range(1, 8)))
            accuracies = [line["score"] for line in rounds]
            smooth = [sum(accuracies[max(0, i - 4) : i + 1]) / len(accuracies[max(0, i - 4) : i + 1]) for i in range(7)]
            self.assertAlmostEqual(entry["final_score"], smooth[-1], places=12)
            self.assertAlmostEqual(entry["best_score"], max(smooth), places=12)
            reached = next((i for i, value in enumerate(smooth) if value >= 0.6), None)
            self.assertEqual(entry["rounds_to_target"], None if reached is None else reached + 1)
            self.assertEqual(entry["upload_bytes_to_target"], None if reached is None else rounds[reached]["upload_bytes"])
            self.assertEqual(entry["upload_bytes"], rounds[-1]["upload_bytes"])
            self.assertEqual(entry["download_bytes"], 7 * 10 * 4 * 7850)
            self.assertAlmostEqual(entry["bits_per_coordinate"], 8 * entry["upload_bytes"] / (70 * 7850), places=12)
            self.assertTrue(0 < entry["codec_time_share"] < 1)
        self.assertGreater(summary["plans"][0]["upload_bytes"], 70 * 4 * 7850)

    def test_a_target_by_default_is_98_percent_of_float32s_best(self):
        done = train(*SETTING, "--rounds", 3, "--json")
        summary = json.loads(done.stdout)
        self.assertAlmostEqual(summary["target_score"], 0.98 * summary["plans"][0]["best_score"], places=12)
        self.assertIn("no target", self.refused("--plan", "hadamard+quantize:bits=1", "--rounds", 1))
        train("--model", "softmax", "--plan", "hadamard+quantize:bits=1", "--rounds", 1, "--target", "none", "--quiet")

    def test_files_and_flags_say_the_same(self):
        toml = pathlib.Path(self.folder.name) / "a.toml"
        toml.write_text(
            '# a comment, with "quotes"\nrounds = 3  # another\nmodel = "softmax"\nlr-decay = 0.9\nquiet = true\n'
            'plan = [\n  "f32",  # first, of [two]\n  "hadamard+quantize:bits=2 @ lr=0.05,label=two bits",\n]\n'
            'partition = "dirichlet:alpha=0.5,min=0"\n'
        )
        as_json = pathlib.Path(self.folder.name) / "a.json"
        as_json.write_text(json.dumps({
            "rounds": 3, "model": "softmax", "lr-decay": 0.9, "quiet": True, "partition": "dirichlet:alpha=0.5,min=0",
            "plan": ["f32", {"plan": "hadamard+quantize:bits=2", "lr": 0.05, "label": "two bits"}],
        }))
        outs = [pathlib.Path(self.folder.name) / name for name in ("flags", "toml", "json")]
        train(*SETTING, "--rounds", 3, "--lr-decay", 0.9, "--partition", "dirichlet:alpha=0.5,min=0", "--out", outs[0], "--quiet")
        train("--config", toml, "--out", outs[1])
        train("--config", as_json, "--out", outs[2])
        self.assertEqual(results(outs[0]), results(outs[1]))
        self.assertEqual([r.get("score") for r in results(outs[0])], [r.get("score") for r in results(outs[2])])
        summary = json.loads(train("--config", toml, "--rounds", 2, "--json").stdout)
        self.assertEqual(summary["rounds"], 2)  # flags go first
        toml.write_text("ronds = 3\n")
        self.assertIn("there is no setting 'ronds'", self.refused("--config", toml))
        toml.write_text("rounds = many\n")
        self.assertIn("'rounds' is 'many'", self.refused("--config", toml))
        as_json.write_text('{"rounds": 3,}')
        self.assertIn("a.json", self.refused("--config", as_json))
        self.assertIn("cannot read", self.refused("--config", "/no/such/file.toml"))

    def test_an_interrupted_run_is_resumed_bit_for_bit(self):
        whole = pathlib.Path(self.folder.name) / "whole"
        train(*SETTING, "--rounds", 100, "--out", whole, "--quiet")
        run = subprocess.Popen([PROGRAM, "train", *SETTING, "--rounds", "100", "--out", self.out, "--quiet"],
                               stderr=subprocess.PIPE, text=True)
        lines = 0
        for _ in range(6000):
            if (self.out / "results.jsonl").exists():
                lines = (self.out / "results.jsonl").read_bytes().count(b"\n")
            if lines > 10 or run.poll() is not None:
                break
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        message = run.communicate(timeout=60)[1]
        self.assertEqual(run.returncode, 130, message)
        self.assertIn(f"train --out {self.out} --resume", message)
        self.assertFalse((self.out / "summary.json").exists())
        finished = results(self.out)
        self.assertEqual(finished, results(whole)[: len(finished)])
        self.assertIn("seed is 2, the run in", self.refused("--out", self.out, "--resume", "--seed", 2))
        self.assertIn("--resume to go on", self.refused(*SETTING, "--rounds", 100, "--out", self.out))
        last = (self.out / "results.jsonl").read_text().splitlines()[-1]
        # As after a crash between a line and its checkpoint, and within a line.
        with open(self.out / "results.jsonl", "a") as file:
            file.write(json.dumps({**json.loads(last), "round": 101}) + '\n{"type": "rou')
        train("--out", self.out, "--resume", "--threads", 1, "--quiet")
        self.assertEqual(results(self.out), results(whole))
        for index in ("0.bin", "1.bin"):
            self.assertEqual((self.out / "checkpoints" / index).read_bytes(), (whole / "checkpoints" / index).read_bytes())
        # A finished run gives its table again; settings may be repeated, those that its folder leaves out too.
        train(*SETTING, "--rounds", 100, "--seeds", 1, "--out", self.out, "--resume", "--quiet")
        train(*SETTING, "--rounds", 1, "--out", self.out, "--force", "--quiet")
        self.assertEqual(len(results(self.out)), 3)

    def test_a_run_that_diverges_says_so_and_the_others_go_on(self):
        plans = ["--plan", "f32 @ lr=1000000,label=too fast", "--plan", "f32"]
        done = train("--model", "mlp:hidden=20", *plans, "--rounds", 3, "--out", self.out, "--quiet")
        self.assertIn("too fast: diverged in round", done.stdout)
        summary = json.loads((self.out / "summary.json").read_text())
        self.assertIn("diverged", summary["plans"][0]["stopped"])
        self.assertNotIn("stopped", summary["plans"][1])
        before = results(self.out)
        self.assertEqual(sum(line["type"] == "stopped" for line in before), 1)
        train("--out", self.out, "--resume", "--quiet")
        self.assertEqual(results(self.out), before)

    def test_recorded_updates_are_files_that_measure_reads(self):
        record = pathlib.Path(self.folder.name) / "updates"
        arguments = ["--model", "softmax", "--plan", "f32", "--plan", "hadamard+quantize:bits=2", "--rounds", 6,
                     "--record", record, "--quiet"]
        train(*arguments, "--record-rounds", "2,6", "--record-clients", 2, "--out", self.out)
        names = sorted(path.name for path in record.iterdir())
        self.assertEqual([name.split("-")[0] for name in names], ["round0002", "round0002", "round0006", "round0006"])
        measured = subprocess.run([PROGRAM, "measure", "--plan", "hadamard+quantize:bits=2", record / names[0], "--json"],
                                  capture_output=True, text=True, check=True)
        self.assertEqual(json.loads(measured.stdout)[0]["coordinates"], 7850)
        with zipfile.ZipFile(record / names[0]) as archive:
            self.assertEqual(archive.namelist(), ["dense1.weight.npy", "dense1.bias.npy"])
        settings = results(self.out)[0]["settings"]
        self.assertEqual((settings["record"], settings["record-rounds"], settings["record-clients"]), (str(record), [2, 6], 2))

        before = {path: path.read_bytes() for path in record.iterdir()}
        self.assertIn("has recorded updates already", self.refused(*arguments))
        self.assertEqual({path: path.read_bytes() for path in record.iterdir()}, before)
        train(*arguments, "--force")
        self.assertEqual({path.name.split("-")[0] for path in record.iterdir()}, {"round0005"})
        train("--model", "softmax", "--rounds", 6, "--out", self.out, "--force", "--quiet")
        self.assertIn("record is", self.refused("--resume", "--out", self.out, "--record", record))

    def own_data(self, users=False, model="softmax"):
        """A folder of 60 small examples, of three users or nobody's."""
        folder = pathlib.Path(self.folder.name) / "own"
        folder.mkdir(exist_ok=True)
        for name in ("train.csv", "test.csv"):
            rows = [(f"u{i % 3}," if users else "") + f"{i % 7},{i % 5},{i % 3}" for i in range(60)]
            (folder / name).write_text("\n".join([("user," if users else "") + "a,b,label", *rows]) + "\n")
        return ["--dataset", "own", "--data", folder, "--model", model, "--target", "none", "--quiet"]

    def test_several_cohort_sizes_are_plans_of_their_own(self):
        arguments = [*self.own_data(), "--clients", 6, "--partition", "iid", "--rounds", 3, "--plan", "f32",
                     "--plan", "hadamard+quantize:bits=2 @ clients-per-round=2,label=two"]
        summary = json.loads(train(*arguments, "--clients-per-round", "1,3", "--json", "--out", self.out).stdout)
        self.assertEqual([(entry["plan"], entry["label"]) for entry in summary["plans"]],
                         [("f32 @ clients-per-round=1", "f32, 1 a round"), ("f32 @ clients-per-round=3", "f32, 3 a round"),
                          ("hadamard+quantize:bits=2 @ clients-per-round=2,label=two", "two")])
        self.assertEqual(summary["clients_per_round"], [1, 3])
        self.assertEqual([line["clients"] for line in results(self.out)[1:]], [1] * 3 + [3] * 3 + [2] * 3)
        # As each of them alone.
        alone = json.loads(train(*arguments, "--clients-per-round", "3", "--json").stdout)
        for key in ("best_score", "final_score", "upload_bytes", "download_bytes"):
            self.assertEqual(alone["plans"][0][key], summary["plans"][1][key])
        train("--out", self.out, "--resume", "--clients-per-round", "1,3", "--quiet")
        self.assertIn("clients-per-round is [1,2], the run in", self.refused("--out", self.out, "--resume", "--clients-per-round", "1,2"))

    def test_a_model_of_a_run_begins_another(self):
        arguments = [*self.own_data(), "--clients", 6, "--partition", "iid", "--clients-per-round", 6, "--plan", "f32"]
        first = json.loads(train(*arguments, "--rounds", 40, "--json", "--out", self.out).stdout)
        model = self.out / "models" / "0.npz"
        with zipfile.ZipFile(model) as archive:
            self.assertEqual(archive.namelist(), ["dense1.weight.npy", "dense1.bias.npy"])
        again = [*arguments, "--rounds", 2, "--lr", 1e-9]
        score = json.loads(train(*again, "--pretrained", model, "--json").stdout)["plans"][0]["final_score"]
        fresh = json.loads(train(*again, "--json").stdout)["plans"][0]["final_score"]
        last = [line["score"] for line in results(self.out) if line["type"] == "round"][-1]
        self.assertEqual(score, last)  # hardly moved
        self.assertNotEqual(score, fresh)
        self.assertGreater(first["plans"][0]["best_score"], 0.3)
        other = [*self.own_data(model="mlp:hidden=4"), "--clients", 6, "--partition", "iid", "--plan", "f32"]
        self.assertIn("is not of this model: it has no array 'dense1.weight' of", self.refused(*other, "--pretrained", model))
        self.assertIn("cannot be read", self.refused(*again, "--pretrained", "/no/such/model.npz"))

    def test_clients_have_models_of_their_own(self):
        arguments = [*self.own_data(users=True), "--rounds", 3, "--plan", "f32", "--clients-per-round", 3, "--json"]
        for more, changes in ([["--fine-tune", 0], False], [["--fine-tune", 20, "--lr", 1], True], [["--personal", 2, "--personal-rate", 100], True]):
            personal = json.loads(train(*arguments, *more).stdout)["plans"][0]["personal"]
            self.assertEqual(personal["clients"], 3)
            self.assertEqual(len(personal["before_of_each"]), 3)
            self.assertEqual(len(personal["after"]["deciles"]), 11)
            self.assertAlmostEqual(personal["before"]["mean"], sum(personal["before_of_each"]) / 3)
            self.assertEqual(personal["before_of_each"] != personal["after_of_each"], changes, more)

    def test_links_streams_and_downlinks_from_outside(self):
        arguments = [*self.own_data(users=True, model="mlp:hidden=40"), "--rounds", 8, "--clients-per-round", 3, "--stream", 4, "--links", "lost=0.4,deadline=30",
                     "--plan", "f32", "--plan", "trellis:bits=auto @ label=auto", "--plan", "f32 @ downlink=bf16,label=down"]
        summary = json.loads(train(*arguments, "--json", "--out", self.out).stdout)
        lines = [line for line in results(self.out) if line["type"] == "round"]
        for index, entry in enumerate(summary["plans"]):
            own = [line for line in lines if line["plan_index"] == index]
            self.assertEqual(entry["wasted_bytes"], own[-1]["wasted_bytes"])
            self.assertTrue(0 < entry["wasted_bytes"] < entry["upload_bytes"])
            self.assertGreater(entry["simulated_seconds"], 0)
            self.assertEqual([line["asked"] for line in own], [3] * 5 + [0] * 3)  # 20 examples each
        self.assertLess(summary["plans"][2]["download_bytes"], summary["plans"][0]["download_bytes"])
        table = train(*arguments).stdout
        for word in ("hours to target", "wasted %"):
            self.assertIn(word, table)

    def test_texts(self):
        done = train("--dataset", "kjv:books=65-66", "--model", "window:hidden=16", "--context", 4, "--rounds", 2, "--clients-per-round", 3,
                     "--plan", "f32", "--target", "none", "--quiet", "--out", self.out, "--eval-examples", 500)
        self.assertIn("best %", done.stdout)
        lines = results(self.out)
        self.assertEqual([line["round"] for line in lines[1:]], [1, 2])
        self.assertEqual(lines[0]["settings"]["dataset"], "kjv:books=65-66")
        self.assertEqual(json.loads((self.out / "summary.json").read_text())["clients"], 23)  # chapters of Jude and Revelation

    def test_bad_values_of_what_surrounds_a_plan_are_one_clear_line(self):
        for arguments, words in [
            (["--clients-per-round", "0"], "expected 1 to the number of clients"),
            (["--clients-per-round", "1,x"], "no whole number"),
            (["--clients-per-round", "1,101"], "clients-per-round is 101"),
            (["--links", "up=0"], "'up' is '0', expected a number"),
            (["--links", "lost=2"], "'lost' is '2'"),
            (["--links", "speed=1"], "no parameter 'speed'"),
            (["--links", "up"], "expected key=value"),
            (["--links", "trace=/no/such/file"], "cannot be read"),
            (["--stream", "-1"], "no whole number"),
            (["--stream", "5", "--epochs", "2"], "one epoch alone"),
            (["--stream", "5", "--plan", "f32 @ feedback=diana"], "a stream does not go with"),
            (["--pretrained", "/proc/version"], "not an .npy"),
            (["--fine-tune", "x"], "no whole number"),
            (["--fine-tune", "1", "--partition", "drawn:size=5"], "choose another partition"),
            (["--model", "kmeans", "--fine-tune", "1"], "trained by descent"),
            (["--model", "kmeans", "--stream", "3"], "not trained by descent"),
            (["--personal", "4097"], "personal is 4097, expected at most 4096"),
            (["--personal", "2", "--personal-rate", "0"], "personal-rate must be positive"),
            (["--personal-rate", "x"], "--personal-rate = x"),
            (["--personal", "3", "--model", "cnn"], "no part of an image"),
            (["--held-out", "1"], "held-out must be"),
            (["--held-out", "0.3", "--partition", "drawn:size=5"], "share their examples"),
            (["--eval-examples", "-1"], "no whole number"),
            (["--tokens", "letters"], "expected characters or words"),
            (["--words", "x"], "no whole number"),
            (["--dataset", "kjv", "--model", "window", "--tokens", "words", "--words", "0"], "a vocabulary of 0 words"),
            (["--context", "4097"], "context is 4097, expected at most 4096"),
            (["--downlink", "f33"], "no stage is named 'f33'"),
            (["--downlink", "train=mask:keep=0.5 | f32"], "leave out train="),
            (["--partition", "drawn"], "lacks 'size'"),
            (["--partition", "drawn:size=5", "--clients", "0"], "no clients"),
            (["--partition", "natural"], "does not say whose"),
            (["--dataset", "kjv"], "reads no text; choose window or gru"),
            (["--model", "window"], "try --dataset kjv"),
            (["--dataset", "kjv:users=verses", "--model", "gru"], "expected chapters or books"),
            (["--plan", "trellis:bits=auto"], "needs links with a deadline"),
            (["--links", "deadline=9", "--plan", "quantize:bits=auto"], "cannot be added up"),
            (["--target", "1.01"], "accuracies are at most 1"),
            (["--target", "-1"], "expected a score over 0"),
            (["--prox", "-1"], "prox must be at least 0"),
            (["--average", "1"], "average must be"),
        ]:
            with self.subTest(arguments=arguments):
                more = [] if "--target" in arguments else ["--target", "none"]
                self.assertIn(words, self.refused(*arguments, *more, "--rounds", 1, "--quiet"))

    def test_bad_input_is_one_clear_line(self):
        for arguments, words in [
            (["--plan", "hadamrd+quantize:bits=1"], "hadamrd"),
            (["--plan", "f32 @ speed=3"], "it has: label, lr"),
            (["--plan", "f32", "--plan", "f32"], "given twice"),
            (["--partition", "dirichelt:alpha=1"], "choose one of: iid"),
            (["--model", "rnn"], "choose one of: cnn"),
            (["--model", "cnn:channels=8-8-8-8-8"], "halves images of 28x28 pixels 5 times"),
            (["--data", "/no/such/folder"], "apt-get install dataset-fashion-mnist"),
            (["--dataset", "cifar"], "not known"),
            (["--target", "2"], "target is '2'"),
            (["--clients", "0"], "at least 1 client"),
            (["--clients-per-round", "101"], "expected 1 to the number of clients, 100"),
            (["--resume"], "needs --out"),
            (["--seeds", "0"], "seeds is 0, expected 1 to 1000"),
            (["--seeds", "1001"], "seeds is 1001, expected 1 to 1000"),
            (["--seeds", "3", "--seed", str(2**64 - 2)], "seeds is 3, expected 1 to 2"),
            (["--seeds", "-1"], "no whole number"),
            (["--record-rounds", "3"], "needs --record"),
            (["--record", "/tmp/never", "--record-rounds", "3,201"], "record-rounds has 201, expected rounds of the run, 1 to 200"),
            (["--record", "/tmp/never", "--record-rounds", "0"], "record-rounds has 0"),
            (["--record", "/tmp/never", "--record-clients", "0"], "record-clients is 0"),
            (["--record", "/proc/version"], "is no folder"),
            (["--record", "/tmp/never", "--plan", "train=mask:keep=0.5 | f32", "--target", "none"], "without train="),
            (["--resume", "--out", "/no/such/run"], "no run to resume"),
        ]:
            with self.subTest(arguments=arguments):
                self.assertIn(words, self.refused(*arguments, "--quiet"))

    def test_help_has_examples(self):
        text = train("--help").stdout
        for word in ("--resume", "--record", "--seeds", "dirichlet-client:alpha=A", "Examples:", "mlp[:hidden=200]"):
            self.assertIn(word, text)


if __name__ == "__main__":
    os.environ.pop("FEWBITS_DATA", None)
    unittest.main()
