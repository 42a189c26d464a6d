"""`fewbits privacy` from outside: what it prints, the inverses, and what it refuses.

    privacy_test.py PROGRAM
"""

import unittest

from program import ProgramTest

FIELDS = ["q", "z", "rounds", "delta", "accountant", "epsilon", "epsilon_rdp", "order"]


class Privacy(ProgramTest):
    def test_json_has_these_fields(self):
        said = self.json("privacy", "--q", 0.01, "--z", 1.1, "--rounds", 10000, "--delta", 1e-5)
        self.assertEqual(list(said), FIELDS + ["warning"])
        self.assertEqual([said[name] for name in FIELDS[:5]], [0.01, 1.1, 10000, 1e-5, "pld"])
        self.assertAlmostEqual(said["epsilon_rdp"], 5.6320, places=4)
        self.assertEqual(said["order"], 4.7)
        self.assertAlmostEqual(said["epsilon"], 5.193, places=2)
        self.assertIsNone(said["warning"])

    def test_the_other_accountant(self):
        said = self.json("privacy", "--q", 0.01, "--z", 1.1, "--rounds", "1e4", "--delta", 1e-5, "--accountant", "rdp")
        self.assertEqual((said["accountant"], said["rounds"]), ("rdp", 10000))
        self.assertEqual(said["epsilon"], said["epsilon_rdp"])

    def test_words_tell_the_same(self):
        text = self.ok("privacy", "--q", 0.01, "--z", 1.1, "--rounds", 10000, "--delta", 1e-5)
        self.assertRegex(text, r"(?m)^epsilon +5\.19\d*, by the privacy loss distribution\n +5\.632, by Rényi divergences, at order 4\.7$")
        rows = [line.split() for line in text.splitlines() if " % " in line]
        self.assertEqual([(row[0], row[2]) for row in rows], [("10", "1000"), ("25", "2500"), ("50", "5000"), ("100", "10000")])
        for row in rows:
            said = self.json("privacy", "--q", 0.01, "--z", 1.1, "--rounds", row[2], "--delta", 1e-5)
            self.assertAlmostEqual(float(row[3]), said["epsilon"], delta=1e-4 * said["epsilon"])
            self.assertAlmostEqual(float(row[4]), said["epsilon_rdp"], delta=1e-4 * said["epsilon_rdp"])
        self.assertNotIn("warning", text)
        text = self.ok("privacy", "--q", 1, "--z", 10, "--rounds", 3, "--delta", 1e-5, "--accountant", "rdp")
        self.assertNotIn("loss distribution", text)
        self.assertEqual([line.split()[2] for line in text.splitlines() if " % " in line], ["1", "3"])

    def test_noise_for_a_budget(self):
        ask = ("privacy", "--q", 0.02, "--epsilon", 2, "--rounds", 1000, "--delta", 1e-6)
        for accountant in ("pld", "rdp"):
            said = self.json(*ask, "--accountant", accountant)
            self.assertEqual(list(said), FIELDS + ["target_epsilon", "z_rdp", "warning"])
            self.assertEqual(said["target_epsilon"], 2)
            self.assertLessEqual(said["epsilon"], 2)
            back = self.json("privacy", "--q", 0.02, "--z", repr(said["z"]), "--rounds", 1000, "--delta", 1e-6, "--accountant", accountant)
            self.assertAlmostEqual(back["epsilon"], 2, delta=2e-4)
            by_renyi = self.json("privacy", "--q", 0.02, "--z", repr(said["z_rdp"]), "--rounds", 1000, "--delta", 1e-6)
            self.assertAlmostEqual(by_renyi["epsilon_rdp"], 2, delta=2e-4)
            self.assertEqual(said["z"] < said["z_rdp"], accountant == "pld")
        self.assertRegex(self.ok(*ask), r"(?m)^z +\d\.\d+: the noise multiplier; \d\.\d+ by Rényi divergences$")

    def test_rounds_for_a_budget(self):
        ask = ("privacy", "--q", 0.02, "--z", 1, "--epsilon", 2, "--delta", 1e-6)
        said = self.json(*ask)
        self.assertEqual(list(said), FIELDS + ["target_epsilon", "rounds_rdp", "warning"])
        self.assertGreater(said["rounds"], said["rounds_rdp"])
        self.assertLessEqual(said["epsilon"], 2)
        for rounds, column in ((said["rounds"], "epsilon"), (said["rounds_rdp"], "epsilon_rdp")):
            at, after = (self.json("privacy", "--q", 0.02, "--z", 1, "--rounds", n, "--delta", 1e-6)[column] for n in (rounds, rounds + 1))
            self.assertTrue(at <= 2 < after)
        self.assertRegex(self.ok(*ask), rf"(?m)^rounds +{said['rounds']}; {said['rounds_rdp']} by Rényi divergences$")
        none = self.json("privacy", "--q", 1, "--z", 0.1, "--epsilon", 1, "--delta", 1e-6)
        self.assertEqual((none["rounds"], none["epsilon"]), (0, 0))
        self.assertRegex(self.ok("privacy", "--q", 1, "--z", 0.1, "--epsilon", 1, "--delta", 1e-6), r"(?m)^rounds +0")

    def test_delta_is_compared_with_the_clients(self):
        ask = ("privacy", "--q", 0.01, "--z", 1, "--rounds", 10, "--delta", 1e-4, "--clients")
        for clients, warned in ((9999, False), (10000, True), ("1e6", True)):
            self.assertEqual("warning: delta is not below 1/clients" in self.ok(*ask, clients), warned)
            self.assertEqual(self.json(*ask, clients)["warning"] is not None, warned)

    def test_what_makes_no_sense_is_refused(self):
        good = {"--q": 0.01, "--z": 1, "--rounds": 10, "--delta": 1e-5}
        def ask(**changes):
            options = good | {"--" + name: value for name, value in changes.items()}
            return self.refused("privacy", *[word for name, value in options.items() if value is not None for word in (name, value)])
        for words, changes in {
            "--q is required": {"q": None},
            "--delta is required": {"delta": None},
            "give two of --z, --epsilon and --rounds": {"epsilon": 1},
            "give two of": {"rounds": None},
            "z, the noise multiplier, is a finite number above 0, not 0": {"z": 0},
            "above 0, not nan": {"z": "nan"},
            "q, the chance of a client to take part in a round, is in (0, 1], not 1.5": {"q": 1.5},
            "delta is in (0, 1), not 1": {"delta": 1},
            "a budget of epsilon is a finite number above 0, not -2": {"epsilon": -2, "z": None},
            "--rounds is a whole number from 1 to 1e+09, not 0": {"rounds": 0},
            "not 1.5": {"rounds": 1.5},
            "not 2e+09": {"rounds": "2e9"},
            "--clients is a whole number": {"clients": 0},
            "pld": {"accountant": "moments"},
        }.items():
            self.assertIn(words, ask(**changes), changes)

    def test_help_has_an_example(self):
        self.assertIn("fewbits privacy --q 0.01 --z 1.1 --rounds 10000 --delta 1e-5", self.ok("privacy", "--help"))


if __name__ == "__main__":
    unittest.main()
