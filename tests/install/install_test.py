"""The installed package, used from outside: install_test.py static|shared CMAKE BUILD_FOLDER COMPILER C_COMPILER.

Installs the library into an empty prefix, builds the project in consumer/ against nothing but that prefix, runs it, and
compiles every installed header alone. Programs in C, the sample of README.md among them, are built by pkg-config.
`static` installs the build folder; `shared` makes a build of its own.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

import c_package

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent

# A consumer needs no pkg-config, and no environment that points to another fewbits.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("CMAKE_PREFIX", "fewbits_", "PKG_CONFIG"))}
ENVIRONMENT["PKG_CONFIG"] = "/bin/false"


def run(*command, expect=0):
    done = subprocess.run([str(c) for c in command], env=ENVIRONMENT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if (done.returncode == 0) != (expect == 0):
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def shared_build(cmake, folder, compiler):
    run(cmake, "-S", SOURCE, "-B", folder, f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_BUILD_TYPE=Debug",   # sooner built
        "-DBUILD_SHARED_LIBS=ON", "-DFEWBITS_BUILD_PROGRAM=OFF", "-DFEWBITS_BUILD_TESTS=OFF", "-DFEWBITS_WERROR=ON")
    run(cmake, "--build", folder, "--parallel", os.cpu_count())


def configure_consumer(cmake, compiler, prefix, folder, version, components=(), expect=0):
    shutil.rmtree(folder, ignore_errors=True)
    wanted = ";".join(["COMPONENTS", *components]) if components else ""
    return run(cmake, "-S", HERE / "consumer", "-B", folder, f"-DCMAKE_CXX_COMPILER={compiler}",
               "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DWANTED_VERSION={version}",
               f"-DWANTED_COMPONENTS={wanted}", expect=expect)


CRYPTOGRAPHY = re.compile(r"botan|crypto|ssl|sodium|gcrypt|nettle|mbed|gnutls", re.I)


def libraries_of(program):
    """All that the loader brings for it; of a program that is linked to a static library, what it needs of that."""
    return [line.split()[0] for line in run("ldd", program).splitlines() if line.strip()]


def parts(cmake, compiler, prefix, consumer, version, has_secure):
    """The libraries beside fewbits::fewbits, and that programs without secure aggregation have no cryptography in them."""
    for program in ("consumer", "private_sum"):
        found = [library for library in libraries_of(consumer / program) if CRYPTOGRAPHY.search(library)]
        if found:
            sys.exit(f"{program}, which uses no cryptography, is linked to {', '.join(found)}")
        run(consumer / program)
    output = configure_consumer(cmake, compiler, prefix, consumer, version, ["privacy", "no_such"], expect=1)
    if "no component no_such" not in " ".join(output.split()):
        sys.exit(f"an unknown component was refused for another reason:\n{output}")
    if not has_secure:
        output = configure_consumer(cmake, compiler, prefix, consumer, version, ["secure"], expect=1)
        if "without secure aggregation" not in " ".join(output.split()):
            sys.exit(f"secure, which is not there, was refused for another reason:\n{output}")
        return
    configure_consumer(cmake, compiler, prefix, consumer, version, ["privacy", "secure"])
    run(cmake, "--build", consumer)
    output = run(consumer / "secure_sum")
    print(output)
    if "secure: the sum of 3 clients" not in output:
        sys.exit("secure_sum does not print the sum")
    if not any(CRYPTOGRAPHY.search(library) for library in libraries_of(consumer / "secure_sum")):
        print("secure_sum is linked to no shared cryptographic library")


def compile_alone(compiler, prefix, header):
    """One header in a file of its own, warnings as errors; headers under c/ in C as well."""
    include = f'#include "{header}"\n'
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", prefix / "include"]
    languages = ["c++"] + (["c"] if header.parts[1] == "c" else [])
    for language in languages:
        standard = "-std=c++20" if language == "c++" else "-std=c99"
        done = subprocess.run([str(c) for c in (compiler, standard, *flags, "-x", language, "-")], input=include, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            return f"{header} does not compile alone as {language}:\n{done.stdout}"
    return None


def c_programs(c_compiler, prefix, scratch, version):
    """The client of tests/c, and the sample of README.md with what it leaves to its reader (readme.c)."""
    client = c_package.build(c_compiler, prefix, scratch / "client", c_package.CLIENT)
    output = c_package.run(client)
    if f"fewbits {version} from C" not in output:
        sys.exit(f"the client in C says another version:\n{output}")
    if c_package.pkg_config(prefix, "--modversion") != [version]:
        sys.exit("fewbits.pc has another version")
    samples = re.findall(r"^```c\n(.*?)^```", (SOURCE / "README.md").read_text(), flags=re.M | re.S)
    if len(samples) != 1:
        sys.exit(f"README.md has {len(samples)} samples in C, not one")
    (scratch / "sample.h").write_text(samples[0])
    sample = c_package.build(c_compiler, prefix, scratch / "readme", HERE / "readme.c", "-I", scratch)
    print(c_package.run(sample))


def main():
    kind, cmake, build, compiler, c_compiler = sys.argv[1:]
    scratch = pathlib.Path(build) / "tests" / f"install_{kind}"
    prefix = scratch / "prefix"
    shutil.rmtree(prefix, ignore_errors=True)

    if kind == "shared":
        build = scratch / "library"
        shared_build(cmake, build, compiler)
    run(cmake, "--install", build, "--prefix", prefix)

    names = {path.name for path in prefix.rglob("*")}
    library = "libfewbits.so" if kind == "shared" else "libfewbits.a"
    for wanted in (library, "LICENSE", "version.h", "codec.h"):
        if wanted not in names:
            sys.exit(f"{wanted} is not installed under {prefix}")

    consumer = scratch / "consumer"
    cache = (SOURCE / "CMakeLists.txt").read_text().split("project(fewbits VERSION ")[1].split()[0]
    major, minor, _ = cache.split(".")
    for refused in (f"{major}.{int(minor) + 1}", f"{int(major) + 1}.0"):
        output = configure_consumer(cmake, compiler, prefix, consumer, refused, expect=1)
        if f'compatible with requested version "{refused}"' not in " ".join(output.split()):
            sys.exit(f"version {refused} was refused for another reason:\n{output}")
    configure_consumer(cmake, compiler, prefix, consumer, f"{major}.{minor}")
    run(cmake, "--build", consumer)
    output = run(consumer / "consumer")
    print(output)
    if f"fewbits {cache}, mean of 3 clients" not in output:
        sys.exit("the consumer prints another version, or no mean")
    parts(cmake, compiler, prefix, consumer, f"{major}.{minor}", "fewbits-secure-targets.cmake" in names)

    c_programs(c_compiler, prefix, scratch, cache)

    include = prefix / "include"
    headers = sorted(path.relative_to(include) for path in include.rglob("*.h"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = [e for e in pool.map(lambda h: compile_alone(compiler, prefix, h), headers) if e]
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(headers)} headers compile alone")

    if kind == "static":
        program = prefix / "bin" / "fewbits"
        if program.exists() and cache not in run(program, "--version"):
            sys.exit(f"{program} --version does not say {cache}")


if __name__ == "__main__":
    main()
