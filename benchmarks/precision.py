"""How far llama.cpp's kernels are from exact arithmetic, and how often that changes a label.

    python benchmarks/precision.py src/radlite/models/demonstration.gguf
    radlite bench --shape qwen2.5-3b --layers 4 --keep cut.gguf && python benchmarks/precision.py cut.gguf --items 25

The weights of the file are unpacked to float32 into a second file, which is the reference: what differs is then the
kernels' own doing (activations in 8 bits, order of sums), not the quantisation. Each kernel answers the same items of
the label tasks in a process of its own, all together and one by one. Told are the share of items with the reference's
label, and how far the log-probabilities of the labels are from the reference's.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from radlite.data import sample
from radlite.evaluation.estimate import proportion
from radlite.reader import turns
from radlite.runtime.model import Request, in_order
from radlite.tasks import named

TASKS = ("n_staging", "m_staging", "radiology_nli", "abnormality_detection")
KERNELS: dict[str, tuple[str, dict[str, str]]] = {
    "native, tiled": ("native", {}),
    "native, repacked": ("repacked", {}),
    "native, plain": ("native", {"GGML_CPU_TILED_MM": "0"}),
    "wheel": ("wheel", {}),
}


def unpacked(path: Path, out: Path) -> None:
    """Write the file with all weights as float32."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def answer(path: Path, kind: str, items: int, alone: bool) -> list[Any]:
    """Of each item and choice: text to probability, in a fixed order."""
    from radlite.runtime import native, tuning, wheel

    if kind == "wheel":
        model: Any = wheel.open_model(path)
    else:
        chosen = tuning.Settings(tuning.default().threads, repack="on" if kind == "repacked" else "off")
        model = native.open_model(path, chosen=chosen, remembered=0)
    requests = []
    for name in TASKS:
        task = named(name)
        for row in sample.examples(name, "test", items):
            prompt = model.renderer.prompt(turns(task, row.inputs))
            requests.append(Request(prompt, task.max_tokens, task.grammar(row.inputs), True, kind=name))
    groups = [[one] for one in requests] if alone else [requests]
    found = [completion for group in groups for completion in in_order(model.complete(group))]
    model.close()
    return [[dict(one) for one in completion.alternatives] for completion in found]


def asked(path: Path, kind: str, environment: dict[str, str], items: int, alone: bool) -> list[Any]:
    """`answer` in a process of its own: llama.cpp looks at the environment once."""
    command = [sys.executable, __file__, str(path), "--answer", kind, "--items", str(items)]
    done = subprocess.run(
        [*command, *(["--alone"] if alone else [])],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def compare(found: list[Any], reference: list[Any]) -> tuple[int, int, list[float]]:
    """Choices with the same likeliest text, all choices, and how far each text's log-probability is off.

    Later choices of an answer depend on the earlier ones: they count up to the first that differs.
    """
    same, count, off = 0, 0, list[float]()
    for one, other in zip(found, reference, strict=True):
        for left, right in zip(one, other, strict=False):
            count += 1
            off += [
                abs(math.log(left[text]) - math.log(right[text]))
                for text in right
                if min(left[text], right[text]) > 1e-4
            ]
            if max(left, key=left.__getitem__) != max(right, key=right.__getitem__):
                break
            same += 1
    return same, count, off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--items", type=int, default=100, help="of each task")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        print(json.dumps(answer(given.model, given.answer, given.items, given.alone)))
        return
    with tempfile.TemporaryDirectory() as room:
        exact = Path(room) / "exact.gguf"
        unpacked(given.model, exact)
        reference = asked(exact, "native", {"GGML_CPU_TILED_MM": "0"}, given.items, alone=True)
        rows = [(f"{name}, {how}", given.model, kind, environment, how == "alone")
                for name, (kind, environment) in KERNELS.items() for how in ("together", "alone")]  # fmt: skip
        rows.append(("float32, together", exact, "native", {}, False))
        for name, path, kind, environment, alone in rows:
            same, count, off = compare(asked(path, kind, environment, given.items, alone), reference)
            share = proportion(same, count)
            print(
                f"{name}: same choice {share.value:.4f} ({share.low:.4f}-{share.high:.4f}, n={count}); off by "
                f"{np.mean(off):.4f} nats on average, {np.quantile(off, 0.99):.3f} in 99 of 100, {max(off):.2f} most",
                flush=True,
            )


if __name__ == "__main__":
    main()
