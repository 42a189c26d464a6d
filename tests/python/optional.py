"""What only some tests need. Where it is missing they are skipped, and say so; with FEWBITS_NO_SKIPS=1 they fail."""

import importlib
import os
import sys

SKIPPED = 77   # of the tests' exit codes, as ctest knows
NO_SKIPS = os.environ.get("FEWBITS_NO_SKIPS") == "1"


def need(*modules):
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            missing(f"{module} cannot be imported ({error}): tools/setup.sh test installs it where it can be had")


def missing(what):
    print(f"skipped: {what}", file=sys.stderr, flush=True)
    sys.exit(1 if NO_SKIPS else SKIPPED)
