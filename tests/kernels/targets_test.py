"""The files of src/kernels/targets define no weak symbol but are compiled for different machines: of a function that the
linker merges it may keep the one that other machines cannot run.

    targets_test.py NM LIBRARY_OR_OBJECT..."""
import re
import subprocess
import sys

TARGETS = re.compile(r"^(portable|neon|avx2|avx512)\.cpp\.o(bj)?:$")


def main():
    nm, files = sys.argv[1], sys.argv[2:]
    listing = subprocess.run([nm, "-C", *files], check=True, capture_output=True, text=True).stdout
    target, seen, bad = None, set(), []
    for line in listing.splitlines():
        if line.endswith(":"):
            name = line.rsplit("/", 1)[-1]
            target = name if TARGETS.match(name) else None
            if target:
                seen.add(target)
        elif target and re.match(r"^[0-9a-f]* +[WVuwv] ", line):
            bad.append(f"{target} {line}")
    for line in bad:
        print("weak:", line)
    if "portable.cpp.o:" not in seen or len(seen) < 2:
        print("no targets found in", files)
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
