"""The path from an adapter to an answer at true size, on a CPU: what each stage takes in seconds, memory and disk.

    python benchmarks/truesize.py --shape qwen2.5-3b --layers 4          # a cut of true width: some 2 minutes, 4 GB
    python benchmarks/truesize.py --shape qwen2.5-3b --oracle            # the whole of it: 24 GB of disk

A model folder with random weights is made in bfloat16, in files as the hub's. Two steps tune a LoRA adapter of all
seven matrices on it, which is merged, written as a GGUF, held against the merged folder (settings, vocabulary,
template, every tensor), and asked by `radlite read`. With --oracle llama.cpp's own quantiser (llama-cpp-python, `make
native`) makes the same file from the merged model in BF16, and both are compared tensor by tensor, byte by byte.

Each stage is a process of its own. *Memory* is what it had resident at most (VmHWM), less what it had after its
imports; the page cache of files that it reads and writes does not count, pages of files that it maps do (`verify` and
`radlite read` map the GGUF, `train` the weights). *CPU* is the seconds of all threads: divided by the cores, about what
the stage would take on a machine that is not busy. A stage that is done is not done again with the same --room.
"""

import argparse
import contextlib
import ctypes
import importlib
import io
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from radlite.data import corpus, sample
from radlite.errors import UserError
from radlite.export import gguf, verify
from radlite.export.merge import merge
from radlite.runtime import gguf as header
from radlite.runtime import layout, machine, memory, shape

TASK = "n_staging"
REPORT = "Chest CT. Enlarged ipsilateral hilar lymph nodes; mediastinal nodes normal in size. No distant metastasis."


def quantized(source: Path, out: Path, kind: str, importance: Mapping[str, NDArray[np.float32]] | None = None) -> Path:
    """Write what llama.cpp's own quantiser makes of the GGUF `source`; `importance` by names of its tensors."""
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = int(layout.KINDS[kind][0]), machine.cores()
    settings.allow_requantize = False
    kept = {name: np.ascontiguousarray(counts, np.float32) for name, counts in (importance or {}).items()}
    if kept:
        settings.imatrix = (llama_cpp.llama_model_imatrix_data * (len(kept) + 1))(
            *(
                (name.encode(), counts.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), counts.size)
                for name, counts in kept.items()
            )
        )
    with _silent():
        code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(out), ctypes.byref(settings))
    if code:
        raise UserError(f"llama.cpp's quantiser ended with {code}; is the disk full?")
    return out


def differing(ours: Path, theirs: Path) -> dict[str, Any]:
    """Two GGUF files, compared tensor by tensor."""
    mine, other = ({name: (type, data) for name, type, data in gguf.read(path)} for path in (ours, theirs))
    both = [name for name in mine if name in other and mine[name][0] == other[name][0]]
    unequal = {name: int(np.count_nonzero(mine[name][1] != other[name][1])) for name in both}
    return {
        "tensors": len(mine),
        "missing": sorted(mine.keys() ^ other.keys()),
        "other type": sorted(name for name in mine.keys() & other.keys() if mine[name][0] != other[name][0]),
        "other bytes": {name: count for name, count in unequal.items() if count},
        "bytes": {
            path: sum(data.nbytes for _, data in one.values()) for path, one in (("ours", mine), ("theirs", other))
        },
        "files": {"ours": ours.stat().st_size, "theirs": theirs.stat().st_size},
    }


@contextlib.contextmanager
def _silent() -> Any:
    """Keep off the terminal what llama.cpp writes to it."""
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(nowhere)


def make(room: Path, given: argparse.Namespace) -> str:
    """Rows to tune on, and the base."""
    corpus.write(room / "corpus", [*sample.examples(TASK, "train", 16), *sample.examples(TASK, "validation", 2)], {})
    shape.write_folder(given.shape, room / "base", given.layers, vocabulary=given.vocabulary)
    return f"{_size(room / 'base'):,.2f} GB in {len(list((room / 'base').glob('*.safetensors')))} files"


