"""`fewbits describe`, `inspect` and `stages` from outside: what is promised is what frames do.

    describe_test.py PROGRAM
"""

import unittest

import numpy as np

from program import ProgramTest, random_update, run
from frame_format import STAGES, read_header

PLANS = ["f32", "bf16", "quantize:bits=3", "hadamard+quantize:bits=1", "mask:keep=0.1+f16", "quantize:bits=2+zstd",
         "hadamard+mask:keep=0.0625+quantize:bits=2", "b=f32; *=hadamard+quantize:bits=4",
         "train=mask:keep=0.25 | hadamard+quantize:bits=2", "train=lowrank:rank=2 | f32"]


class Describe(ProgramTest):
    def setUp(self):
        super().setUp()
        np.savez(self.folder / "u.npz", w=random_update((40, 50)), b=random_update(50))

    def describe(self, plan, *layout):
        return self.json("describe", "--plan", plan, *(layout or ("--like", "u.npz")))

    def test_json_has_these_fields(self):
        said = self.describe("b=f32; *=hadamard+quantize:bits=4")
        self.assertEqual(list(said), ["plan", "structure", "coordinates", "parameters", "unbiased", "nmse_bound", "norm_growth", "norm_added",
                                      "max_frame_bytes", "fixed_size", "max_bits_per_coordinate", "groups",
                                      "fingerprint"])
        self.assertEqual(said["plan"], "b=f32+pack; *=hadamard:seed=round+quantize:bits=4,block=0+pack")
        self.assertEqual((said["structure"], said["coordinates"], said["parameters"]), (None, 2050, 2050))
        self.assertEqual([group["rule"] for group in said["groups"]], ["b", "*"])
        self.assertEqual([group["coordinates"] for group in said["groups"]], [50, 2000])
        self.assertEqual([group["sum_domain"] for group in said["groups"]], ["update", "hadamard"])
        self.assertEqual(list(said["groups"][0]), ["rule", "stages", "tensors", "coordinates", "values", "unbiased", "nmse_bound",
                                                   "norm_growth", "norm_added", "max_bytes", "fixed_size", "sum_domain"])

    def test_no_frame_is_longer_and_a_fixed_size_is_kept(self):
        for plan in PLANS:
            said = self.describe(plan)
            self.assertAlmostEqual(said["max_bits_per_coordinate"], 8 * said["max_frame_bytes"] / 2050)
            for round_, client in ((0, 0), (2**28 - 1, 2**64 - 1)):
                call = ("encode", "--plan", plan, "--round", round_, "--client", client, "u.npz", "a.fb")
                self.assertEqual(run(*call, cwd=self.folder).returncode, 0)
                size = (self.folder / "a.fb").stat().st_size
                self.assertLessEqual(size, said["max_frame_bytes"], plan)
                if said["fixed_size"]:
                    self.assertEqual(size, said["max_frame_bytes"] - (12 if client == 0 else 0), plan)
        self.assertFalse(self.describe("quantize:bits=2+zstd")["fixed_size"])

    def test_measured_errors_keep_the_promise(self):
        for plan in PLANS:
            said = self.describe(plan)
            [found] = self.json("measure", "--plan", plan, "--repeats", 5, "u.npz")
            self.assertEqual(found["unbiased"], said["unbiased"] == "always")
            if said["nmse_bound"] is not None and said["structure"] is None:
                self.assertLessEqual(found["nmse"], said["nmse_bound"] * 1.2 + 1e-9, plan)  # 5 draws of what bounds the mean

    def test_the_size_is_a_million_where_none_is_given(self):
        said = self.json("describe", "--plan", "f32")
        self.assertEqual((said["coordinates"], said["max_frame_bytes"]), (1048576, 4 * 1048576 + 30))
        self.assertEqual(self.describe("f32", "--size", "2^10")["coordinates"], 1024)

    def test_words_tell_the_same(self):
        text = self.ok("describe", "--plan", "train=mask:keep=0.25 | hadamard+quantize:bits=2", "--size", 1000)
        self.assertIn("250 free parameters stand for 1000 coordinates", text)
        self.assertRegex(text, r"(?m)^unbiased +always: ")
        # A header of 30 bytes, 8 for the range, 63 for 250 values of two bits.
        self.assertRegex(text, r"(?m)^frame +at most 101 bytes, 0\.808 bits a coordinate; the same for every update")
        text = self.ok("describe", "--plan", "bf16", "--size", 1000)
        self.assertRegex(text, r"(?m)^unbiased +no: ")

    def test_what_cannot_be_described_is_refused(self):
        for words, arguments in {
            "--plan is required": (),
            "a stage is one of mask, hadamard,": ("--plan", "hadamrd"),
            "no rule": ("--plan", "w=f32", "--like", "u.npz"),
            "'x' is no number of coordinates": ("--plan", "f32", "--size", "x"),
            "excludes": ("--plan", "f32", "--size", 1, "--like", "u.npz"),
            "none.npy: cannot be read": ("--plan", "f32", "--like", "none.npy"),
        }.items():
            self.assertIn(words, self.refused("describe", *arguments))


