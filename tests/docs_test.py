"""The documents against the program: every stage of the registry, its id, parameters, ranges and defaults.

    docs_test.py PATH/TO/fewbits
"""
import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = sys.argv.pop()
LISTED = json.loads(subprocess.run([PROGRAM, "stages", "--json"], check=True, capture_output=True, text=True).stdout)
PRESETS = [entry for entry in LISTED if entry["roles"] == ["preset"]]
STAGES = [entry for entry in LISTED if entry not in PRESETS]


def sections(text):
    """Text under each heading, by heading."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


class Catalogue(unittest.TestCase):
    entries = sections((ROOT / "docs" / "codecs.md").read_text())

    def entries_of(self, name):
        return [body for heading, body in self.entries.items() if re.search(rf"[`=]{re.escape(name)}\b", heading)]

    def test_every_stage_has_an_entry_with_its_source(self):
        for stage in STAGES:
            with self.subTest(stage["name"]):
                entries = self.entries_of(stage["name"])
                self.assertTrue(entries)
                self.assertTrue(all("Source:" in entry for entry in entries))

    def test_parameter_tables_are_those_of_the_registry(self):
        for stage in STAGES:
            for parameter in stage["parameters"]:
                with self.subTest(stage=stage["name"], parameter=parameter["name"]):
                    rows = [row for entry in self.entries_of(stage["name"])
                            for row in re.findall(rf"^\| `{parameter['name']}` \| (.*?) \| (.*?) \|", entry, flags=re.M)]
                    self.assertEqual(len(rows), 1)
                    values, default = rows[0]
                    if parameter["type"] == "choice":
                        self.assertEqual(set(re.findall(r"\w+", values)), set(re.findall(r"\w+", parameter["range"])))
                    else:
                        self.assertEqual(values, parameter["range"])
                    self.assertEqual(default.strip("`"), parameter["default"] or ("none" if parameter["optional"] else "must be given"))

    def test_presets_are_those_of_the_program(self):
        rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.*?) \|$", self.entries["Names from the literature"], flags=re.M)
        self.assertEqual([(name, stages) for name, stages, _ in rows],
                         [(":".join([p["name"], *[f"{q['name']}={q['name'][0].upper()}" for q in p["parameters"]]]),
                           re.sub(r"\{(\w)\w*\}", lambda key: key[1].upper(), p["stages"])) for p in PRESETS])


class FrameFormat(unittest.TestCase):
    def test_the_table_of_ids_is_that_of_the_registry(self):
        text = (ROOT / "docs" / "frame-format.md").read_text()
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) ?\|$", text, flags=re.M)
        self.assertEqual([(int(id_), name) for id_, name, _ in rows], sorted((s["id"], s["name"]) for s in STAGES))
        for (_, name, parameters), stage in zip(rows, sorted(STAGES, key=lambda s: s["id"])):
            with self.subTest(name):
                self.assertEqual(re.findall(r"\w+", parameters.split(";")[0].replace("(*wish*)", "")),
                                 [p["name"] for p in stage["parameters"]])


if __name__ == "__main__":
    unittest.main()
