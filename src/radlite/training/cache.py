"""The ids of a corpus's rows, kept inside the corpus, so that a second run need not make them again."""

import contextlib
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError
from radlite.files import atomic
from radlite.manifest import text_hash
from radlite.tasks import Example, named
from radlite.training import batches
from radlite.training.batches import Sample

_KEPT = 4
"""Files of a task and split, the newest: for as many models or wordings in turn."""


def encode(
    folder: Path, examples: Sequence[Example], renderer: Renderer, max_tokens: int, keep: bool = True
) -> tuple[dict[tuple[str, str], Sample], list[dict[str, Any]]]:
    """As `batches.encode`, for rows of the corpus in `folder`; those that were encoded before are read from there.

    There is a file for each task and split, named by the digest of what ids follow from: rows, tokenizer, template and
    wording. It appears whole or not at all, so that processes may share it. Where none can be written, or one is
    damaged, rows are encoded as if there were none; without `keep` none is written.
    """
    files = corpus.describe(folder)["files"]
    parts = defaultdict[tuple[str, str], list[Example]](list)
    for example in examples:
        parts[example.task, example.split].append(example)
    found: dict[tuple[str, str], Sample] = {}
    for (task, split), rows in parts.items():
        key = _key(files[f"{task}/{split}.parquet"]["sha256"], task, renderer)
        samples = _part(folder / corpus.ENCODED / f"{task}.{split}.{key}", rows, renderer, keep)
        found.update({(task, row.id): samples[row.id] for row in rows})
    return batches.within((found[example.task, example.id] for example in examples), max_tokens)


def _key(rows: str, task: str, renderer: Renderer) -> str:
    tokenizer = renderer.tokenizer
    ends = [renderer.special, renderer.first, renderer.end_id]
    return text_hash([rows, named(task).wording, tokenizer.definition, renderer.template, *ends])[:32]


def _part(path: Path, rows: Sequence[Example], renderer: Renderer, keep: bool) -> dict[str, Sample]:
    """Samples by id of rows of one task and split, the file `path` brought up to date."""
    kept = _read(path, rows[0].task)
    # One row is made again each time: what is kept may come from a version of the code that made other ids.
    probe = next((row for row in rows if row.id in kept), None)
    if probe and not _equal(batches.encoded(probe, renderer), kept[probe.id]):
        kept = {}
    if missing := [row for row in rows if row.id not in kept]:
        kept |= {row.id: batches.encoded(row, renderer) for row in missing}
        if keep:
            with contextlib.suppress(UserError, OSError):  # a corpus that may only be read, a full disk
                _write(path, kept)
    return kept


def _equal(one: Sample, other: Sample) -> bool:
    return one.targets == other.targets and np.array_equal(one.ids, other.ids)


def _read(path: Path, task: str) -> dict[str, Sample]:
    """The samples of the file by their ids; none if it is not there, or not as it was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    digest, body = data[:32], memoryview(data)[32:]
    if hashlib.sha256(body).digest() != digest:
        return {}
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        names, ids = json.loads(arrays["names"].tobytes()), arrays["ids"]
        ends, targets = arrays["ends"].tolist(), arrays["targets"].tolist()
    starts = [0, *ends[:-1]]
    return {
        name: Sample(name, task, ids[start:end], count)
        for name, start, end, count in zip(names, starts, ends, targets, strict=True)
    }


def _write(path: Path, samples: Mapping[str, Sample]) -> None:
    body = io.BytesIO()
    np.savez(
        body,
        names=np.frombuffer(json.dumps(list(samples)).encode(), np.uint8),
        ids=np.concatenate([one.ids for one in samples.values()]),
        ends=np.cumsum([len(one.ids) for one in samples.values()]),
        targets=np.array([one.targets for one in samples.values()]),
    )
    with atomic(path) as part, part.open("wb") as file:
        file.write(hashlib.sha256(body.getbuffer()).digest())
        file.write(body.getbuffer())
    task, split, _ = path.name.split(".")
    ours = sorted(path.parent.glob(f"*{task}.{split}.*"), key=lambda one: one.stat().st_mtime_ns)
    for old in ours[:-_KEPT]:
        old.unlink(missing_ok=True)
