"""How long it takes, and how much memory, to build a corpus of N synthetic reports: read, split, compare, write.

    python benchmarks/corpus.py 100000 300000 1000000 --workers 2

The reports are written to a CSV file first, which is not counted: chest radiograph reports with impressions of as many
patients as half the reports, without official splits, so that every part of the build has work. Each size is built in
a process of its own; memory is the highest sum of resident sets of that process and its workers, sampled each 0.2 s.
"""

import argparse
import csv
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from radlite.data import sample
from radlite.data.build import build
from radlite.data.sources import Source, Tally
from radlite.data.sources.files import read_csv
from radlite.tasks import Example

COLUMNS = ("id", "patient", "report", "impression")


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    for _, row in read_csv(folder, "reports.csv", COLUMNS, tally):
        yield SOURCE.example(
            "impression_generation", row["id"], {"report": row["report"]}, row["impression"], f"bench:{row['patient']}"
        )


SOURCE = Source(
    name="bench", title="Reports of the synthesiser in a CSV file", licence="Apache-2.0", access="generated",
    tier="synthetic", citation="RadLite", tasks=("impression_generation",), how_to="Nothing to get.", rows=rows,
)  # fmt: skip


def write(folder: Path, start: int, count: int, templates: float) -> None:
    """Append reports; the share `templates` of them is one report with up to three words changed."""
    chance = random.Random(start)
    template = next(sample.examples("impression_generation", "train", 1, seed=-1)).inputs["report"].split()
    with (folder / "reports.csv").open("a", newline="") as file:
        table = csv.writer(file)
        if not start:
            table.writerow(COLUMNS)
        for number, one in enumerate(sample.examples("impression_generation", "train", count, start), start=start):
            report = one.inputs["report"]
            if chance.random() < templates:
                said = [*template]
                for _ in range(3):
                    said[chance.randrange(len(said))] = f"word{chance.randrange(100_000)}"
                report = " ".join(said)
            table.writerow([number, number // 2, report, one.answer])


def measured(folder: Path, out: Path, workers: int, result: Any) -> None:
    """Build in this process, and send seconds, highest resident memory in bytes, rows kept and rows removed."""
    highest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        own = psutil.Process()
        while not done.wait(0.2):
            total = own.memory_info().rss
            for child in own.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            highest = max(highest, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    made = build({"bench": folder}, out, known={"bench": SOURCE}, workers=workers)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    result.send((seconds, highest, made["rows"], sum(sum(one.values()) for one in made["removed"].values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="+", help="numbers of reports, in rising order")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--templates", type=float, default=0.0, help="share of reports that are nearly one and the same"
    )
    options = parser.parse_args()
    room = Path(tempfile.mkdtemp(prefix="radlite-bench-"))
    print("reports     CSV      build   reports/s  memory   kept       removed   µs a report")
    try:
        written = 0
        for size in options.sizes:
            write(room, written, size - written, options.templates)
            written = size
            receiver, sender = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("spawn").Process(
                target=measured, args=(room, room / "corpus", options.workers, sender)
            )
            process.start()
            seconds, memory, kept, removed = receiver.recv()
            process.join()
            megabytes = (room / "reports.csv").stat().st_size / 1e6
            print(
                f"{size:9,} {megabytes:6,.0f} MB {seconds:6.0f} s {size / seconds:9,.0f} {memory / 2**30:6.2f} GiB "
                f"{kept:9,} {removed:9,} {seconds / size * 1e6:9.0f}",
                flush=True,
            )
    finally:
        shutil.rmtree(room)


if __name__ == "__main__":
    main()
