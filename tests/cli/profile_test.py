"""Profiles from outside: rounds of `fewbits encode` and `aggregate --learn`, and what `decode`, `measure` and `describe`
make of them.

    profile_test.py PROGRAM
"""

import re
import unittest

import numpy as np

from program import ProgramTest, run

PLAN = "trellis:states=8,scale=profile,bits=1"
SEED = 5


def updates(seed, scale=1.0):
    """Matrices whose rows differ by up to 3 octaves, and a quiet vector."""
    random = np.random.default_rng(seed)
    rows = np.exp2(np.arange(32) % 4)[:, None]
    return {"w": (scale * rows * random.standard_normal((32, 40))).astype(np.float32),
            "b": (scale * 0.25 * random.standard_normal(32)).astype(np.float32)}


class ProfileTest(ProgramTest):
    def setUp(self):
        super().setUp()
        np.savez(self.folder / "like.npz", **updates(0))

    def given(self, command, plan=PLAN, profile=None, round_=None):
        return (command, "--plan", plan, *(("--profile", profile) if profile else ()), "--seed", SEED,
                *(("--round", round_) if round_ is not None else ()))

    def encode(self, round_, client, profile=None, plan=PLAN, scale=1.0):
        """The frame's size. Clients of all rounds have the same update."""
        np.savez(self.folder / f"u{client}.npz", **updates(client, scale))
        self.ok(*self.given("encode", plan, profile, round_), "--client", client, f"u{client}.npz", f"{client}.fb")
        return (self.folder / f"{client}.fb").stat().st_size

    def aggregate(self, round_, *options, profile=None, plan=PLAN, frames=("0.fb", "1.fb:3")):
        return self.json(*self.given("aggregate", plan, profile, round_), "--like", "like.npz", "--out", "mean.npz",
                         *options, *frames)

    def learn(self, *options):
        """A round without a profile, which leaves scales.state and 1.profile."""
        for client in range(2):
            self.encode(0, client)
        return self.aggregate(0, "--learn", "scales.state", "--next-profile", "1.profile", *options)

    def error(self, profile, client=0):
        self.ok(*self.given("decode", profile=profile), "--like", "like.npz", f"{client}.fb", "back.npz")
        with np.load(self.folder / "back.npz") as back, np.load(self.folder / f"u{client}.npz") as update:
            return (sum(np.sum((back[name] - update[name]) ** 2.0) for name in back.files)
                    / sum(np.sum(update[name] ** 2.0) for name in back.files))