def tune(room: Path, given: argparse.Namespace) -> str:
    from radlite.training import trainer
    from radlite.training.config import TrainConfig

    config = TrainConfig(
        base=str(room / "base"), corpus=room / "corpus", out=room / "adapter", rank=given.rank, alpha=2 * given.rank,
        max_steps=2, max_tokens=512, pack_tokens=512, rows_per_step=1, limit_per_task=8,
    )  # fmt: skip
    trainer.train(config, progress=False)
    return f"2 steps, rank {given.rank}, {_size(room / 'adapter'):,.2f} GB"


def merged(room: Path, given: argparse.Namespace) -> str:
    merge(room / "adapter", room / "merged")
    return f"{_size(room / 'merged'):,.2f} GB"


def quantize(room: Path, given: argparse.Namespace) -> str:
    path = gguf.write(room / "merged", room / f"{given.kind}.gguf", given.kind)
    types = Counter(Type(number).name for number in header.read(path).types.values())
    return f"{path.stat().st_size / 1e9:,.3f} GB: {', '.join(f'{count} {name}' for name, count in types.items())}"


def hold(room: Path, given: argparse.Namespace) -> str:
    checks = verify.verify(room / f"{given.kind}.gguf", room / "merged", None).checks
    if wrong := [check for check in checks if not check.passed]:
        raise UserError(f"{wrong[0].name}: {wrong[0].measured}")
    return "; ".join(check.measured for check in checks)


def read(room: Path, given: argparse.Namespace) -> str:
    """`radlite read`, as a user asks it."""
    from radlite.cli import app

    (room / "report.txt").write_text(REPORT)
    asked = ["read", str(room / "report.txt"), "--task", TASK, "--model", str(room / f"{given.kind}.gguf")]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        app(asked, standalone_mode=False)
    return said.getvalue().strip().split("\n")[0]


def exact(room: Path, given: argparse.Namespace) -> str:
    path = gguf.write(room / "merged", room / "BF16.gguf", "BF16")
    return f"{path.stat().st_size / 1e9:,.3f} GB"


def oracle(room: Path, given: argparse.Namespace) -> str:
    path = quantized(room / "BF16.gguf", room / f"{given.kind}-llama.cpp.gguf", given.kind)
    return f"{path.stat().st_size / 1e9:,.3f} GB"


def compared(room: Path, given: argparse.Namespace) -> str:
    found = differing(room / f"{given.kind}.gguf", room / f"{given.kind}-llama.cpp.gguf")
    unequal = sum(found["other bytes"].values())
    return (
        f"{found['tensors']} tensors, {len(found['missing'])} in one file alone, {len(found['other type'])} of another "
        f"type, {len(found['other bytes'])} of other bytes ({unequal:,} of {found['bytes']['ours']:,} bytes); "
        f"files of {found['files']['ours']:,} and {found['files']['theirs']:,} bytes"
    )


STAGES: dict[str, tuple[Callable[[Path, argparse.Namespace], str], str | None]] = {
    "make": (make, "base/radlite.json"),
    "tune": (tune, "adapter/radlite.json"),
    "merge": (merged, "merged/radlite.json"),
    "quantize": (quantize, "{kind}.gguf"),
    "verify": (hold, None),
    "read": (read, None),
}
ORACLE: dict[str, tuple[Callable[[Path, argparse.Namespace], str], str | None]] = {
    "exact": (exact, "BF16.gguf"),
    "llama.cpp": (oracle, "{kind}-llama.cpp.gguf"),
    "compare": (compared, None),
}
"""What a stage does, and the file in the room that says that it is done."""


