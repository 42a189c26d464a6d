"""The fewbits program, and the commands that need Python: `fewbits`, or `python -m fewbits`."""

import os
import pathlib
import sys

PROGRAM = pathlib.Path(__file__).parent / "bin" / "fewbits"

MISSING = """fewbits: this installation has no program: what it needs was not found when the package was built (Eigen, oneTBB, CLI11,
nlohmann-json, zlib, libzip, Botan, OpenBLAS; on Debian and Ubuntu `tools/setup.sh` in the sources installs them).
`fewbits report FOLDER` and the package itself work without."""


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["report"]:
        try:
            from fewbits import report
        except ModuleNotFoundError as error:
            sys.exit(f"fewbits: a report needs {error.name}: pip install matplotlib")
        report.main(arguments[1:])
    elif PROGRAM.exists():
        os.execv(PROGRAM, ["fewbits", *arguments])
    else:
        sys.exit(MISSING)


if __name__ == "__main__":
    main()
