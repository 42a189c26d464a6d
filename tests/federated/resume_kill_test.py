"""`fewbits train` killed (SIGKILL) at moments drawn by a fixed seed: what it has written is whole, at most the round in
progress is lost, and the resumed run ends as the unbroken one, to the byte.

    resume_kill_test.py PROGRAM

Six kills, fifty where FEWBITS_LONG_TESTS is set.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
import zlib

PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
KILLS = 25 if os.environ.get("FEWBITS_LONG_TESTS") else 3  # of each of the two runs
CLOCK = {"seconds", "train_seconds", "encode_seconds", "decode_seconds", "codec_time_share"}  # simulated_seconds is none of them
LINKS = "up=0.05,lost=0.2,away=0.1,over=1.3,deadline=6,fade=0.3"


def write_data(folder):
    """Twenty users, with 60 examples of three classes each."""
    draw = random.Random(1)
    for name, rows in (("train.csv", 60), ("test.csv", 15)):
        lines = ["user,label," + ",".join(f"x{i}" for i in range(12))]
        for user in range(20):
            for _ in range(rows):
                label = draw.randrange(3)
                values = [f"{draw.gauss((i % 3 == label) * 1.5 + user % 2, 1):.3f}" for i in range(12)]
                lines.append(f"u{user},{label}," + ",".join(values))
        (folder / name).write_text("\n".join(lines) + "\n")


def without_clock(value):
    if isinstance(value, dict):
        return {key: without_clock(of_key) for key, of_key in value.items() if key not in CLOCK}
    return [without_clock(of_item) for of_item in value] if isinstance(value, list) else value


def lines_of(path):
    """The lines of a results.jsonl that are complete; the last may be cut off."""
    *whole, last = path.read_bytes().split(b"\n")
    lines = [json.loads(line) for line in whole]
    return lines, last


def checkpoint_round(path):
    """Of a checkpoint, whose sums must be right, and whose files must be there."""
    data = path.read_bytes()
    magic = b"fewbits run checkpoint 1\n"
    assert data.startswith(magic), path
    assert zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0], f"{path} is damaged"
    at = len(magic)
    _, count = struct.unpack_from("<QQ", data, at)
    at += 16
    for _ in range(count):
        client, number, crc = struct.unpack_from("<IQI", data, at)
        at += 16
        file = path.with_name(path.stem + "-clients") / f"{client}-{number}"
        assert zlib.crc32(file.read_bytes()) == crc, f"{file} is damaged"
    (size,) = struct.unpack_from("<Q", data, at)
    rest = data[at + 8 : at + 8 + size]
    assert zlib.crc32(rest[:-4]) == struct.unpack("<I", rest[-4:])[0], path
    return struct.unpack_from("<QQQ", rest, len(b"fewbits checkpoint 5\n"))[2]


class ResumeAfterKill(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        write_data(self.root)

    def tearDown(self):
        self.folder.cleanup()

    def check_files(self, out, plans):
        """Rounds that are recorded, and how many of them the checkpoints do not have."""
        lines, cut = lines_of(out / "results.jsonl")
        self.assertEqual(lines[0]["type"], "run")
        lost = 0
        for plan in range(plans):
            rounds = [line["round"] for line in lines[1:] if line["plan_index"] == plan and line["type"] == "round"]
            self.assertEqual(rounds, list(range(1, len(rounds) + 1)))
            path = out / "checkpoints" / f"{plan}.bin"
            kept = checkpoint_round(path) if path.exists() else 0
            self.assertLessEqual(kept, len(rounds))
            lost += len(rounds) - kept
        if cut:  # in the middle of a line: nothing can be behind it
            self.assertEqual(lost, 0)
        for path in out.glob("models/*.npz"):
            with zipfile.ZipFile(path) as archive:
                self.assertIsNone(archive.testzip())
        if (out / "summary.json").exists():
            json.loads((out / "summary.json").read_text())
        return len(lines) - 1, lost

    def check(self, seed, settings, plans, rounds):
        arguments = [str(PROGRAM), "train", "--dataset", "own", "--data", str(self.root), "--rounds", str(rounds), "--target", "none",
                     "--clients-per-round", "6", "--batch", "8", "--quiet", *settings]
        for plan in plans:
            arguments += ["--plan", plan]
        whole, out = self.root / "whole", self.root / "out"
        began = time.monotonic()
        subprocess.run([*arguments, "--out", whole], check=True, capture_output=True, timeout=200)
        takes = time.monotonic() - began

        draw = random.Random(seed)
        kills = most_lost = recorded = 0
        seen = []
        while kills < KILLS:
            begun = (out / "results.jsonl").exists()
            command = [str(PROGRAM), "train", "--out", str(out), "--resume", "--quiet"] if begun else [*arguments, "--out", str(out)]
            run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(draw.uniform(0, takes))
            run.kill()
            _, error = run.communicate(timeout=60)
            if run.returncode == 0:  # it was faster: once more from the start
                self.expect_same(out, whole, plans)
                shutil.rmtree(out)
                recorded = 0
                continue
            self.assertEqual(run.returncode, -signal.SIGKILL, error)
            kills += 1
            if not (out / "results.jsonl").exists():
                continue
            before = recorded
            recorded, lost = self.check_files(out, len(plans))
            most_lost = max(most_lost, lost)
            self.assertGreaterEqual(recorded + 1, before, "rounds that were there are gone")
            seen.append(recorded)
        self.assertLessEqual(most_lost, 1)
        self.assertTrue(any(0 < count < len(plans) * rounds for count in seen), f"no kill came between two rounds: {seen}")
        again = ["--out", str(out), "--resume", "--quiet"] if (out / "results.jsonl").exists() else [*arguments[2:], "--out", str(out)]
        subprocess.run([str(PROGRAM), "train", *again], check=True, capture_output=True, timeout=200)
        self.expect_same(out, whole, plans)
        print(f"{kills} kills after {seen} of {len(plans) * rounds} rounds, at most {most_lost} recorded round lost", file=sys.stderr)

    def expect_same(self, out, whole, plans):
        self.assertEqual(self.check_files(out, len(plans))[1], 0)
        self.assertEqual(without_clock(lines_of(out / "results.jsonl")[0])[1:], without_clock(lines_of(whole / "results.jsonl")[0])[1:])
        summaries = [without_clock(json.loads((folder / "summary.json").read_text())) for folder in (out, whole)]
        self.assertEqual(json.dumps(summaries[0]), json.dumps(summaries[1]))
        names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (out, whole)]
        self.assertEqual(names[0], names[1])  # nothing that was not finished is left
        self.assertEqual(sum(name.endswith(".npz") for name in names[0]), len(plans))
        for name in names[0]:
            if name.startswith(("checkpoints/", "models/")) and (out / name).is_file():
                self.assertEqual((out / name).read_bytes(), (whole / name).read_bytes(), name)

    def test_links_feedback_a_profile_a_downlink_and_streams(self):
        self.check(1, ["--model", "mlp:hidden=64", "--links", LINKS, "--stream", "2"],
                   ["mask:keep=0.2+f32 @ feedback=ef14,downlink=bf16", "trellis:scale=profile,bits=2 @ average=0.9",
                    "trellis:scale=profile,bits=auto @ server=adam,server-lr=0.01"], 60)

    def test_links_other_feedback_and_input_vectors(self):
        self.check(2, ["--model", "mlp:hidden=64", "--links", LINKS, "--personal", "3", "--fine-tune", "1"],
                   ["mask:keep=0.3+f32 @ feedback=ef21", "hadamard+quantize:bits=2 @ feedback=diana,server-momentum=0.5"], 60)


if __name__ == "__main__":
    os.environ.pop("FEWBITS_DATA", None)
    unittest.main()
