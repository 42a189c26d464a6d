"""The report of a real run, as a browser shows it.

    report_test.py PYTHONPATH PROGRAM
"""

import collections
import html.parser
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

PATH = os.path.abspath(sys.argv.pop(1))
PROGRAM = os.path.abspath(sys.argv.pop(1))
sys.path.insert(0, PATH)

import PIL.Image  # noqa: E402: behind the path
from optional import NO_SKIPS  # noqa: E402: beside this file

from fewbits import report  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LABEL = "<b>2 & 3</b>"   # of a plan, which must not become HTML


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.count = collections.Counter()
        self.loaded = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.count[tag] += 1
        self.loaded += [value for name, value in attributes if name in ("src", "href")]


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name, "run")
        subprocess.run([PROGRAM, "train", "--model", "softmax", "--rounds", "6", "--clients", "20", "--clients-per-round", "3", "--target", "none",
                        "--plan", "f32", "--plan", f"quantize:bits=2 @ label={LABEL}", "--out", cls.folder], check=True, capture_output=True)
        frontier = subprocess.run([PROGRAM, "measure", "--frontier", "--plans-matching", "EDEN", "--json", "--repeats", "1", "normal:4096"],
                                  check=True, capture_output=True).stdout
        (cls.folder / "frontier.json").write_bytes(frontier)
        environment = dict(os.environ, PYTHONPATH=PATH)
        cls.printed = subprocess.run([sys.executable, "-m", "fewbits", "report", cls.folder], env=environment, check=True, capture_output=True, text=True).stdout
        cls.file = cls.folder / "report.html"

    def test_one_file(self):
        self.assertEqual(self.printed.strip(), str(self.file))
        text = self.file.read_text()
        tags = Tags(text)
        self.assertEqual((tags.count["img"], tags.count["table"], tags.count["script"], tags.count["b"]), (3, 3, 0, 0))
        for source in tags.loaded:
            self.assertTrue(source.startswith("data:image/svg+xml;base64,"))
        self.assertIn("&lt;b&gt;2 &amp; 3&lt;/b&gt;", text)
        self.assertIn("softmax", text)

    def test_the_program_calls_it(self):
        environment = dict(os.environ, PYTHONPATH=PATH, PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
        other = self.folder / "other.html"
        done = subprocess.run([PROGRAM, "report", self.folder, "--out", other], env=environment, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, str(other)), done.stderr)
        self.assertEqual(other.read_text(), self.file.read_text())

    def test_folders_without_results(self):
        with self.assertRaisesRegex(ValueError, "results.jsonl not found"):
            report.write(self.folder / "none")
        self.assertFalse((self.folder / "none").exists())

    def test_in_a_browser(self):
        if BROWSER is None:
            (self.fail if NO_SKIPS else self.skipTest)("no chromium here: apt-get install chromium")
        with tempfile.TemporaryDirectory() as home:
            def browse(*options):
                return subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={home}",
                                       *options, self.file.resolve().as_uri()], capture_output=True, timeout=120, env=dict(os.environ, HOME=home))

            dom = browse("--dump-dom").stdout.decode()
            self.assertEqual(Tags(dom).count["img"], 3)
            shot = pathlib.Path(home, "shot.png")
            browse(f"--screenshot={shot}", "--window-size=1000,4000")
            picture = PIL.Image.open(shot).convert("RGB")
            pixels = {colour: count for count, colour in picture.crop((0, 0, 1000, 1600)).getcolors(2**24)}
            for colour in ((0xD5, 0x5E, 0x00), (0, 0, 0)):   # of the plans' lines: the pictures are there
                self.assertGreater(pixels.get(colour, 0), 100, colour)
            for narrow in (400, 1000):   # nothing is wider than the window
                browse(f"--screenshot={shot}", f"--window-size={narrow},3000")
                wide = PIL.Image.open(shot).convert("L")
                edge = wide.crop((narrow - 8, 0, narrow, 200)).getextrema()
                self.assertEqual(edge, (255, 255), "the heading runs into the edge")


if __name__ == "__main__":
    unittest.main()