class Inspect(ProgramTest):
    def test_header_and_sections_are_those_of_the_format(self):
        np.savez(self.folder / "u.npz", w=random_update((4, 5)), b=random_update(3))
        for plan in ("f32", "b=f32; *=quantize:bits=2"):
            self.ok("encode", "--plan", plan, "--round", 300, "--client", 2**40, "u.npz", "a.fb")
            frame = (self.folder / "a.fb").read_bytes()
            header = read_header(frame)
            said = self.json("inspect", "a.fb")
            self.assertEqual(said.pop("bytes"), len(frame))
            self.assertEqual(said.pop("fingerprint"), f"{header.pop('fingerprint'):016x}")
            sections = [(section["offset"], section["bytes"]) for section in said.pop("sections")]
            self.assertEqual(sections, header.pop("sections"))
            self.assertEqual(said, header)
            text = self.ok("inspect", "a.fb")
            self.assertIn(f"frame        {len(frame)} bytes, format version 1\n", text)
            self.assertRegex(text, r"(?m)^round +300$")
            self.assertRegex(text, rf"(?m)^client +{2**40}$")

    def test_what_is_no_frame_is_refused(self):
        self.save("u.npy", random_update(8))
        self.ok("encode", "--plan", "f32", "u.npy", "a.fb")
        frame = (self.folder / "a.fb").read_bytes()
        (self.folder / "damaged.fb").write_bytes(frame[:20] + bytes([frame[20] ^ 4]) + frame[21:])
        (self.folder / "empty.fb").write_bytes(b"")
        self.assertIn("checksum", self.refused("inspect", "damaged.fb"))
        self.refused("inspect", "empty.fb")
        self.refused("inspect", "u.npy")
        self.assertIn("none.fb: cannot be read", self.refused("inspect", "none.fb"))
        self.assertIn("FRAME is required", self.refused("inspect"))


class Stages(ProgramTest):
    def test_every_stage_has_its_id_roles_source_and_parameters(self):
        found = {stage["name"]: stage for stage in self.json("stages") if stage["roles"] != ["preset"]}
        self.assertEqual({name: stage["id"] for name, stage in found.items()},
                         {name: id_ for name, (id_, _, _) in STAGES.items()})
        text = self.ok("stages")
        for name, (_, _, parameters) in STAGES.items():
            stage = found[name]
            self.assertEqual({p["name"]: p["default"] for p in stage["parameters"]}, parameters)
            self.assertLessEqual(set(stage["roles"]), {"transform", "quantizer", "coder", "structure"})
            for part in (stage["summary"], stage["source"], *(p["range"] for p in stage["parameters"])):
                self.assertTrue(part)
                self.assertIn(part, text)
            self.assertRegex(text, rf"(?m)^{name}  \({', '.join(stage['roles'])}, id {stage['id']}\)$")

    def test_presets_are_listed_with_what_they_stand_for(self):
        found = {entry["name"]: entry for entry in self.json("stages") if entry["roles"] == ["preset"]}
        self.assertLessEqual({"eden", "drive", "terngrad", "stc", "powersgd"}, set(found))
        self.assertIsNone(found["eden"]["id"])
        self.assertEqual(found["eden"]["stages"], "hadamard:seed=client+lloyd:bits={bits}")
        self.assertEqual([p["range"] for p in found["eden"]["parameters"]], ["1..8"])
        text = self.ok("stages")
        for name, entry in found.items():
            self.assertIn(f"{name}  (stands for {entry['stages']})\n  {entry['summary']}\n", text)
            self.assertIn(f"source: {entry['source']}\n", text)

    def test_describe_shows_what_a_preset_stands_for(self):
        plan = "hadamard:seed=client+lloyd:bits=2+pack"
        self.assertEqual(self.json("describe", "--plan", "eden:bits=2")["plan"], plan)
        self.assertIn(f"plan         {plan}\n", self.ok("describe", "--plan", "eden:bits=2"))


if __name__ == "__main__":
    unittest.main()
