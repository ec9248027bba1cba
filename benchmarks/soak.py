"""A server at twice what it can do, with its engine killed now and then: is anything lost, answered twice, or growing?

Reports come at twice the measured capacity from several callers, whether answers come or not; one table is read beside
them. Each answer has to be of its own report, each row of the table there once, each answer in a sound audit log. What
is beyond the queue has to be refused. Memory of server and engine is told as it goes, and its growth at the end.

    python benchmarks/soak.py --minutes 15 [--model MODEL.gguf] [threads=1]

Exit code 1 if something was lost, doubled, or failed otherwise than told here.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from radlite.server.verdict import verify

TASKS = ("m_staging", "radiology_ner")
CALLERS = ("ris", "ward", "study", "page")
EXPECTED = {200, 429}
"""Anything else is a fault; 503 too, as nothing is stopped here."""


@dataclass
class Seen:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def report(number: int) -> str:
    side, size = random.Random(number).choice(("left", "right")), number % 40 + 3
    return (
        f"CT chest. Findings: {size} mm nodule in the {side} upper lobe, number {number}. No pleural effusion. "
        "The heart is normal in size. Impression: Pulmonary nodule."
    )


async def ask(client: httpx.AsyncClient, number: int, seen: Seen, key: str) -> None:
    """One report, whose answer has to be its own."""
    text, begun = report(number), time.monotonic()
    body = {"report": text, "tasks": list(TASKS)}
    try:
        answer = await client.post("/v1/read", json=body, headers={"Authorization": f"Bearer {key}"})
    except httpx.HTTPError as error:
        seen.faults.append(f"no answer ({type(error).__name__})")
        return
    spent = time.monotonic() - begun
    seen.statuses[answer.status_code] += 1
    if answer.status_code == 429:
        seen.refused.append(spent)
        if not 1 <= int(answer.headers.get("retry-after", 0)) <= 600:
            seen.faults.append("a refusal without Retry-After")
    elif answer.status_code == 200:
        told = answer.json()
        seen.seconds.append(spent)
        seen.ids += [one["id"] for one in told["answers"]]
        seen.answers.update(one["status"] for one in told["answers"])
        if [one["task"] for one in told["answers"]] != list(TASKS):
            seen.faults.append("answers to other tasks")
        for one in told["answers"]:
            if any(text[quote["start"] : quote["end"]] != quote["quote"] for quote in one["evidence"]):
                seen.faults.append("evidence of another report")
    else:
        seen.faults.append(f"status {answer.status_code}: {answer.text[:100]}")


def started(
    folder: Path, model: Path | None, keys: dict[str, str], settings: list[str]
) -> tuple["subprocess.Popen[str]", str]:
    (folder / "keys").write_text("".join(f"{name}:{key}\n" for name, key in keys.items()))
    command = [sys.executable, "-c", "from radlite.cli import main; main()", "serve", "--port", "0"]
    command += ["--state", str(folder / "state"), "--keys", str(folder / "keys")]
    command += [*(["--model", str(model)] if model else []), *settings]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout
    found = re.search(r"http://\S+[0-9]", process.stdout.readline())
    if not found:
        raise SystemExit((folder / "log").read_text())
    return process, found[0]


def engines(server: int) -> list[psutil.Process]:
    """The engine of the server itself, not those of its jobs."""
    found = []
    for child in psutil.Process(server).children():
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def memory(server: int) -> tuple[float, float]:
    """Resident megabytes of the server, and of its engine."""
    own = psutil.Process(server).memory_info().rss
    others = 0
    for child in engines(server):
        try:
            others += child.memory_info().rss
        except psutil.Error:
            continue
    return own / 1e6, others / 1e6


async def soak(arguments: argparse.Namespace, folder: Path) -> bool:
    keys = {name: os.urandom(20).hex() for name in CALLERS}
    process, url = started(folder, arguments.model, keys, arguments.settings)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=900, limits=limits, trust_env=False) as client:
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.2)
            capacity = await measured(client, keys)
            print(f"capacity: {capacity:.2f} reports a second, {len(TASKS)} tasks each; asked at twice that")
            seen, job, samples = await loaded(client, process.pid, keys, capacity, arguments)
            return await judged(client, keys, seen, job, samples, folder, capacity)
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"server: exit code {process.wait(120)}")


async def measured(client: httpx.AsyncClient, keys: dict[str, str]) -> float:
    """Reports a second, one after the other."""
    begun, number, seen = time.monotonic(), 0, Seen()
    while time.monotonic() - begun < 15:
        await ask(client, -number - 1, seen, keys["ris"])
        number += 1
    return number / (time.monotonic() - begun)


async def loaded(
    client: httpx.AsyncClient, server: int, keys: dict[str, str], capacity: float, arguments: argparse.Namespace
) -> tuple[Seen, str, list[tuple[float, float, float]]]:
    seen, running, number = Seen(), set[asyncio.Task[None]](), 0
    table = "nr,report\n" + "".join(f'{row},"{report(10_000_000 + row)}"\n' for row in range(arguments.rows))
    files, owner = {"file": ("table.csv", table.encode())}, {"Authorization": f"Bearer {keys['study']}"}
    form = {"tasks": "m_staging", "id": "nr", "format": "jsonl"}
    job = str((await client.post("/v1/batch", files=files, data=form, headers=owner)).json()["id"])
    begun = time.monotonic()
    end, sample_at, kill_at = begun + arguments.minutes * 60, begun, begun + arguments.kill
    samples: list[tuple[float, float, float]] = []
    while (now := time.monotonic()) < end:
        # One caller asks half of all: what is fair shows in the others' being served.
        caller = CALLERS[0] if number % 2 else CALLERS[number // 2 % len(CALLERS)]
        task = asyncio.create_task(ask(client, number, seen, keys[caller]))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
        if now >= kill_at:
            kill_at += arguments.kill
            for child in engines(server):
                child.kill()
        if now >= sample_at:
            sample_at += max(10.0, arguments.minutes * 60 / 20)
            samples.append((now - begun, *memory(server)))
            at, own, engine = samples[-1]
            print(f"{at:6.0f} s: server {own:.0f} MB, engine {engine:.0f} MB, {dict(seen.statuses)}")
        await asyncio.sleep(max(0.0, begun + number / (2 * capacity) - time.monotonic()))
    await asyncio.gather(*running)
    samples.append((time.monotonic() - begun, *memory(server)))
    if sum(seen.statuses.values()) + len([one for one in seen.faults if one.startswith("no answer")]) != number:
        seen.faults.append("requests that nobody answered")
    return seen, job, samples


async def judged(
    client: httpx.AsyncClient,
    keys: dict[str, str],
    seen: Seen,
    job: str,
    samples: list[tuple[float, float, float]],
    folder: Path,
    capacity: float,
) -> bool:
    owner = {"Authorization": f"Bearer {keys['study']}"}
    while (told := (await client.get(f"/v1/batch/{job}", headers=owner)).json())["status"] in ("waiting", "running"):
        await asyncio.sleep(1)
    lines = (await client.get(f"/v1/batch/{job}/result", headers=owner)).text.splitlines()
    rows = Counter(json.loads(line)["nr"] for line in lines) if told["status"] == "done" else Counter()
    lost = told["total"] - len(rows) if told["total"] else -1
    doubled = sum(count - 1 for count in rows.values())
    metrics = (await client.get("/metrics", headers=owner)).text
    restarts = re.search(r"^radlite_engine_restarts (\S+)", metrics, re.MULTILINE)
    audit = verify(folder / "state" / "audit")
    entries: Counter[str] = Counter()
    for path in sorted((folder / "state" / "audit").glob("*.jsonl")):
        entries.update(
            entry["id"] for entry in map(json.loads, path.read_text().splitlines()) if entry["kind"] == "answer"
        )
    missing = sum(entries[id] != 1 for id in seen.ids) + len(seen.ids) - len(set(seen.ids))
    ordered, refused = sorted(seen.seconds), sorted(seen.refused)
    half = len(samples) // 2
    growth = samples[-1][1] - samples[half][1]
    log = (folder / "log").read_text()
    leaked = "nodule" in log or "Traceback" in log
    total = sum(seen.statuses.values())
    seconds, (first, middle, last) = samples[-1][0], (samples[at][1] for at in (0, half, -1))
    print(f"asked: {total} reports in {seconds:.0f} s; statuses {dict(seen.statuses)}; answers {dict(seen.answers)}")
    print(f"answered: {len(ordered) / seconds:.2f} reports a second, where one after the other were {capacity:.2f}")
    print(f"from request to answer: p50 {share(ordered, 0.5):.2f} s, p95 {share(ordered, 0.95):.2f} s")
    print(f"refused with 429: {len(refused)}, p95 {share(refused, 0.95) * 1000:.0f} ms")
    print(f"engine killed and started again: {float(restarts[1]) if restarts else 0:.0f} times")
    print(f"memory of the server: {first:.0f} MB at first, {middle:.0f} halfway, {last:.0f} at the end")
    print(f"table: {told['status']}, rows lost {lost}, doubled {doubled}")
    print(f"audit: {'sound' if audit.sound else audit.faults}, answers without or with more than one entry: {missing}")
    for fault, count in Counter(seen.faults).most_common(10):
        print(f"fault: {fault} ({count} times)")
    if leaked:
        print("fault: text of a report, or a traceback, in the log")
    failed = seen.answers["failed"]
    if failed:
        print(f"answers that failed, as the engine was killed twice over them: {failed}")
    grown = growth > max(20.0, 0.1 * samples[half][1])
    if grown:
        print(f"fault: the server grew by {growth:.0f} MB in the second half")
    return not (seen.faults or lost or doubled or missing or leaked or grown or not audit.sound)


def share(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--kill", type=float, default=60, help="seconds between two kills of the engine")
    parser.add_argument("--rows", type=int, default=200, help="of the table that is read beside")
    parser.add_argument("--model", type=Path)
    parser.add_argument("settings", nargs="*", help="of the server, such as threads=1 where others use the machine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sound = asyncio.run(soak(arguments, Path(folder)))
    raise SystemExit(0 if sound else 1)


if __name__ == "__main__":
    main()
