"""What may include what, and what the library never does (docs of the rooms: README.md).

    cli -> federated -> privacy, secure -> engine -> registry -> codecs -> stage -> kernels

A room is seen by those before it, with six narrower rules: codecs see the stage room and the kernels, never each other;
only registry.cpp sees codecs; outside the library (cli, federated, io, datasets) only include/ and the kernels are seen;
the C interface (src/c) stands on include/ alone, and nothing stands on include/fewbits/c; measurements (src/measure)
stand on include/ alone, and are all of the library that reads a clock; privacy and secure see the kernels and include/
alone, secure also wire.h, and Botan is seen by secure and datasets alone.
Before it looks at the sources the test plants each fault in a small tree of its own, and sees it reported.
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

STAGE_ROOM = {"src/stage.h", "src/wire.h", "src/workspace.h", "src/huge_pages.h", "src/parameters.h", "src/parameters.cpp",
              "src/factors.h", "src/factors.cpp", "src/scale.h", "src/scale.cpp"}
# Public headers that say something to a stage; the others are the engine's.
STAGE_PUBLIC = {"fewbits/error.h", "fewbits/export.h", "fewbits/layout.h", "fewbits/stages.h"}

# Rooms that each room's private includes may reach, itself among them.
SEES = {
    "public": {"public"},
    "kernels": {"kernels"},
    "stage": {"stage", "kernels", "public"},
    "codecs": {"stage", "kernels", "public"},
    "registry": {"registry", "stage", "kernels", "public"},
    "engine": {"engine", "registry", "stage", "kernels", "public"},
    "c": {"c", "public"},
    "measure": {"public"},
    "privacy": {"privacy", "kernels", "public"},
    "secure": {"secure", "privacy", "kernels", "public"},
    "io": {"io", "kernels", "public"},
    "datasets": {"datasets", "io", "kernels", "public"},
    "federated": {"federated", "datasets", "io", "privacy", "secure", "kernels", "public"},
    "cli": {"cli", "federated", "datasets", "io", "privacy", "secure", "kernels", "public"},
}
LIBRARY = {"kernels", "stage", "codecs", "registry", "engine", "c", "measure"}
# Libraries of their own beside it, with its manners. The library never sees them, nor privacy cryptography.
PARTS = {"privacy", "secure"}
# The one header of the stages' room that messages are read and written with.
SECURE_STAGE = "src/wire.h"
CRYPTOGRAPHY = {"secure", "datasets"}   # rooms that see it
LIBRARY_THIRD_PARTY = {"zstd.h", "zstd_errors.h", "xxhash.h"}
OWN_ROOM = ("kernels", "c", "measure", "privacy", "secure", "io", "federated", "cli")

INTRINSICS = re.compile(r"([a-z0-9]*intrin|arm_(neon|sve|acle|fp16)|altivec)\.h")

# In the library: pattern in code without comments and strings, and what is wrong with it.
NEVER = [
    (r"\b(s?rand|drand48)\s*\(|\bstd::(random_device|mt19937|minstd_rand|default_random_engine)", "randomness that is not kernels/random.h's"),
    (r"\bstd::(cout|cerr|clog)\b", "prints"),
    (r"\b(printf|fprintf|vprintf|puts|fputs|putchar)\s*\(", "prints"),
    (r"(?<![\w.])(abort|exit|_Exit|quick_exit|terminate)\s*\(", "ends the process"),
    (r"(?<!static_)\bassert\s*\(", "asserts: throw Error for input, FEWBITS_DCHECK for our own faults"),
    (r"#\s*pragma\s+omp\b", "starts threads"),
    (r"\bstd::(thread|jthread|async)\b", "starts threads"),
    (r"\bstd::hash\b", "a hash that differs between standard libraries"),
    (r"\bstd::chrono\b|\b(clock_gettime|gettimeofday)\s*\(", "reads a clock"),
]
NEVER_HEADERS = {
    "random": "randomness that is not kernels/random.h's",
    "iostream": "prints",
    "thread": "starts threads",
    "future": "starts threads",
    "execution": "starts threads",
    "omp.h": "starts threads",
    "chrono": "reads a clock",
    "ctime": "reads a clock",
    "time.h": "reads a clock",
}
# The debug check of our own faults is built on assert.
ASSERT_ALLOWED = {"src/kernels/check.h"}
# Times are what measurements are of.
CLOCK_ALLOWED = ("measure", "chrono")
# The one header of the operating system's: advice on pages of memory.
SYSTEM_ALLOWED = {("src/huge_pages.h", "sys/mman.h")}

# In any build file: flags that make results differ between machines, or start threads.
NEVER_FLAGS = re.compile(r"-march=|-mtune=native|-mcpu=|-ffast-math|-Ofast|-fopenmp|OpenMP::")

PUBLIC_LINES = 150  # a public header is shorter than this


def without_comments(text):
    """Comments become spaces; strings and line ends stay."""
    def blank(match):
        piece = match.group(0)
        return piece if piece[0] in "\"'" else re.sub(r"[^\n]", " ", piece)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def without_strings(text):
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def room_of(path):
    """Of a path relative to the root, as text; None where no rule applies."""
    parts = path.split("/")
    if parts[0] == "include":
        return "public"
    if parts[0] in ("codecs", "datasets"):
        return parts[0]
    if parts[0] != "src":
        return None
    if len(parts) > 2:
        return parts[1] if parts[1] in OWN_ROOM else "unknown"
    if path in STAGE_ROOM:
        return "stage"
    return "registry" if parts[1].startswith("registry.") else "engine"


def resolve(root, name):
    """The file that a quoted include names, relative to the root; None when there is none."""
    if name == "fewbits/version.h":  # made by the build
        name = "fewbits/version.h.in"
    for folder in ("include", "src", "."):
        if (root / folder / name).is_file():
            return (pathlib.PurePosixPath(folder) / name).as_posix()
    return None


def is_standard(name):
    """Headers of the C++ standard library, and of C where they end in .h."""
    return re.fullmatch(r"[a-z_]+|(stdint|stddef|stdbool|string|stdlib|math|errno|limits)\.h", name) is not None


def check_includes(root, path, room, code):
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', code, flags=re.M):
        where = f"{path}:{code.count(chr(10), 0, match.start()) + 1}"
        quoted, name = match.group(1) == '"', match.group(2)
        if INTRINSICS.fullmatch(name) and room != "kernels":
            yield f"{where}: <{name}>: intrinsics headers only in src/kernels"
        elif not quoted:
            if room == "public" and not is_standard(name):
                yield f"{where}: <{name}>: a third-party header in include/"
            elif name.startswith("botan/"):
                if room not in CRYPTOGRAPHY:
                    yield f"{where}: <{name}>: cryptography only in src/secure, and for checksums of data in datasets"
            elif room in LIBRARY | PARTS and name in NEVER_HEADERS and (room, name) != CLOCK_ALLOWED:
                yield f"{where}: <{name}>: {NEVER_HEADERS[name]}"
            elif room in PARTS and not is_standard(name):
                yield f"{where}: <{name}>: privacy stands on the library alone, secure on it and Botan"
            elif room in LIBRARY and not is_standard(name) and name not in LIBRARY_THIRD_PARTY \
                    and (path, name) not in SYSTEM_ALLOWED and not INTRINSICS.fullmatch(name):
                yield f"{where}: <{name}>: the library stands on zstd and xxHash only"
        else:
            yield from check_own_include(root, path, room, where, name)


def part_of(name):
    """privacy or secure, of a public header of theirs."""
    match = re.match(r"fewbits/(privacy|secure)/", name)
    return match.group(1) if match else None


def may_see_part(path, room, part):
    if room == "public":
        room = part_of(path.removeprefix("include/")) or "engine"
    return room not in LIBRARY and (room, part) != ("privacy", "secure")


def check_own_include(root, path, room, where, name):
    target = resolve(root, name)
    if target is None:
        yield f'{where}: "{name}" is not under include/, src/ or the root; other libraries\' headers stand in <>'
        return
    seen = room_of(target)
    if seen == "codecs":
        own = pathlib.PurePosixPath(target).stem == pathlib.PurePosixPath(path).stem and room == "codecs"
        if path != "src/registry.cpp" and not own:
            yield f'{where}: "{name}": only src/registry.cpp includes codecs'
    elif seen not in SEES[room] and (room, target) != ("secure", SECURE_STAGE):
        yield f'{where}: "{name}": {room} must not see {seen}'
    elif room == "codecs" and seen == "public" and name not in STAGE_PUBLIC:
        yield f'{where}: "{name}": a codec sees stage.h, wire.h and the kernels, not the engine'
    elif room == "public" and name.startswith("fewbits/federated/") and "include/fewbits/federated/" not in path:
        yield f'{where}: "{name}": the library must not see federated'
    elif part_of(name) is not None and not may_see_part(path, room, part_of(name)):
        yield f'{where}: "{name}": codecs and the engine must not see {part_of(name)}, nor privacy secure'
    elif name.startswith("fewbits/c/") and room != "c" and "include/fewbits/c/" not in path:
        yield f'{where}: "{name}": the C interface stands on the rest, never the rest on it'
    elif "include/fewbits/c/" in path and not name.startswith("fewbits/c/") and name != "fewbits/export.h":
        yield f'{where}: "{name}": a header for C includes no header of C++'


def check_code(path, code):
    code = without_strings(code)
    for pattern, reason in NEVER:
        if ("assert" in pattern and path in ASSERT_ALLOWED) or ("chrono" in pattern and room_of(path) == CLOCK_ALLOWED[0]):
            continue
        for match in re.finditer(pattern, code):
            yield f"{path}:{code.count(chr(10), 0, match.start()) + 1}: {match.group(0).strip()}: {reason}"


def build_files(root):
    yield from root.glob("CMakeLists.txt")
    yield from root.glob("CMakePresets.json")
    for folder in ("cmake", "src", "codecs", "datasets", "tests", "python", "bench"):
        for pattern in ("CMakeLists.txt", "*.cmake"):
            yield from (root / folder).rglob(pattern)


def check(root):
    """Every fault, as lines "path:line: what"."""
    faults = []
    files = [f for folder in ("include", "codecs", "src", "datasets") for f in sorted((root / folder).rglob("*"))
             if f.name.endswith((".h", ".cpp", ".h.in", ".c", ".inc"))]
    for file in files:
        path = file.relative_to(root).as_posix()
        room = room_of(path)
        if room not in SEES:
            faults.append(f"{path}:1: a folder of src/ without a place in the order of the rooms")
            continue
        text = file.read_text()
        code = without_comments(text)
        faults += check_includes(root, path, room, code)
        if room in LIBRARY | PARTS or room == "public":
            faults += check_code(path, code)
        lines = text.count("\n")
        if room == "public" and lines >= PUBLIC_LINES:
            faults.append(f"{path}:{lines}: {lines} lines; a public header is shorter than {PUBLIC_LINES}")
    for file in build_files(root):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            match = NEVER_FLAGS.search(line.split("#")[0])
            if match:
                faults.append(f"{file.relative_to(root).as_posix()}:{number}: {match.group(0)}: not in this project")
    return faults, len(files)


SOUND = {
    "include/fewbits/error.h": "#include <string>\n",
    "include/fewbits/codec.h": '#include "fewbits/error.h"\n#include <vector>\n',
    "include/fewbits/federated/run.h": '#include "fewbits/codec.h"\n',
    "src/kernels/kernels.h": "#include <cstdint>\n",
    "src/kernels/avx2.cpp": '#include <immintrin.h>\n#include "kernels/kernels.h"\n',
    "src/wire.h": '#include "fewbits/error.h"\n',
    "src/stage.h": '#include "wire.h"\n#include "fewbits/codec.h"\n',
    "src/registry.h": '#include "stage.h"\n',
    "src/registry.cpp": '#include "codecs/mask.h"\n#include "registry.h"\n',
    "src/frame.cpp": '#include <xxhash.h>\n#include "registry.h"\n// abort() and printf() are words here\n',
    "codecs/mask.h": '#include "stage.h"\n',
    "codecs/mask.cpp": '#include "codecs/mask.h"\n#include <zstd.h>\nstatic_assert(true); const char* kText = "rand()";\n',
    "codecs/pack.h": '#include "stage.h"\n',
    "src/io/npy.h": '#include <zlib.h>\n',
    "datasets/idx.h": '#include "kernels/kernels.h"\n',
    "src/federated/run.cpp": '#include "fewbits/federated/run.h"\n#include "datasets/idx.h"\n#include "io/npy.h"\n#include <Eigen/Core>\n',
    "src/cli/main.cpp": '#include "fewbits/federated/run.h"\n#include <iostream>\nint main() { std::cout << 1; }\n',
    "include/fewbits/export.h": "#define FEWBITS_API\n",
    "include/fewbits/c/codec.h": '#include <stdint.h>\n#include "fewbits/export.h"\n',
    "src/c/codec.cpp": '#include "fewbits/c/codec.h"\n#include "fewbits/codec.h"\n',
    "include/fewbits/privacy/random_source.h": '#include "fewbits/error.h"\n',
    "include/fewbits/secure/client.h": '#include "fewbits/privacy/random_source.h"\n',
    "src/privacy/noise.cpp": '#include "fewbits/privacy/random_source.h"\n#include "kernels/kernels.h"\n',
    "src/secure/crypto.cpp": '#include <botan/hash.h>\n#include "fewbits/secure/client.h"\n#include "wire.h"\n',
    "datasets/sources.cpp": "#include <botan/hash.h>\n",
    "src/federated/round.cpp": '#include "fewbits/secure/client.h"\n#include "fewbits/privacy/random_source.h"\n',
    "src/frame.h": "",
    "src/federated/run.h": "",
    "src/cli/main.h": "",
    "CMakeLists.txt": "project(x)  # never -march=native\n",
}

# Path, what is added to it, and what the report must say.
PLANTED = [
    ("src/federated/run.cpp", '#include "cli/main.h"', "federated must not see cli"),
    ("src/frame.cpp", '#include "federated/run.h"', "engine must not see federated"),
    ("src/registry.cpp", '#include "frame.h"', "registry must not see engine"),
    ("src/stage.h", '#include "registry.h"', "stage must not see registry"),
    ("src/kernels/kernels.h", '#include "wire.h"', "kernels must not see stage"),
    ("src/kernels/kernels.h", '#include "fewbits/error.h"', "kernels must not see public"),
    ("codecs/mask.cpp", '#include "codecs/pack.h"', "only src/registry.cpp includes codecs"),
    ("codecs/mask.cpp", '#include "frame.h"', "codecs must not see engine"),
    ("codecs/mask.cpp", '#include "fewbits/codec.h"', "not the engine"),
    ("codecs/mask.cpp", '#include "registry.h"', "codecs must not see registry"),
    ("src/frame.cpp", '#include "codecs/mask.h"', "only src/registry.cpp includes codecs"),
    ("src/cli/main.cpp", '#include "frame.h"', "cli must not see engine"),
    ("src/io/npy.h", '#include "federated/run.h"', "io must not see federated"),
    ("datasets/idx.h", '#include "federated/run.h"', "datasets must not see federated"),
    ("src/frame.cpp", '#include "datasets/idx.h"', "engine must not see datasets"),
    ("src/frame.cpp", '#include "no/such.h"', "is not under include/"),
    ("src/c/codec.cpp", '#include "frame.h"', "c must not see engine"),
    ("src/c/codec.cpp", '#include "kernels/kernels.h"', "c must not see kernels"),
    ("src/c/codec.cpp", 'void f() { puts("x"); }', "prints"),
    ("src/frame.cpp", '#include "fewbits/c/codec.h"', "never the rest on it"),
    ("src/cli/main.cpp", '#include "fewbits/c/codec.h"', "never the rest on it"),
    ("include/fewbits/codec.h", '#include "fewbits/c/codec.h"', "never the rest on it"),
    ("include/fewbits/c/codec.h", '#include "fewbits/codec.h"', "no header of C++"),
    ("src/frame.cpp", '#include "fewbits/privacy/random_source.h"', "must not see privacy"),
    ("src/frame.cpp", '#include "fewbits/secure/client.h"', "must not see secure"),
    ("src/c/codec.cpp", '#include "fewbits/secure/client.h"', "must not see secure"),
    ("include/fewbits/codec.h", '#include "fewbits/privacy/random_source.h"', "must not see privacy"),
    ("include/fewbits/privacy/random_source.h", '#include "fewbits/secure/client.h"', "nor privacy secure"),
    ("src/privacy/noise.cpp", '#include "fewbits/secure/client.h"', "nor privacy secure"),
    ("src/privacy/noise.cpp", '#include "wire.h"', "privacy must not see stage"),
    ("src/privacy/noise.cpp", "#include <botan/rng.h>", "cryptography only in"),
    ("src/privacy/noise.cpp", "#include <random>", "randomness"),
    ("src/secure/crypto.cpp", '#include "stage.h"', "secure must not see stage"),
    ("src/secure/crypto.cpp", "#include <openssl/evp.h>", "and Botan"),
    ("src/secure/crypto.cpp", "std::mt19937 generator;", "randomness"),
    ("src/frame.cpp", "#include <botan/hash.h>", "cryptography only in"),
    ("src/federated/run.cpp", "#include <botan/hash.h>", "cryptography only in"),
    ("src/cli/main.cpp", "#include <botan/hash.h>", "cryptography only in"),
    ("include/fewbits/secure/client.h", "#include <botan/hash.h>", "third-party header in include/"),
    ("src/attic/old.cpp", "int x;", "without a place in the order"),
    ("include/fewbits/codec.h", "#include <zstd.h>", "third-party header in include/"),
    ("include/fewbits/codec.h", "#include <Eigen/Core>", "third-party header in include/"),
    ("include/fewbits/codec.h", '#include "stage.h"', "public must not see stage"),
    ("include/fewbits/codec.h", '#include "fewbits/federated/run.h"', "the library must not see federated"),
    ("include/fewbits/codec.h", "\n" * 150, "a public header is shorter"),
    ("codecs/mask.cpp", "#include <immintrin.h>", "intrinsics headers only"),
    ("src/federated/run.cpp", "#include <arm_neon.h>", "intrinsics headers only"),
    ("src/frame.cpp", "#include <Eigen/Core>", "zstd and xxHash only"),
    ("src/frame.cpp", "#include <nlohmann/json.hpp>", "zstd and xxHash only"),
    ("src/kernels/avx2.cpp", "#include <random>", "randomness"),
    ("codecs/mask.cpp", "int r = rand();", "randomness"),
    ("codecs/mask.cpp", "std::mt19937 generator;", "randomness"),
    ("src/frame.cpp", "void f() { std::cout << 1; }", "prints"),
    ("src/frame.cpp", '#include <iostream>', "prints"),
    ("src/frame.cpp", 'void f() { std::printf("x"); }', "prints"),
    ("src/frame.cpp", "void f() { std::abort(); }", "ends the process"),
    ("src/kernels/avx2.cpp", "void f(int n) { assert(n > 0); }", "asserts"),
    ("src/kernels/avx2.cpp", "#pragma omp parallel for", "starts threads"),
    ("src/frame.cpp", "#include <thread>", "starts threads"),
    ("src/frame.cpp", "std::thread worker;", "starts threads"),
    ("src/frame.cpp", "auto h = std::hash<int>{}(1);", "a hash that differs"),
    ("src/frame.cpp", "#include <chrono>", "reads a clock"),
    ("CMakeLists.txt", "add_compile_options(-march=native)", "-march="),
    ("src/CMakeLists.txt", "find_package(OpenMP)\ntarget_link_libraries(x OpenMP::OpenMP_CXX)", "OpenMP"),
    ("cmake/flags.cmake", "add_compile_options(-ffast-math)", "-ffast-math"),
]


def write(root, files):
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def check_the_check():
    """The sound tree has no fault, and each planted fault is the one that is reported."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write(root, SOUND)
        faults, _ = check(root)
        assert not faults, "faults in the sound tree:\n" + "\n".join(faults)
        for path, text, wanted in PLANTED:
            write(root, {path: SOUND.get(path, "") + text + "\n"})
            faults, _ = check(root)
            assert len(faults) == 1 and wanted in faults[0] and faults[0].startswith(path + ":"), \
                f"planted {text!r} in {path}: wanted one fault with {wanted!r}, got {faults}"
            if path in SOUND:
                write(root, {path: SOUND[path]})
            else:
                (root / path).unlink()
    return len(PLANTED)


def main():
    planted = check_the_check()
    faults, files = check(ROOT)
    if files < 10:
        sys.exit(f"only {files} files under {ROOT}: nothing was checked")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{files} files in order; {planted} planted faults found")


if __name__ == "__main__":
    main()
