"""The installed package for C: what pkg-config says of it, and C99 programs built by nothing but a C compiler and that."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CLIENT = HERE.parent / "c" / "client.c"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1"]


def run(*command, env=None):
    done = subprocess.run([str(c) for c in command], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def pkg_config(prefix, *arguments):
    """Of the package under `prefix`, whatever the machine has beside it."""
    folders = {path.parent for path in prefix.rglob("fewbits.pc")}
    if len(folders) != 1:
        sys.exit(f"fewbits.pc is not installed once under {prefix}")
    env = {**os.environ, "PKG_CONFIG_LIBDIR": str(folders.pop())}
    env.pop("PKG_CONFIG_PATH", None)
    return run("pkg-config", *arguments, "fewbits", env=env).split()


def build(compiler, prefix, program, *sources):
    """Compiles and links; a shared library is found again where it was linked from."""
    libraries = {path.parent for path in prefix.rglob("libfewbits.so")}
    search = [f"-Wl,-rpath,{folder}" for folder in libraries]
    run(compiler, *STRICT, *sources, "-o", program, *pkg_config(prefix, "--cflags", "--libs"), *search)
    return program
