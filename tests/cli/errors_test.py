"""Help, version, bad calls and lost readers of the whole program.

    errors_test.py PROGRAM
"""

import os
import re
import subprocess
import unittest

from program import COMMANDS, PROGRAM, ROOT, ProgramTest


class Help(ProgramTest):
    def test_every_command_has_help_with_examples(self):
        top = self.ok("--help")
        self.assertIn("Examples:\n  fewbits ", top)
        for command in COMMANDS:
            self.assertRegex(top, rf"(?m)^  {command} +\S")
            for flag in ("--help", "-h"):
                text = self.ok(command, flag)
                self.assertRegex(text, rf"Examples?:\n  fewbits {command}\b")

    def test_examples_name_only_options_that_exist(self):
        for command in COMMANDS:
            usage, examples = re.split(r"Examples?:\n", self.ok(command, "--help"))
            for option in re.findall(r" (--[a-z-]+)", examples):
                self.assertIn(option, usage, command)

    def test_the_version_is_that_of_the_build(self):
        version = re.search(r"project\(fewbits VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
        self.assertEqual(self.ok("--version"), f"fewbits {version}\n")


class Refusals(ProgramTest):
    def test_a_bad_call_is_one_line_that_points_to_the_help(self):
        for words, arguments in {
            "A subcommand is required; see fewbits --help": (),
            "see fewbits --help": ("measur",),
            "--jason": ("stages", "--jason"),
            "see fewbits stages --help": ("stages", "--jason"),
            "see fewbits describe --help": ("describe", "--size"),
            "--seed": ("encode", "--plan", "f32", "--seed", "x", "a", "b"),
            "--seed: '-1' is no whole number from 0 to 2^64 - 1; see fewbits encode":
                ("encode", "--plan", "f32", "--seed", -1, "a", "b"),
            "--client: '-1' is no whole number": ("encode", "--plan", "f32", "--client", -1, "a", "b"),
            "'18446744073709551616' is no whole number": ("encode", "--plan", "f32", "--client", 2**64, "a", "b"),
            "see fewbits aggregate --help":
                ("aggregate", "--plan", "f32", "--round", 2**32, "--size", 1, "--out", "m.npy", "a"),
        }.items():
            self.assertIn(words, self.refused(*arguments))

    def test_a_line_end_in_an_argument_does_not_break_the_line(self):
        self.refused("describe", "--plan", "f32\nf32")
        self.refused("inspect", "no\nfile")


class LostReaders(ProgramTest):
    def stages_into(self, stdout, **options):
        return subprocess.run([PROGRAM, "stages"], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, **options)

    def test_a_closed_pipe_is_no_error_to_speak_of(self):
        for restore_signals, codes in ((True, (-13, 141)), (False, (141,))):  # ended by SIGPIPE, and where that is ignored
            reader, writer = os.pipe()
            os.close(reader)
            done = self.stages_into(writer, restore_signals=restore_signals)
            os.close(writer)
            self.assertIn(done.returncode, codes)
            self.assertEqual(done.stderr, "")

    def test_a_full_disk_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = self.stages_into(full)
        self.assertEqual((done.returncode, done.stderr), (1, "fewbits: cannot write the output\n"))


if __name__ == "__main__":
    unittest.main()
