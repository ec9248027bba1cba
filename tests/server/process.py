"""A real `radlite serve` as a process, for tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

REPORT = "Chest radiograph. Findings: small left pleural effusion. The heart is normal in size."
COMMAND = (sys.executable, "-c", "from radlite.cli import main; main()", "serve", "--port", "0")


class Server:
    """Started with settings and options; it is ready, unless `wait` is False. `url` is where it serves."""

    def __init__(self, folder: Path, *arguments: object, wait: bool = True, env: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self._log = folder / "log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--state", str(self.state), "threads=1", "job_nice=0", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        assert self.process.stdout
        told = self.process.stdout.readline()
        found = re.search(r"https?://\S+[0-9]", told)
        if not found:
            self.process.wait(60)
            raise AssertionError(f"no address: {told} {self.log}")
        self.url = found[0]
        self.client = httpx.Client(base_url=self.url, timeout=120, verify=False, trust_env=False)
        if wait:
            try:
                self.wait()
            except BaseException:
                self.stop(signal.SIGKILL)
                raise

    def wait(self) -> None:
        """Until it is ready."""
        for _ in range(1200):
            if self.client.get("/ready").status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log}")

    @property
    def log(self) -> str:
        """All it has written to stderr."""
        return self._log.read_text("utf-8", "replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def read(self, report: str = REPORT, **asked: Any) -> httpx.Response:
        """Ask a report something."""
        return self.client.post("/v1/read", json={"report": report, **asked})

    def noted(self, kind: str = "answer", **facts: Any) -> list[dict[str, Any]]:
        """The entries of its audit log of a kind, whose facts are these among others."""
        lines = "".join(one.read_text("utf-8") for one in sorted((self.state / "audit").glob("*.jsonl"))).splitlines()
        found = [entry for entry in map(json.loads, lines) if entry["kind"] == kind]
        return [entry for entry in found if facts.items() <= {**entry["facts"], "id": entry["id"]}.items()]

    def engine(self) -> int:
        """Process id of the engine."""
        import psutil

        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(one.pid for one in children if "spawn_main" in " ".join(one.cmdline()))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self.client.close()
        assert self.process.stdout
        self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def events(text: str) -> list[tuple[str, Any]]:
    """The server-sent events of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found