class Rounds(ProfileTest):
    def test_the_profile_of_a_round_makes_the_next_ones_error_smaller(self):
        said = self.learn()
        self.assertEqual(said["rounds_learned"], 1)
        size = (self.folder / "1.profile").stat().st_size
        self.assertEqual(said["next_profile"], {"file": "1.profile", "bytes": size, "flat": False, "common_step": False})
        self.assertLess(size, 90)
        flat_error = np.mean([self.error(None, client) for client in range(2)])
        flat_size = (self.folder / "0.fb").stat().st_size
        # The scales of this net are worth 0.6 bits a value, NMSE 1/2 and less.
        self.encode(1, 0, "1.profile"), self.encode(1, 1, "1.profile")
        self.assertLess(np.mean([self.error("1.profile", client) for client in range(2)]), 0.75 * flat_error)
        self.assertAlmostEqual((self.folder / "0.fb").stat().st_size, flat_size, delta=8)
        said = self.aggregate(1, "--learn", "scales.state", "--next-profile", "2.profile", profile="1.profile")
        self.assertEqual(said["rounds_learned"], 2)
        self.encode(2, 0, "2.profile")
        self.assertLess(self.error("2.profile"), 0.75 * flat_error)

    def test_with_a_common_step_quiet_clients_send_less(self):
        said = self.learn("--common-step")
        self.assertTrue(said["next_profile"]["common_step"])
        sizes = [self.encode(1, 0, "1.profile", scale=scale) for scale in (8, 1, 0.125)]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertLess(1.2 * sizes[1], sizes[0])
        self.assertLess(1.2 * sizes[2], sizes[1])
        self.assertAlmostEqual(sizes[1], 32 * 41 / 8, delta=15)

    def test_the_mean_is_that_of_what_frames_decode_to(self):
        self.learn()
        for client in range(2):
            self.encode(1, client, "1.profile")
        self.aggregate(1, profile="1.profile")
        decoded = []
        for client in range(2):
            self.ok(*self.given("decode", profile="1.profile"), "--like", "like.npz", f"{client}.fb", "back.npz")
            with np.load(self.folder / "back.npz") as back:
                decoded.append({name: back[name].astype(np.float64) for name in back.files})
        with np.load(self.folder / "mean.npz") as mean:
            for name in mean.files:
                np.testing.assert_allclose(mean[name], (decoded[0][name] + 3 * decoded[1][name]) / 4, rtol=0, atol=1e-5)

    def test_it_learns_the_same_from_the_same_and_keeps_the_past(self):
        self.learn()
        one = self.contents()
        (self.folder / "scales.state").unlink()
        self.learn()
        self.assertEqual(self.contents(), one)
        # Once more, on top of it: another state, whose profile is that of one more round of the same energies.
        self.learn()
        again = self.contents()
        self.assertNotEqual(again["scales.state"], one["scales.state"])
        self.assertEqual(again["1.profile"], one["1.profile"])
        # Without a learner nothing is written but the mean.
        before = self.contents()
        self.aggregate(0)
        self.assertEqual(self.contents(), before)

    def test_of_zeros_nothing_is_learned(self):
        np.savez(self.folder / "zero.npz", w=np.zeros((32, 40), np.float32), b=np.zeros(32, np.float32))
        self.ok(*self.given("encode", round_=0), "zero.npz", "0.fb")
        said = self.aggregate(0, "--learn", "s.state", "--next-profile", "p", "--common-step", frames=("0.fb",))
        self.assertTrue(said["next_profile"]["flat"])
        self.assertFalse(said["next_profile"]["common_step"])
        # It says so, and frames with a flat profile are those without one.
        self.assertIn("p: 11 bytes, flat", self.ok(*self.given("aggregate", round_=0), "--like", "like.npz", "--out", "mean.npz",
                                                   "--learn", "s.state", "--next-profile", "p", "0.fb"))
        self.encode(1, 1, "p")
        with_flat = (self.folder / "1.fb").read_bytes()
        self.encode(1, 1)
        self.assertEqual((self.folder / "1.fb").read_bytes(), with_flat)

    def test_people_read_what_was_learned(self):
        self.learn()
        said = self.ok(*self.given("aggregate", round_=0), "--like", "like.npz", "--out", "mean.npz", "--learn", "scales.state",
                       "--next-profile", "p", "--common-step", "0.fb")
        self.assertRegex(said, r"\Amean.npz: mean of 1 clients, total weight 1\n"
                               r"scales.state: learned from 2 rounds\np: [0-9]+ bytes, with a common step\n\Z")


class MeasureAndDescribe(ProfileTest):
    def test_measure_uses_the_profile_for_the_plans_that_take_one(self):
        self.learn()
        np.savez(self.folder / "u.npz", **updates(0))
        plans = ("--plan", PLAN, "--plan", "f32")
        flat, exact = self.json("measure", *plans, "u.npz")
        own, exact_again = self.json("measure", *plans, "--profile", "1.profile", "u.npz")
        self.assertLess(own["nmse"], 0.75 * flat["nmse"])
        self.assertEqual(exact_again["bytes"], exact["bytes"])

    def test_describe_says_the_fingerprint_of_the_frames(self):
        self.learn()
        found = {}
        for profile in (None, "1.profile"):
            self.encode(1, 0, profile)
            said = self.json(*self.given("describe", profile=profile)[:-2], "--like", "like.npz")
            found[profile] = said["fingerprint"]
            self.assertEqual(said["fingerprint"], self.json("inspect", "0.fb")["fingerprint"])
        self.assertNotEqual(found[None], found["1.profile"])
        text = self.ok(*self.given("describe", profile="1.profile")[:-2], "--like", "like.npz")
        self.assertEqual(re.search(r"^fingerprint  ([0-9a-f]{16})", text, re.M)[1], found["1.profile"])


