"""The library as a phone has it: cross_test.py CMAKE BUILD_FOLDER QEMU NATIVE_CLIENT.

Cross-compiles and installs the library for 64-bit ARM, builds the client in C with the target's C compiler and pkg-config,
runs it on an emulated machine, and compares its frames byte for byte with those of this machine's client.
"""

import os
import pathlib
import shutil
import sys

import c_package
from c_package import run

SOURCE = c_package.HERE.parent.parent
ARM = 183  # e_machine of an ELF file


def main():
    cmake, build, qemu, native = sys.argv[1:]
    scratch = pathlib.Path(build) / "tests" / "cross"
    library, prefix = scratch / "library", scratch / "prefix"
    shutil.rmtree(prefix, ignore_errors=True)
    run(cmake, "-S", SOURCE, "-B", library, f"-DCMAKE_TOOLCHAIN_FILE={SOURCE / 'cmake' / 'aarch64-linux-gnu.cmake'}",
        "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O1",   # sooner built
        "-DFEWBITS_BUILD_PROGRAM=OFF", "-DFEWBITS_BUILD_TESTS=OFF", "-DFEWBITS_WERROR=ON")
    run(cmake, "--build", library, "--parallel", os.cpu_count())
    run(cmake, "--install", library, "--prefix", prefix)

    client = c_package.build("aarch64-linux-gnu-gcc", prefix, scratch / "client", c_package.CLIENT)
    machine = int.from_bytes(client.read_bytes()[18:20], "little")
    if machine != ARM:
        sys.exit(f"{client} is for machine {machine}, not {ARM}")
    phone, here = scratch / "phone.frames", scratch / "here.frames"
    print(run(qemu, "-L", "/usr/aarch64-linux-gnu", client, phone))
    run(native, here)
    if not here.read_bytes() or phone.read_bytes() != here.read_bytes():
        sys.exit(f"{phone} and {here} differ: frames depend on the machine")
    print(f"{here.stat().st_size} bytes of frames are the same on both machines")


if __name__ == "__main__":
    main()
