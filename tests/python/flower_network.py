"""A real Flower network on loopback: one SuperLink with SuperNodes, or with its simulation of them."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

BIN = pathlib.Path(sys.executable).parent
APP = pathlib.Path(__file__).resolve().parents[2] / "python" / "examples" / "flower_app"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Network:
    """SuperLink and `nodes` SuperNodes as processes of their own, or a simulation of as many; a context manager."""

    def __init__(self, folder, package, nodes, simulated=False, app=APP):
        self.folder, self.nodes, self.simulated, self.app = pathlib.Path(folder), nodes, simulated, app
        self.port = free_port()
        home = self.folder / "home"
        home.mkdir(parents=True)
        options = f"options.num-supernodes = {nodes}\noptions.backend.client-resources.num-cpus = 1\n" if simulated else ""
        (home / "config.toml").write_text(f'[superlink]\ndefault = "test"\n\n[superlink.test]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n{options}')
        self.environment = dict(os.environ, FLWR_HOME=str(home), FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_DEDUP_LOGS="0",
                                PYTHONPATH=os.fspath(package), PATH=f"{BIN}:{os.environ['PATH']}", RAY_TMPDIR=str(self.folder), NO_COLOR="1",
                                OMP_NUM_THREADS="1")
        self.processes = []

    def _start(self, name, *command):
        with open(self.folder / f"{name}.log", "w") as log:
            self.processes.append(subprocess.Popen([BIN / command[0], *map(str, command[1:])], stdout=log, stderr=subprocess.STDOUT,
                                                   env=self.environment, start_new_session=True, cwd=self.folder))

    def __enter__(self):
        self._start("superlink", "flower-superlink", "--insecure", "--port", self.port, "--disable-runtime-dependency-installation",
                    *(["--simulation"] if self.simulated else []))
        self._wait_for_port(self.port)
        for node in range(0 if self.simulated else self.nodes):
            self._start(f"supernode{node}", "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}", "--port", free_port(),
                        "--node-config", f"partition-id={node} num-partitions={self.nodes}")
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def _wait_for_port(self, port):
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"no SuperLink after a minute:\n{self.log('superlink')}")

    def log(self, name):
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / f"{name}.log").read_text())

    def run(self, app=None, timeout=300, **config):
        """`flwr run` to its end. (output, what `flwr list` says of the run, the report that the app wrote or None)"""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        config = {"clients": self.nodes, "report": str(report), **config}
        words = " ".join(f'{name.replace("_", "-")}={json.dumps(value)}' for name, value in config.items())
        work = self.folder / "app"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(app or self.app, work, ignore=shutil.ignore_patterns("__pycache__"))
        command = [BIN / "flwr", "run", str(work), "test", "--stream", "--run-config", words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout, cwd=self.folder)
        runs = subprocess.run([BIN / "flwr", "list", "test", "--format", "json"], env=self.environment, capture_output=True, text=True, cwd=self.folder)
        listed = json.loads(runs.stdout)
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        return output, listed, json.loads(report.read_text()) if report.exists() else None