def stage(name: str, room: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One stage in this process: what it says, seconds, and memory in bytes."""
    for module in {"tune": ["radlite.training.trainer"], "read": ["radlite.cli.read", "xllamacpp"]}.get(name, []):
        importlib.import_module(module)
    before, begun, used = memory.peak() or 0, time.perf_counter(), time.process_time()
    said = (STAGES | ORACLE)[name][0](room, given)
    return {
        "said": said,
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - used,
        "memory": (memory.peak() or 0) - before,
    }


def _child(pipe: Any, name: str, room: Path, given: argparse.Namespace) -> None:
    try:
        pipe.send(stage(name, room, given))
    except UserError as error:
        pipe.send({"error": str(error)})


def _apart(name: str, room: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A stage in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, name, room, given))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        process.join()
        found = {"error": f"the process ended with {process.exitcode}"}
    process.join()
    return found


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def _demand_room(room: Path, given: argparse.Namespace) -> None:
    """Raise `UserError` unless disk and memory suffice."""
    config = shape.SHAPES[given.shape] | ({"num_hidden_layers": given.layers} if given.layers else {})
    count = sum(int(np.prod(size)) for _, size in layout.tensors(config).values())
    disk = (2 + 2 + 1 + (2 + 1 if given.oracle else 0)) * count + (1 << 30)
    free = shutil.disk_usage(room).free + round(1e9 * _size(room))
    if free < disk:
        raise UserError(f"{room} has {free / 1e9:,.0f} GB left of {disk / 1e9:,.0f} that are needed; try --layers 4.")
    needed, there = 2.6 * count + 3e9, memory.available()
    if there is not None and there < needed:
        raise UserError(
            f"Two steps of training need some {needed / 1e9:,.0f} GB of memory, and {there / 1e9:,.0f} are free; "
            "try --layers 4."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(shape.SHAPES), default="qwen2.5-3b")
    parser.add_argument("--layers", type=int, help="cut the model to so many")
    parser.add_argument("--vocabulary", type=Path, help="GGUF or folder with Qwen's own; else the tiny base's")
    parser.add_argument("--kind", choices=list(layout.KINDS), default="Q4_K_M")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--room", type=Path, help="folder for the files; a temporary one if not given")
    parser.add_argument("--oracle", action="store_true", help="compare with llama.cpp's own quantiser")
    parser.add_argument("--clean", action="store_true", help="remove the files in --room at the end")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        room = given.room or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        room.mkdir(parents=True, exist_ok=True)
        _demand_room(room, given)
        config = shape.SHAPES[given.shape] | ({"num_hidden_layers": given.layers} if given.layers else {})
        sizes = [int(np.prod(size)) for _, size in layout.tensors(config).values()]
        print(
            f"{given.shape}, {config['num_hidden_layers']} layers, {sum(sizes) / 1e6:,.0f} million parameters, largest "
            f"tensor {2 * max(sizes) / 1e9:.2f} GB in 16 bits; {machine.describe().cpu}, {machine.cores()} cores"
        )
        numbers: dict[str, Any] = {}
        for name, (_, sign) in (STAGES | (ORACLE if given.oracle else {})).items():
            if sign and (room / sign.format(kind=given.kind)).exists():
                print(f"{name:>10}  done before", flush=True)
                continue
            numbers[name] = found = _apart(name, room, given)
            if "error" in found:
                print(f"{name:>10}  failed: {found['error']}")
                break
            taken = f"{found['seconds']:6.1f} s ({found['cpu']:5.1f} CPU)  {found['memory'] / 1e9:5.2f} GB"
            print(f"{name:>10}  {taken}  {found['said']}", flush=True)
        if given.out:
            given.out.write_text(json.dumps({"config": config, "stages": numbers}, indent=1))
        if given.clean and given.room:
            for name in ("base", "corpus", "adapter", "merged"):
                shutil.rmtree(room / name, ignore_errors=True)
            for path in (*room.glob("*.gguf"), room / "report.txt"):
                path.unlink(missing_ok=True)
        if any("error" in found for found in numbers.values()):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
