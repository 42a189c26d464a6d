"""The guides against the program: every command that docs/guides/*.md and docs/private.md show is run, and what it prints is compared.

    guides_test.py PATH/TO/fewbits

A block of shell commands has one of two info strings:

    sh            run as it stands, by `bash -e`; exit code 0. The block ```text right behind it is what it prints
    sh measured   too long for a test: run with one round (`--rounds 1`) and few test examples; exit code 0. What stands
                  behind it was measured, and is not compared

The blocks of a guide run in their order in one folder, empty at first, with the program as `fewbits`. What is printed must
have the lines of the guide: the same words, with a number where a number stands (or `-`, a target that is not reached).
Numbers may be off by a third or by 3, whichever is more, since the models' sums depend on the machine's BLAS and noise is drawn anew; in a column of
times any will do. What goes to stderr is not compared.

A block ```cpp has lines of own_model.cpp, which is built and run as a test of its own.

Where InstEval is missing (`make insteval`), blocks that need it are left out; with FEWBITS_NO_SKIPS=1 that fails.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
GUIDES = [*sorted((ROOT / "docs" / "guides").glob("*.md")), ROOT / "docs" / "private.md"]
PROGRAM = pathlib.Path(sys.argv.pop()).resolve()
NO_SKIPS = os.environ.get("FEWBITS_NO_SKIPS") == "1"
DATA = pathlib.Path(os.environ.get("FEWBITS_DATA", ROOT / "build" / "data"))   # where InstEval may be

SHELLS = ("sh", "sh measured")
OTHERS = ("text", "cpp", "python")
NUMBER = re.compile(r"(?<![\w.=])\d[\d,]*(?:\.\d+)?(?:x\b)?|(?<=\s)-(?=\s|$)")   # not in `bits=2`
TIMES = re.compile(r"codec time %|\w+ ns/coord")


def blocks(text):
    """(info string, body, number of the line) of each fenced block, and what stands right behind each."""
    found = [(match[1], match[2], text[:match.start()].count("\n") + 1, match.end(), match.start())
             for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, flags=re.M | re.S)]
    for i, (info, body, line, end, _) in enumerate(found):
        behind = found[i + 1] if i + 1 < len(found) and not text[end:found[i + 1][4]].strip() else None
        yield info, body, line, behind[1] if behind and behind[0] == "text" else None


def shortened(commands):
    """The same with one round a run."""
    commands = re.sub(r"--(rounds|eval-every) \d+", r"--\1 1", commands)
    commands = re.sub(r" --eval-examples \d+", "", commands)
    return re.sub(r"\bfewbits train\b", "fewbits train --eval-examples 100", commands)


def cells_of(text):
    """Lines as lists of cells, which two blanks or more part; what stands under a heading of times is left out."""
    lines, headings = [], []
    for line in text.rstrip("\n").split("\n"):
        cells = re.split(r" {2,}", line.strip())
        if any(TIMES.fullmatch(cell) for cell in cells):
            headings = cells
        elif len(cells) == len(headings):
            cells = [cell for cell, heading in zip(cells, headings) if not TIMES.fullmatch(heading)]
        lines.append(cells)
    return lines


def near(shown, printed):
    if "-" in (shown, printed):
        return True
    a, b = (float(text.replace(",", "").rstrip("x")) for text in (shown, printed))
    return abs(a - b) <= max(3, max(abs(a), abs(b)) / 3)


def difference(shown, printed):
    """In words, or nothing."""
    shown, printed = cells_of(shown), cells_of(printed)
    if len(shown) != len(printed):
        return f"{len(printed)} lines, the guide has {len(shown)}"
    for want, have in zip(shown, printed):
        want, have = "  ".join(want), "  ".join(have)
        if NUMBER.sub("N", want) != NUMBER.sub("N", have):
            return f"printed: {have}\nguide:   {want}"
        for a, b in zip(NUMBER.findall(want), NUMBER.findall(have)):
            if not near(a, b):
                return f"{b}, the guide has {a}\nprinted: {have}\nguide:   {want}"
    return None


class Guides(unittest.TestCase):
    def environment(self, folder):
        programs = pathlib.Path(folder) / "bin"
        programs.mkdir()
        (programs / "fewbits").symlink_to(PROGRAM)
        return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "FEWBITS_DATA": str(DATA)}

    def has(self, commands):
        if "insteval" not in commands or (DATA / "insteval" / "insteval.csv").exists():
            return True
        self.assertFalse(NO_SKIPS, "no InstEval here: make insteval")
        print("left out, since there is no InstEval (make insteval):", commands, file=sys.stderr)
        return False

    def run_guide(self, guide):
        with tempfile.TemporaryDirectory() as programs, tempfile.TemporaryDirectory() as folder:
            environment = self.environment(programs)
            for info, commands, line, shown in blocks(guide.read_text()):
                if info not in SHELLS or not self.has(commands):
                    continue
                with self.subTest(guide=guide.name, line=line):
                    measured = info == "sh measured"
                    done = subprocess.run(["bash", "-ec", shortened(commands) if measured else commands], cwd=folder,
                                          env=environment, capture_output=True, text=True, timeout=240)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    if not measured:
                        self.assertIsNone(difference(shown or "\n", done.stdout or "\n"))

    def test_blocks_are_marked(self):
        for guide in GUIDES:
            for info, commands, line, shown in blocks(guide.read_text()):
                with self.subTest(guide=guide.name, line=line):
                    self.assertIn(info, SHELLS + OTHERS)
                    if "fewbits " in commands and info in SHELLS:
                        self.assertTrue(shown is not None or "--out" in commands, "shows no output")

    def test_excerpts_are_of_the_program_that_is_built(self):
        source = (ROOT / "docs" / "guides" / "own_model.cpp").read_text().splitlines()
        for guide in GUIDES:
            for info, code, _, _ in blocks(guide.read_text()):
                for line in code.splitlines() if info == "cpp" else []:
                    self.assertIn(line, source)

    def test_the_readme_names_every_guide(self):
        readme = (ROOT / "README.md").read_text()
        self.assertTrue(GUIDES)
        for guide in GUIDES:
            self.assertIn(f"({guide.relative_to(ROOT)})", readme)

    def test_links_of_the_guides_lead_somewhere(self):
        for guide in GUIDES:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text()):
                with self.subTest(guide=guide.name, target=target):
                    self.assertTrue((guide.parent / target).exists())


class Comparing(unittest.TestCase):
    """That what the comparison says can be relied on."""

    TABLE = "plan  best %  rounds to target  codec time %\nf32    81.90                53           2.3\ntarget 80.26 %\n"

    def test_numbers_that_are_near_pass_and_others_do_not(self):
        self.assertIsNone(difference(self.TABLE, self.TABLE.replace("81.90", "80.10").replace("53", "49")))
        self.assertIsNone(difference(self.TABLE, self.TABLE.replace(" 2.3", "91.0")))
        self.assertIsNotNone(difference(self.TABLE, self.TABLE.replace(" 2.3", "91.0").replace("codec time %", "final %")))
        self.assertIsNone(difference(self.TABLE, self.TABLE.replace("53", " -")))
        self.assertIsNotNone(difference(self.TABLE, self.TABLE.replace("81.90", "41.90")))
        self.assertIsNotNone(difference(self.TABLE, self.TABLE.replace("53", "83")))

    def test_other_words_and_lines_do_not_pass(self):
        self.assertIsNotNone(difference(self.TABLE, self.TABLE.replace("f32", "f16")))
        self.assertIsNotNone(difference(self.TABLE, self.TABLE.replace("best", "last")))
        self.assertIsNotNone(difference(self.TABLE, self.TABLE + "f32: stopped\n"))

    def test_long_commands_are_shortened(self):
        self.assertEqual(shortened("fewbits train --rounds 60 --eval-every 5 --eval-examples 9 --plan f32"),
                         "fewbits train --eval-examples 100 --rounds 1 --eval-every 1 --plan f32")


# A test a guide.
for path in GUIDES:
    setattr(Guides, f"test_{path.stem.replace('-', '_')}", lambda self, path=path: self.run_guide(path))

if __name__ == "__main__":
    unittest.main()