class Refusals(ProfileTest):
    def test_they_say_what_is_wrong_and_nothing_is_written(self):
        self.learn()
        good = (self.folder / "1.profile").read_bytes()
        (self.folder / "damaged.profile").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        (self.folder / "cut.profile").write_bytes(good[:9])
        (self.folder / "text.profile").write_text("hello")
        state = (self.folder / "scales.state").read_bytes()
        (self.folder / "damaged.state").write_bytes(state[:40] + bytes([state[40] ^ 1]) + state[41:])
        self.encode(1, 0, "1.profile")
        np.savez(self.folder / "other.npz", w=np.zeros((40, 32), np.float32), b=np.zeros(32, np.float32))
        encode = ("u0.npz", "a.fb")
        decode = ("--like", "like.npz", "0.fb", "back.npz")
        aggregate = ("--like", "like.npz", "--out", "m.npz")
        for words, arguments in {
            "damaged.profile: the profile is damaged": (*self.given("encode", profile="damaged.profile"), *encode),
            "cut.profile: the profile ends in its header": (*self.given("encode", profile="cut.profile"), *encode),
            "text.profile: no profile": (*self.given("encode", profile="text.profile"), *encode),
            "scales.state: no profile": (*self.given("encode", profile="scales.state"), *encode),
            "none.profile: cannot be read": (*self.given("encode", profile="none.profile"), *encode),
            "1.profile: the profile is that of another layout": (*self.given("encode", profile="1.profile"), "other.npz", "a.fb"),
            "--profile needs a plan with scale=profile": (*self.given("encode", "f32", "1.profile"), *encode),
            "made with another plan or layout, or another profile": (*self.given("decode"), *decode),
            "0.fb: ": (*self.given("aggregate", round_=1), *aggregate, "0.fb"),
            "--learn needs a plan with scale=profile": (*self.given("aggregate", "f32", round_=1), *aggregate, "--learn", "s", "0.fb"),
            "damaged.state: the learner's state is damaged": (*self.given("aggregate", profile="1.profile", round_=1), *aggregate,
                                                              "--learn", "damaged.state", "0.fb"),
            "1.profile: no learner's state": (*self.given("aggregate", profile="1.profile", round_=1), *aggregate,
                                              "--learn", "1.profile", "0.fb"),
            "none/s: cannot be written": (*self.given("aggregate", profile="1.profile", round_=1), *aggregate,
                                          "--learn", "none/s", "0.fb"),
            "none/p: cannot be written": (*self.given("aggregate", profile="1.profile", round_=1), *aggregate,
                                          "--learn", "s", "--next-profile", "none/p", "0.fb"),
            "--next-profile requires --learn": (*self.given("aggregate", round_=1), *aggregate, "--next-profile", "p", "0.fb"),
            "--common-step requires --next-profile": (*self.given("aggregate", round_=1), *aggregate, "--learn", "s",
                                                      "--common-step", "0.fb"),
            "needs a plan with scale=profile": ("measure", "--plan", "f32", "--profile", "1.profile", "u0.npz"),
            "'f32+pack' has none": ("describe", "--plan", "*=f32", "--profile", "1.profile", "--like", "like.npz"),
        }.items():
            self.assertIn(words, self.refused(*arguments))


if __name__ == "__main__":
    unittest.main()
