"""`fewbits encode`, `decode` and `aggregate` from outside.

    frames_test.py PROGRAM
"""

import re
import unittest

import numpy as np

from program import ProgramTest, random_update, run
from frame_format import read_header

PLAN = "hadamard+quantize:bits=4"


class EncodeAndDecode(ProgramTest):
    def test_what_f32_sends_comes_back_as_it_was(self):
        for shape in ((100,), (7, 9), (2, 3, 4), (), (0,), (3, 0)):
            update = self.save("u.npy", random_update(shape))
            self.ok("encode", "--plan", "f32", "u.npy", "a.fb")
            self.ok("decode", "--plan", "f32", "--like", "u.npy", "a.fb", "back.npy")
            back = self.load("back.npy")
            self.assertEqual((back.dtype, back.shape), (np.dtype("<f4"), shape))
            np.testing.assert_array_equal(back, update)

    def test_arrays_of_an_npz_keep_names_shapes_and_order(self):
        arrays = {"z/w": random_update((4, 5)), "b": random_update(3), "été": random_update(())}
        for save in (np.savez, np.savez_compressed):
            save(self.folder / "u.npz", **arrays)
            self.ok("encode", "--plan", "f32", "u.npz", "a.fb")
            self.ok("decode", "--plan", "f32", "--like", "u.npz", "a.fb", "back.npz")
            with np.load(self.folder / "back.npz") as back:
                self.assertEqual(back.files, list(arrays))
                for name, array in arrays.items():
                    self.assertEqual(back[name].shape, array.shape)
                    np.testing.assert_array_equal(back[name], array)

    def test_other_types_are_converted_to_float32(self):
        for dtype in ("f8", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"):
            update = self.save("u.npy", np.array([0, 1, 0, 100, 3], dtype))
            self.ok("encode", "--plan", "f32", "u.npy", "a.fb")
            self.ok("decode", "--plan", "f32", "--size", 5, "a.fb", "back.npy")
            np.testing.assert_array_equal(self.load("back.npy"), update.astype(np.float32))

    def test_size_and_like_name_the_same_layout_for_a_vector(self):
        self.save("u.npy", random_update(1024))
        self.ok("encode", "--plan", PLAN, "--seed", 3, "--round", 2, "--client", 9, "u.npy", "a.fb")
        for given in (("--size", "1024"), ("--size", "2^10"), ("--size", "1.024e3"), ("--like", "u.npy")):
            self.ok("decode", "--plan", PLAN, "--seed", 3, *given, "a.fb", given[1] + ".back.npy")
            np.testing.assert_array_equal(self.load(given[1] + ".back.npy"), self.load("1024.back.npy"))

    def test_an_array_without_name_is_the_update_of_an_npz(self):
        update = self.save("u.npy", random_update((3, 4)))
        self.ok("encode", "--plan", "f32", "u.npy", "a.fb")
        self.ok("decode", "--plan", "f32", "--like", "u.npy", "a.fb", "back.npz")
        with np.load(self.folder / "back.npz") as back:
            self.assertEqual(back.files, ["update"])
            np.testing.assert_array_equal(back["update"], update)

    def test_a_frame_depends_on_its_plan_seed_round_and_client_alone(self):
        self.save("u.npy", random_update(300))
        given = {"--plan": "mask:keep=0.5+quantize:bits=2", "--seed": 5, "--round": 6, "--client": 7}

        def frame(**changed):
            options = given | {"--" + key: value for key, value in changed.items()}
            self.ok("encode", *(word for pair in options.items() for word in pair), "u.npy", "a.fb")
            return (self.folder / "a.fb").read_bytes()
        first = frame()
        self.assertEqual(frame(), first)
        self.assertEqual(frame(plan="mask:seed=client,keep=5e-1 + quantize:bits=2+pack"), first)
        others = [frame(seed=4), frame(round=5), frame(client=8), frame(plan="mask:keep=0.5+quantize:bits=3")]
        self.assertEqual(len({first, *others}), 5)
        header = read_header(first)
        self.assertEqual((header["round"], header["client"]), (6, 7))

    def test_what_is_said_of_a_frame_is_its_length(self):
        self.save("u.npy", random_update(1000))
        said = self.json("encode", "--plan", PLAN, "u.npy", "a.fb")
        size = (self.folder / "a.fb").stat().st_size
        self.assertEqual(said, {"frame": "a.fb", "plan": "hadamard:seed=round+quantize:bits=4,block=0+pack",
                                "coordinates": 1000, "bytes": size, "bits_per_coordinate": 8 * size / 1000, "energy_outside": 0})
        self.assertEqual(self.ok("encode", "--plan", PLAN, "u.npy", "a.fb"),
                         f"a.fb: {size} bytes, {8 * size / 1000:.4g} bits a coordinate\n")
        self.ok("encode", "--plan", PLAN, "--round", 3, "--client", 17, "u.npy", "a.fb")
        self.assertEqual(self.json("decode", "--plan", PLAN, "--size", 1000, "a.fb", "b.npy"),
                         {"update": "b.npy", "coordinates": 1000, "round": 3, "client": 17})
        self.assertEqual(self.ok("decode", "--plan", PLAN, "--size", 1000, "a.fb", "b.npy"),
                         "b.npy: 1000 coordinates, round 3, client 17\n")

    def test_a_structured_plan_sends_the_nearest_member_and_says_what_is_lost(self):
        x = self.save("u.npy", random_update((20, 30))).astype(np.float64)
        for family in ("mask:keep=0.25", "lowrank:rank=5"):
            plan = ("--plan", f"train={family} | f32", "--seed", 4)
            done = run("encode", *plan, "--round", 3, "u.npy", "a.fb", cwd=self.folder)
            self.assertEqual(done.returncode, 0)
            self.ok("decode", *plan, "--like", "u.npy", "a.fb", "member.npy")
            member = self.load("member.npy")
            self.assertEqual(member.shape, (20, 30))
            outside = np.sum((x - member) ** 2) / np.sum(x**2)
            said = re.fullmatch(r"fewbits: ([0-9.]+) % of the update's energy lies outside .*\n", done.stderr)
            self.assertAlmostEqual(float(said[1]) / 100, outside, delta=1e-4)
            # The projection is orthogonal, a member stays what it is, and so there is nothing to say.
            self.assertAlmostEqual(np.sum((x - member) * member) / np.sum(x**2), 0, delta=1e-6)
            self.ok("encode", *plan, "--round", 3, "member.npy", "b.fb")
            self.ok("decode", *plan, "--like", "u.npy", "b.fb", "again.npy")
            np.testing.assert_allclose(self.load("again.npy"), member, rtol=0, atol=1e-5)
            # Another round has another family.
            self.assertIn("outside", run("encode", *plan, "--round", 4, "member.npy", "b.fb", cwd=self.folder).stderr)

    def test_bad_input_is_refused_and_nothing_written(self):
        self.save("u.npy", random_update(64))
        self.save("nan.npy", np.array([1, 2, np.nan], np.float32))
        self.save("fortran.npy", np.asfortranarray(random_update((3, 4))))
        np.savez(self.folder / "two.npz", a=random_update(30), b=random_update(34))
        (self.folder / "text.npy").write_text("hello")
        self.ok("encode", "--plan", PLAN, "u.npy", "good.fb")
        good = (self.folder / "good.fb").read_bytes()
        (self.folder / "damaged.fb").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        (self.folder / "cut.fb").write_bytes(good[:-1])
        (self.folder / "text.fb").write_text("hello")
        self.save("old.npy", random_update(5))  # an output that is there stays as it is
        decode = ("decode", "--plan", PLAN)
        for words, arguments in {
            "no stage is named 'nothing'": ("encode", "--plan", "nothing", "u.npy", "a.fb"),
            "(position 18 of the plan)": ("encode", "--plan", "hadamard+quantize:bats=4", "u.npy", "a.fb"),
            "nan at coordinate 2": ("encode", "--plan", PLAN, "nan.npy", "a.fb"),
            "fortran.npy: the array is in Fortran order": ("encode", "--plan", PLAN, "fortran.npy", "a.fb"),
            "text.npy: not an .npy": ("encode", "--plan", PLAN, "text.npy", "a.fb"),
            "none.npy: cannot be read: No such file": ("encode", "--plan", PLAN, "none.npy", "a.fb"),
            "none/a.fb: cannot be written": ("encode", "--plan", PLAN, "u.npy", "none/a.fb"),
            "round 268435456 is over 268435455": ("encode", "--plan", PLAN, "--round", 2**28, "u.npy", "a.fb"),
            "--round": ("encode", "--plan", PLAN, "--round", -1, "u.npy", "a.fb"),
            "FRAME is required": ("encode", "--plan", PLAN, "u.npy"),
            "--plan is required": ("encode", "u.npy", "a.fb"),
            "give --size N or --like FILE": (*decode, "good.fb", "old.npy"),
            "--size excludes --like": (*decode, "--size", 64, "--like", "u.npy", "good.fb", "old.npy"),
            "another plan or layout": (*decode, "--size", 65, "good.fb", "old.npy"),
            "made with another plan": ("decode", "--plan", "quantize:bits=4", "--size", 64, "good.fb", "old.npy"),
            "checksum": (*decode, "--size", 64, "damaged.fb", "old.npy"),
            "fewbits: ": (*decode, "--size", 64, "cut.fb", "old.npy"),
            "fewbits:": (*decode, "--size", 64, "text.fb", "old.npy"),
            "must end in .npy or .npz": (*decode, "--size", 64, "good.fb", "back.txt"),
            "write an .npz": ("decode", "--plan", PLAN, "--like", "two.npz", "good.fb", "old.npy"),
        }.items():
            self.assertIn(words, self.refused(*arguments))


class Aggregate(ProgramTest):
    def frames(self, plan, updates, round_=3, seed=5):
        for client, update in enumerate(updates):
            self.save(f"u{client}.npy", update)
            self.ok("encode", "--plan", plan, "--seed", seed, "--round", round_, "--client", client,
                    f"u{client}.npy", f"{client}.fb")

    def mean(self, plan, *frames, round_=3, seed=5, like="u0.npy"):
        self.ok("aggregate", "--plan", plan, "--seed", seed, "--round", round_, "--like", like, "--out", "mean.npy", *frames)
        return self.load("mean.npy")

    def test_it_is_the_weighted_mean_of_what_each_frame_decodes_to(self):
        weights = [1, 600, 2.5, 37]
        for plan in ("f32", PLAN, "mask:keep=0.25+quantize:bits=2+zstd", "hadamard+mask:keep=0.5,seed=round+bf16"):
            self.frames(plan, [random_update((8, 16), seed) for seed in range(4)])
            decoded = [self.decoded(plan, 5, "u0.npy", f"{client}.fb") for client in range(4)]
            mean = self.mean(plan, "0.fb", "1.fb:600", "2.fb:2.5", "3.fb:3.7e1")
            self.assertEqual(mean.shape, (8, 16))
            # float64 sums, rounded once; behind a rotation in float32: a few roundings of the largest coefficients.
            np.testing.assert_allclose(mean, np.average(decoded, axis=0, weights=weights), rtol=0, atol=2e-6)
            np.testing.assert_allclose(self.mean(plan, "2.fb:2.5", "3.fb:37", "0.fb:1", "1.fb:600"), mean, rtol=0, atol=1e-6)

    def test_a_structured_mean_is_expanded_once(self):
        for family in ("mask:keep=0.25", "lowrank:rank=5"):
            plan = f"train={family} | quantize:bits=8"
            for client in range(3):
                self.save(f"u{client}.npy", random_update((20, 30), client))
                run("encode", "--plan", plan, "--seed", 5, "--round", 3, "--client", client,
                    f"u{client}.npy", f"{client}.fb", cwd=self.folder)
            decoded = [self.decoded(plan, 5, "u0.npy", f"{client}.fb") for client in range(3)]
            mean = self.mean(plan, "0.fb:2", "1.fb", "2.fb")
            np.testing.assert_allclose(mean, np.average(decoded, axis=0, weights=[2, 1, 1]), rtol=0, atol=1e-5)

    def test_clients_share_the_coordinates_out_by_their_places(self):
        plan, update = "permk:cohort=3+f32", random_update(20)
        self.save("u.npy", update)
        for place, client in enumerate((70, 7, 1)):
            self.ok("encode", "--plan", plan, "--round", 3, "--client", client, "--cohort", 3, "--place", place,
                    "u.npy", f"{place}.fb")
            self.ok("decode", "--plan", plan, "--cohort", 3, "--place", place, "--like", "u.npy", f"{place}.fb", "back.npy")
            back = self.load("back.npy")
            self.assertIn(np.count_nonzero(back), (6, 7))
            np.testing.assert_allclose(back[back != 0], 3 * update[back != 0], rtol=1e-6)
        given = ("aggregate", "--plan", plan, "--round", 3, "--like", "u.npy", "--out", "mean.npy")
        self.ok(*given, "--cohort", 3, "0.fb", "1.fb", "2.fb")
        np.testing.assert_array_equal(self.load("mean.npy"), update)
        self.assertIn("made for 3 clients a round", self.refused(*given, "0.fb", "1.fb", "2.fb"))
        self.assertIn("made for 3 clients a round", self.refused("encode", "--plan", plan, "u.npy", "a.fb"))
        self.assertIn("place 3 in a cohort of 3",
                      self.refused("encode", "--plan", plan, "--cohort", 3, "--place", 3, "u.npy", "a.fb"))

    def test_names_and_shapes_go_through(self):
        arrays = {"w": random_update((4, 5)), "b": random_update(3)}
        np.savez(self.folder / "u.npz", **arrays)
        self.ok("encode", "--plan", "f32", "--round", 3, "u.npz", "a.fb")
        self.ok("aggregate", "--plan", "f32", "--round", 3, "--like", "u.npz", "--out", "mean.npz", "a.fb:7")
        with np.load(self.folder / "mean.npz") as mean:
            self.assertEqual(mean.files, list(arrays))
            for name, array in arrays.items():
                np.testing.assert_array_equal(mean[name], array)

    def test_only_a_number_behind_the_last_colon_of_a_missing_file_is_a_weight(self):
        self.frames("f32", [np.zeros(2, np.float32), np.ones(2, np.float32)])
        (self.folder / "0.fb").rename(self.folder / "a:b:0.fb")
        (self.folder / "1.fb").rename(self.folder / "c:3")
        np.testing.assert_array_equal(self.mean("f32", "a:b:0.fb", "c:3"), np.float32([0.5, 0.5]))
        np.testing.assert_array_equal(self.mean("f32", "a:b:0.fb", "c:3:3"), np.float32([0.75, 0.75]))

    def test_it_says_how_many_clients_and_how_much_weight(self):
        self.frames("f32", [random_update(4, seed) for seed in range(2)])
        given = ("aggregate", "--plan", "f32", "--seed", 5, "--round", 3, "--size", 4, "--out", "mean.npy", "0.fb", "1.fb:600")
        self.assertEqual(self.json(*given), {"mean": "mean.npy", "coordinates": 4, "clients": 2, "weight": 601})
        self.assertEqual(self.ok(*given), "mean.npy: mean of 2 clients, total weight 601\n")

    def test_a_frame_that_is_refused_ends_it_and_nothing_is_written(self):
        self.frames("f32", [random_update(8, 1), np.full(8, 50, np.float32)])
        self.frames("f32", [random_update(8, 1)], round_=4)
        (self.folder / "0.fb").rename(self.folder / "later.fb")
        self.frames("f32", [random_update(8, 1), np.full(8, 50, np.float32)])
        good = (self.folder / "0.fb").read_bytes()
        (self.folder / "damaged.fb").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        self.save("mean.npy", random_update(3))
        given = ("aggregate", "--plan", "f32", "--seed", 5, "--round", 3, "--size", 8, "--out", "mean.npy")
        for words, arguments in {
            "0.fb: client 0 is in the sum already": ("0.fb", "1.fb", "0.fb"),
            "later.fb: ": ("1.fb", "later.fb"),
            "damaged.fb: ": ("damaged.fb",),
            "none.fb: cannot be read": ("none.fb",),
            "none.fb: cannot be read:": ("0.fb", "none.fb:5"),
            "'x' is no weight": ("none.fb:x",),
            "'' is no weight": ("0.fb:",),
            "weight must be positive and finite; client 1 has 0": ("0.fb", "1.fb:0"),
            "weight must be positive and finite; client 0 has -1": ("0.fb:-1",),
            "weight must be positive and finite; client 0 has nan": ("0.fb:nan",),
            "weight must be positive and finite; client 0 has inf": ("0.fb:inf",),
            "0.fb: weight 20.000000 of client 0 is over the limit of 10": ("--max-weight", 10, "0.fb:20"),
            "1.fb: client 1 sends a magnitude of up to 50": ("--max-abs", 49, "0.fb", "1.fb"),
            "FRAMES is required": (),
        }.items():
            self.assertIn(words, self.refused(*given, *arguments))
        self.assertIn("must end in .npy or .npz", self.refused(*given[:-1], "mean.txt", "0.fb"))
        self.assertIn("--round is required", self.refused("aggregate", "--plan", "f32", "--size", 8, "--out", "m.npy", "0.fb"))
        self.assertIn("--out is required", self.refused("aggregate", "--plan", "f32", "--size", 8, "--round", 3, "0.fb"))
        self.assertIn("give --size N or --like FILE",
                      self.refused("aggregate", "--plan", "f32", "--round", 3, "--out", "m.npy", "0.fb"))
        self.ok(*given, "--max-abs", 50, "--max-weight", 20, "0.fb:20", "1.fb")


if __name__ == "__main__":
    unittest.main()
