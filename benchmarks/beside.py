"""What a busy neighbour costs an engine, by how long its threads wait awake.

    python benchmarks/beside.py
    radlite bench --shape qwen2.5-3b --keep 3b.gguf && python benchmarks/beside.py 3b.gguf --items 2

The threads of an engine wait for each other at every matrix: first awake, for GOMP_SPINCOUNT rounds, then asleep. Each
engine answers the same staging items with each count, alone and beside processes that keep one core each busy; a
process of its own each time, in turns, so that the ratios do not suffer from what else the machine does. Told are the
median seconds of an item, and how many times as long it takes as with 1000 rounds, which radlite sets.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from radlite.data import sample
from radlite.reader import turns
from radlite.runtime.model import Request
from radlite.tasks import named

COUNTS = {"300000": "300,000 (default)", "1000": "1,000 (radlite)", "0": "0"}
DEMONSTRATION = Path(__file__).parents[1] / "src/radlite/models/demonstration.gguf"


def seconds(path: Path, engine: str, threads: int, items: int) -> float:
    """Of one item, with the system prompt read before."""
    from radlite.runtime import native, wheel

    model = native.open_model(path, threads=threads) if engine == "native" else wheel.open_model(path, threads=threads)
    task = named("n_staging")
    rows = sample.examples(task.name, "test", items + 1)
    requests = [
        Request(model.renderer.prompt(turns(task, row.inputs)), task.max_tokens, task.grammar(row.inputs))
        for row in rows
    ]
    list(model.complete(requests[:1]))
    begun = time.perf_counter()
    for request in requests[1:]:
        list(model.complete([request]))
    return (time.perf_counter() - begun) / items


def measured(path: Path, engine: str, threads: int, items: int, count: str) -> float:
    """`seconds` in a process whose threads wait awake for `count` rounds."""
    command = [sys.executable, __file__, str(path), "--seconds-of", engine, "--threads", threads, "--items", items]
    run = subprocess.run(
        list(map(str, command)), env=os.environ | {"GOMP_SPINCOUNT": count}, capture_output=True, text=True, check=True
    )
    return float(run.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DEMONSTRATION)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 1], help="numbers of busy neighbours")
    parser.add_argument("--engine", nargs="*", default=["native", "wheel"])
    parser.add_argument("--seconds-of", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.seconds_of:
        print(seconds(chosen.model, chosen.seconds_of, chosen.threads, chosen.items))
        return
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for _ in range(chosen.rounds):
        for busy in chosen.busy:
            neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
            try:
                for engine in chosen.engine:
                    for count in COUNTS:
                        taken = measured(chosen.model, engine, chosen.threads, chosen.items, count)
                        found[engine, busy, count].append(taken)
            finally:
                for neighbour in neighbours:
                    neighbour.kill()
                    neighbour.wait()
    print(f"{chosen.model.name}, {chosen.threads} threads, {chosen.items} items, {chosen.rounds} rounds")
    print(f"{'engine':8}{'busy':>6}  {'rounds awake':20}{'ms an item':>12}{'range':>20}{'ratio':>8}")
    for (engine, busy, count), taken in found.items():
        middle = statistics.median(taken)
        ratio = middle / statistics.median(found[engine, busy, "1000"])
        spread = f"{min(taken) * 1000:,.0f}-{max(taken) * 1000:,.0f}"
        print(f"{engine:8}{busy:6}  {COUNTS[count]:20}{middle * 1000:12,.0f}{spread:>20}{ratio:8.2f}")


if __name__ == "__main__":
    main()
