"""`fewbits measure --frontier` from outside: its figures are those of `fewbits measure --plan`, which has its own tests.

    frontier_test.py PROGRAM
"""

import json
import re
import unittest

import numpy as np

from program import ProgramTest, random_update

TIMES = ["encode_ns_per_coordinate", "decode_ns_per_coordinate"]
RATES = [0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8]


def without_times(plans):
    return [{key: value for key, value in plan.items() if key not in TIMES} for plan in plans]


def words_of(option, values):
    return [word for value in values for word in (option, value)]


class Frontier(ProgramTest):
    def frontier(self, *arguments, matching=()):
        return self.json("measure", "--frontier", *words_of("--plans-matching", matching), *arguments)

    def save_update(self, name, seed, scale=1.0):
        """Rows and columns of unequal energy, and a tensor without columns."""
        rows = np.linspace(0.1, 3, 40).reshape(-1, 1)
        np.savez(self.folder / name, weight=(scale * rows * random_update((40, 50), seed)).astype(np.float32),
                 bias=np.float32(scale) * random_update(50, seed + 100))
        return name

    def test_figures_are_those_of_the_same_plans_measured_alone(self):
        found = self.frontier("--repeats", 2, "--seed", 9, "normal:3000", matching=["EDEN", "bits=3"])
        self.assertEqual([found[key] for key in ("source", "updates", "coordinates", "repeats", "seed")],
                         ["normal:3000", 1, 3000, 2, 9])
        plans = found["plans"]
        self.assertGreater(len(plans), 15)
        alone = self.json("measure", *words_of("--plan", [plan["plan"] for plan in plans]), "--repeats", 2, "--seed", 9,
                          "normal:3000")
        for plan in plans:
            self.assertEqual(list(plan)[:3], ["family", "promise", "plan"])
            self.assertIn(plan["promise"], ("always", "over rotations", "no"))
            self.assertEqual(plan["promise"] == "always", plan["unbiased"])
        self.assertEqual([{key: value for key, value in plan.items() if key not in ("family", "promise")}
                          for plan in without_times(plans)], without_times(alone))

    def test_families_come_one_after_the_other_in_each_by_rate_and_say_what_they_promise(self):
        found = self.frontier("--repeats", 1, "normal:4096")
        promises = {}
        order = []
        for plan in found["plans"]:
            promises.setdefault(plan["family"], set()).add(plan["promise"])
            if plan["family"] not in order[-1:]:
                order.append(plan["family"])
            elif plan["family"] != "given":
                self.assertGreaterEqual(plan["bits_per_coordinate"], rate)
            rate = plan["bits_per_coordinate"]
        self.assertEqual(len(order), len(set(order)))
        self.assertGreater(len(order), 15)
        for family, promise in {"EDEN": "over rotations", "mask+f32": "always", "topk+f32": "no",
                                "trellis, 64 states, flat": "always", "hadamard+mask+quantize (Konečný)": "always"}.items():
            self.assertEqual(promises[family], {promise}, msg=family)

    def test_shares_are_chosen_for_the_catalogues_rates_with_the_header_counted(self):
        # At 2^18 coordinates 0.003 bit is 98 bytes; the header and a scale are 24 of them.
        found = self.frontier("--repeats", 1, "normal:2^18", matching=["mask:keep=", "mask+f32", "topk+f32"])
        families = {}
        for plan in found["plans"]:
            families.setdefault(plan["family"], []).append(plan["bits_per_coordinate"])
        self.assertGreater(len(families), 4)
        for family, rates in families.items():
            masked = [rate for rate in rates if rate <= 1 or family in ("mask+f32", "topk+f32")]
            for rate, wanted in zip(masked, RATES[:len(masked)]):
                # A value is 32 bits of 786 at most, two bytes of the range that quantize sends are not in the 24.
                self.assertAlmostEqual(rate / wanted, 1, delta=0.07, msg=f"{family} {wanted}")
        self.assertEqual(len(families["mask+f32"]), len(RATES))

    def test_of_several_files_figures_are_means_in_which_each_has_the_same_weight(self):
        # Not the energies: the second is a thousand times as large.
        names = [self.save_update("a.npz", 1), self.save_update("b.npz", 2, 1000.0)]
        # Biased codes draw nothing, so that the number of a frame does not matter.
        matching = ["topk:keep", "bf16"]
        both = self.frontier(*names, matching=matching)
        self.assertEqual((both["source"], both["updates"]), ("a.npz and others, 2 updates", 2))
        apart = [self.frontier(name, matching=matching)["plans"] for name in names]
        deterministic = [i for i, plan in enumerate(both["plans"]) if not re.search("quantize|lowrank", plan["plan"])]
        self.assertGreater(len(deterministic), 5)
        for i in deterministic:
            plan, parts = both["plans"][i], [one[i] for one in apart]
            self.assertEqual([plan["plan"]] * 2, [part["plan"] for part in parts])
            for key in ("bytes", "nmse", "bias_ratio"):
                mean = np.mean([part[key] for part in parts])
                self.assertAlmostEqual(plan[key] / mean, 1, delta=1e-12, msg=plan["plan"])
            limit = 1 / (4 ** plan["bits_per_coordinate"] - 1)
            self.assertAlmostEqual(plan["limit_ratio"] / (plan["nmse"] / limit), 1, delta=1e-9)
            self.assertAlmostEqual(plan["bias_ratio"], 3, delta=1e-9)  # all of the error, in three repeats
        # Draws differ from frame to frame and from file to file: two copies of one update have twice the frames.
        (self.folder / "c.npz").write_bytes((self.folder / "a.npz").read_bytes())
        [copies] = self.json("measure", "--plan", "quantize:bits=1", "--repeats", 2, "a.npz", "c.npz")
        [longer] = self.json("measure", "--plan", "quantize:bits=1", "--repeats", 4, "a.npz")
        self.assertAlmostEqual(copies["nmse"] / longer["nmse"], 1, delta=1e-12)

    def test_a_folder_is_its_files(self):
        (self.folder / "updates").mkdir()
        for k in range(3):
            self.save_update(f"updates/{k}.npz", k)
        (self.folder / "updates" / "notes.txt").write_text("no array")
        folder = self.frontier("--repeats", 1, "updates", matching=["hadamard+quantize"])
        files = self.frontier("--repeats", 1, *(f"updates/{k}.npz" for k in range(3)), matching=["hadamard+quantize"])
        self.assertEqual(folder["source"], "updates, 3 updates")
        self.assertEqual(without_times(folder["plans"]), without_times(files["plans"]))

    def test_what_does_not_fit_is_skipped_with_a_reason(self):
        found = self.frontier("--repeats", 1, "lognormal:1000,5")
        reasons = {one["plan"]: one["reason"] for one in found["skipped"]}
        self.assertIn("over the format's largest, 65504", reasons["f16"])
        self.assertEqual(reasons["trellis:states=64,scale=separable,bits=1"], "no tensor has rows and columns")
        self.assertFalse(set(reasons) & {plan["plan"] for plan in found["plans"]})
        found = self.frontier("--repeats", 1, self.save_update("u.npz", 1), matching=["scale="])
        self.assertTrue(any("separable" in plan["family"] for plan in found["plans"]))
        self.assertEqual({one["reason"] for one in found["skipped"]}, {"needs --profile"})

    def test_separable_scales_gain_where_rows_differ(self):
        found = self.frontier(self.save_update("u.npz", 1), matching=["trellis:states=64"])
        nmse = {plan["plan"]: plan["nmse"] for plan in found["plans"]}
        # 40 rows of energies from 0.01 to 9: the ratio of their geometric to their arithmetic mean is 0.5.
        self.assertLess(nmse["trellis:states=64,scale=separable,bits=4"],
                        0.8 * nmse["trellis:states=64,scale=flat,bits=4"])

    def test_a_profile_goes_to_the_plans_that_take_one(self):
        # Learned from a frame of another client whose rows have the same energies.
        plan = ("--plan", "trellis:scale=profile,bits=2")
        self.save_update("a.npz", 1)
        self.ok("encode", *plan, self.save_update("b.npz", 2), "b.fb")
        self.ok("aggregate", *plan, "--round", 0, "--like", "b.npz", "--out", "mean.npz", "--learn", "state",
                "--next-profile", "next", "b.fb")
        found = self.frontier("--profile", "next", "a.npz", matching=["trellis:states=64"])
        self.assertEqual((found["profile"], found["skipped"]), ("next", []))
        nmse = {plan["plan"]: plan["nmse"] for plan in found["plans"]}
        # As in the test above; here it costs no bytes, and has the errors of one frame.
        for bits in (2, 4):
            self.assertLess(nmse[f"trellis:states=64,scale=profile,bits={bits}"],
                            0.8 * nmse[f"trellis:states=64,scale=flat,bits={bits}"])
        [alone] = self.json("measure", "--plan", "trellis:states=64,scale=profile,bits=4", "--profile", "next",
                            "--repeats", 3, "a.npz")
        self.assertEqual(nmse[alone["plan"]], alone["nmse"])

    def test_threads_change_times_alone(self):
        one, many = (self.frontier("--repeats", 2, "--threads", threads, "normal:2000") for threads in (1, 3))
        self.assertEqual(without_times(one["plans"]), without_times(many["plans"]))
        self.assertEqual(one["skipped"], many["skipped"])

    def test_given_plans_stand_beside_the_catalogue(self):
        found = self.frontier("--plan", "quantize:bits=5", "--plan", "f32", "normal:1000", matching=["natural"])
        self.assertEqual([(plan["family"], plan["plan"]) for plan in found["plans"]][:2],
                         [("given", "quantize:bits=5"), ("given", "f32")])
        self.assertEqual({plan["family"] for plan in found["plans"][2:]}, {"natural"})

    def test_the_table_has_families_what_is_best_and_what_was_skipped(self):
        parts = ["EDEN", "flat", "topk", "separable"]
        found = self.frontier("normal:20000", matching=parts)
        text = self.ok("measure", "--frontier", "normal:20000", *words_of("--plans-matching", parts))
        for family in dict.fromkeys(plan["family"] for plan in found["plans"]):
            self.assertIn(f"\n\n{family}\n", text)
        for plan in found["plans"]:
            self.assertRegex(text, rf"(?m)^{re.escape(plan['plan'])} +{plan['bytes']:.0f} ")
        self.assertIn("\nskipped: trellis, 64 states, separable, 12 plans: no tensor has rows and columns\n", text)
        self.assertEqual(text.count("no tensor has rows and columns"), 4)
        self.assertIn("\nnormal:20000, 20000 coordinates, 3 repeats, seed 1.\n", text)
        best = re.findall(r"(?m)^([\d.]+) +(\S+) +\S+ +\S+ +(\S+) +\S+ +\S+$", text.split("\nleast error\n")[1])
        self.assertEqual([float(rate) for rate, _, _ in best], RATES)
        nmse = {plan["plan"]: plan["nmse"] for plan in found["plans"]}
        for rate, unbiased, any_ in best:
            fit = [plan for plan in found["plans"] if plan["bits_per_coordinate"] <= 1.05 * float(rate)]
            # Of three frames, of which each is wrong by something else: far below 2.
            kept = [plan for plan in fit if plan["unbiased"] and plan["bias_ratio"] < 2]
            for name, of in ((unbiased, kept), (any_, fit)):
                if name == "-":
                    self.assertEqual(of, [])
                else:
                    self.assertEqual(nmse[name], min(plan["nmse"] for plan in of))

    def test_refusals(self):
        self.save_update("a.npz", 1)
        np.savez(self.folder / "other.npz", weight=random_update((4, 5)))
        np.savez(self.folder / "renamed.npz", w=random_update((40, 50)), bias=random_update(50))
        self.save("z.npy", np.zeros(10, np.float32))
        self.save("nan.npy", np.array([1, np.nan], np.float32))
        (self.folder / "empty").mkdir()
        for words, arguments in {
            "INPUT is required": ["--frontier"],
            "--plan is required, or --frontier": ["normal:10"],
            "no plan of the catalogue contains 'none'": ["--frontier", "--plans-matching", "none", "normal:10"],
            "z.npy is zero": ["--frontier", "z.npy"],
            "nan.npy has values that are not finite": ["--frontier", "nan.npy"],
            "normal:0 is zero": ["--frontier", "normal:0"],
            "other.npz: its names and shapes are not those of a.npz": ["--frontier", "a.npz", "other.npz"],
            "renamed.npz: its names and shapes are not": ["--plan", "f32", "a.npz", "renamed.npz"],
            "--profile is of no use": ["--frontier", "--plans-matching", "flat", "--profile", "z.npy", "normal:10"],
            "z.npy: ": ["--frontier", "--profile", "z.npy", "a.npz"],
            "'normal:10' stands alone": ["--frontier", "a.npz", "normal:10"],
            "empty: no .npy or .npz in this folder": ["--frontier", "empty"],
            "missing: cannot be read": ["--frontier", "missing"],
            "bits=9 is not in 1..8": ["--frontier", "--plan", "quantize:bits=9", "normal:10"],
            "--threads requires --frontier": ["--plan", "f32", "--threads", "2", "normal:10"],
            "--plans-matching requires --frontier": ["--plan", "f32", "--plans-matching", "x", "normal:10"],
        }.items():
            self.assertIn(words, self.refused("measure", *arguments))


if __name__ == "__main__":
    unittest.main()
