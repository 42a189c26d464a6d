"""The type stubs say what the module has: its names, and the arguments of each function.

    stubs_test.py PYTHONPATH
"""

import ast
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PATH = os.path.abspath(sys.argv.pop(1))
sys.path.insert(0, PATH)

from optional import need  # noqa: E402: beside this file

need("mypy")

import fewbits  # noqa: E402: behind the path
import fewbits._core  # noqa: E402

MODULES = {"_core": fewbits._core}
if importlib.util.find_spec("fewbits._federated") is not None:   # where the package has the harness
    import fewbits._federated  # noqa: E402

    MODULES["_federated"] = fewbits._federated

if importlib.util.find_spec("fewbits._secure") is not None:   # where there was Botan
    import fewbits._secure  # noqa: E402

    MODULES["_secure"] = fewbits._secure

# Classes of pybind11 have a metaclass of its own, which is no matter of the user's.
ALLOWED = [f"fewbits._core.{name}" for name in ("Aggregator", "Codec", "Downlink", "DownlinkView", "Encoder", "ErrorFeedback", "Integers", "Profile", "ProfileLearner", "Structure")]
ALLOWED += ["fewbits._core.Profile.__init__", "fewbits._federated.Trainer", "fewbits._secure.Clipping.__init__", "fewbits._secure.PrivacySpent.__init__"]
ALLOWED += [f"fewbits._secure.{name}" for name in ("Accountant", "Client", "ClientNoise", "Clipping", "DiscreteGaussian", "DiscreteGaussianRound", "GaussianRound",
                                                   "PrivacySpent", "PrivateSum", "Server", "Settings", "SkellamRound", "SpreadNoise")]

USE = '''
import numpy as np
import fewbits
codec = fewbits.Codec("trellis:bits=2", {"a": (3, 4), "b": np.zeros(3, np.float32), "c": ((), "int64")})
frame: bytes = codec.encode({"a": np.zeros((3, 4), np.float32)}, seed=1, round=0, client=3)
total = fewbits.Aggregator(codec, seed=1, round=0)
total.add(frame, client=3, weight=2.0)
total.mean().astype("float64")
code: fewbits.ErrorCode = fewbits.Error("", 1).code
'''

USE_FEDERATED = USE + '''
import fewbits.federated
from numpy.typing import NDArray
class Constant:
    metric = "error"
    def __init__(self) -> None:
        self.initial = {"w": np.zeros(3, np.float32)}
    def loss_and_gradient(self, parameters: dict[str, NDArray[np.float32]], x: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[float, dict[str, NDArray[np.float32]]]:
        return 0.0, parameters
    def score(self, parameters: dict[str, NDArray[np.float32]], x: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[int, int]:
        return 0, len(y)
examples = (np.zeros((9, 2)), np.zeros(9))
for result in fewbits.federated.Trainer(Constant(), examples, examples, [range(9)], rounds=3).run():
    bytes_sent: int = result.upload_bytes
'''

USE_SECURE = '''
from fewbits import privacy, secure
settings = secure.Settings(session=1, round=0, plan=codec.fingerprint, length=3, bits=8, clients=3, min_cohort=3)
keys: dict[int, bytes] = {id: secure.Client(settings, id).advertise() for id in (1, 2, 3)}
server = secure.Server(settings, list(keys))
server.receive(1, keys[1])
secure.from_words(secure.to_words([1, -2, 3], 8), 8).astype("int8")
epsilon: float = privacy.epsilon(q=0.1, z=1.0, rounds=10, delta=1e-5)
'''


def mypy(module, *arguments, **options):
    environment = dict(os.environ, PYTHONPATH=PATH, MYPYPATH=PATH)
    return subprocess.run([sys.executable, "-m", module, *arguments], env=environment, capture_output=True, text=True, **options)


def stub_signatures(module):
    """Of each function (a list of its overloads): names of arguments, those that are by name alone, those with a default."""
    signatures = {}

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, node.name + ".")
            elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("__") or node.name == "__init__"):
                if any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list):
                    continue
                a = node.args
                positional = [argument.arg for argument in a.args]
                defaults = positional[len(positional) - len(a.defaults):]
                named = [argument.arg for argument in a.kwonlyargs]
                defaults += [name for name, default in zip(named, a.kw_defaults) if default is not None]
                positional = [name for name in positional if name != "self"]
                signatures.setdefault(prefix + node.name, []).append((positional, named, sorted(defaults)))

    visit(ast.parse((pathlib.Path(fewbits.__file__).parent / f"{module}.pyi").read_text()).body, "")
    return signatures


def module_signatures(module, name):
    function = MODULES[module]
    for part in name.split("."):
        function = getattr(function, part)
    texts = re.findall(rf"^(?:\d+\. )?{name.split('.')[-1]}\((.*)\) -> ", function.__doc__, re.MULTILINE)
    signatures = []
    for text in texts:
        text = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\((\d+, \d+)\)", "0", text)))   # commas of types and values
        positional, named, defaults, by_name = [], [], [], False
        for part in text.split(", ") if text else []:
            if part == "*":
                by_name = True
                continue
            argument = re.match(r"\w+", part).group()
            if argument == "self" or (argument in ("args", "kwargs")):
                continue
            (named if by_name else positional).append(argument)
            if "=" in part:
                defaults.append(argument)
        signatures.append((positional, named, sorted(defaults)))
    return signatures


class Stubs(unittest.TestCase):
    def test_names(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as allowed:
            allowed.write("\n".join(ALLOWED))
            allowed.flush()
            run = mypy("mypy.stubtest", *(f"fewbits.{module}" for module in MODULES), "--allowlist", allowed.name, "--ignore-unused-allowlist")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_arguments(self):
        for module, least in (("_core", 30), ("_federated", 9), ("_secure", 30)):
            if module not in MODULES:
                continue
            signatures = stub_signatures(module)
            self.assertGreater(len(signatures), least)
            for name, stub in signatures.items():
                if name in ("Profile.__init__", "PrivacySpent.__init__", "Clipping.__init__"):
                    continue
                with self.subTest(name):
                    self.assertEqual(stub, module_signatures(module, name))

    def test_the_package_itself(self):
        for name, module in (("__init__", "_core"), ("federated", "_federated"), ("privacy", "_secure"), ("secure", "_secure")):
            if module in MODULES:
                run = mypy("mypy", "--strict", str(pathlib.Path(fewbits.__file__).parent / f"{name}.py"))
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_a_user_is_checked(self):
        with tempfile.TemporaryDirectory() as folder:
            good, bad = pathlib.Path(folder, "good.py"), pathlib.Path(folder, "bad.py")
            good.write_text((USE_FEDERATED if "_federated" in MODULES else USE) + (USE_SECURE if "_secure" in MODULES else ""))
            bad.write_text(USE + "codec.encode(np.zeros(3), 1, 0, 3)\n")
            run = mypy("mypy", "--strict", str(good), cwd=folder)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            self.assertNotEqual(mypy("mypy", "--strict", str(bad), cwd=folder).returncode, 0)


if __name__ == "__main__":
    unittest.main()
