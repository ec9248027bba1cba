"""The engine of evaluation: a Hugging Face model, with or without adapter, many prompts at once."""

import contextlib
import functools
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from rich.progress import Progress

from radlite import manifest
from radlite.chat import Prompt, Renderer
from radlite.errors import UserError
from radlite.runtime import rounding, weights
from radlite.runtime.grammar import Walk, Weighed, weigh
from radlite.runtime.model import DEFAULT_CONTEXT, Completion, Request, end_ids, never
from radlite.runtime.rounding import Rounding

_WINDOW = 16
"""Batches that are sorted by length together; who wants the order asked waits for one window at most."""


BATCH: Final = {"cpu": 16, "cuda": 64}
"""Prompts at once. A GPU takes as long for one step of 64 rows as of 16, which is the time to launch it."""


def open_model(
    folder: Path, adapter: Path | None = None, batch_size: int | None = None, device: str | None = None
) -> "HfModel":
    """Load a model folder and, if given, a LoRA adapter on it: float32 on a CPU, bfloat16 on a GPU.

    `batch_size` is `BATCH` of the device unless given. An adapter that was trained on a rounded base has it rounded
    here too.

    Raises `UserError` if either cannot be loaded.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; give the folder of a Hugging Face model.")
    if adapter and not (adapter / "adapter_config.json").is_file():
        raise UserError(f"{adapter} has no adapter_config.json; give a folder that `radlite train` wrote.")
    renderer = Renderer.from_folder(folder)
    transformers.utils.logging.disable_progress_bar()
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    try:
        module = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    except Exception as error:  # the libraries below raise anything for a damaged file, bare Exception included
        raise UserError(f"Cannot load the model in {folder} ({type(error).__name__}); get it again.") from error
    context = min(module.config.max_position_embeddings, DEFAULT_CONTEXT)
    if adapter:
        import peft

        if kind := manifest.base_quantized(manifest.read(adapter) if (adapter / manifest.NAME).is_file() else {}):
            round_weights(module, folder, rounding.of(folder, kind))
        try:
            module = peft.PeftModel.from_pretrained(module, os.fspath(adapter))
            keep_zero_rows(module)
            if dtype == torch.float32:  # faster, and no coarser than the adapter's own sum; in bfloat16 it would be
                module = module.merge_and_unload()
        except Exception as error:
            raise UserError(
                f"The adapter in {adapter} does not load on {folder} ({type(error).__name__}); "
                "use the base it was trained on, or train it again."
            ) from error
    batch_size = batch_size or BATCH.get(torch.device(device).type, BATCH["cpu"])
    return HfModel((adapter or folder).resolve().name, module.to(device), renderer, context, batch_size)


def keep_zero_rows(module: Any) -> None:
    """Let rows of zeros be in the matrices of a PEFT model with DoRA, which divides by each row's length.

    Such a row has no direction, and stays as it is.
    """
    from peft.tuners.lora.dora import DoraLinearLayer

    for part in module.modules():
        if isinstance(part, DoraLinearLayer):
            part.get_weight_norm = functools.partial(_divisors, part.get_weight_norm)


def _divisors(lengths: Callable[..., torch.Tensor], *given: Any, **settings: Any) -> torch.Tensor:
    found = lengths(*given, **settings)
    return torch.where(found > 0, found, 1)


def round_weights(module: Any, folder: Path, how: Rounding, progress: Progress | None = None) -> None:
    """Give the matrices of a loaded model, whose folder is `folder`, the values that they have after rounding.

    They keep their type. Raises `UserError` as `Rounding.read` does.
    """
    parameters = dict(module.named_parameters())
    tensors = [tensor for tensor in weights.read(folder).values() if tensor.name in how.types]
    shown = progress.track(tensors, description=f"rounding to {how.kind}") if progress else tensors
    with torch.no_grad():
        for tensor in shown:
            for begin, end in tensor.blocks():
                parameters[tensor.name][begin:end] = torch.from_numpy(how.read(tensor, begin, end))


@dataclass(slots=True)
class _Row:
    """One request on its way: its grammar's walk, ids that the model has yet to read, and the answer so far."""

    request: Request
    walk: Walk | None
    pending: list[int]
    answer: list[int] = field(default_factory=list)
    stop_reason: Literal["", "end", "length"] = ""


class HfModel:
    """A causal language model of `transformers`, which keeps its device and type. For one thread at a time."""

    def __init__(self, name: str, module: Any, renderer: Renderer, context_tokens: int, batch_size: int = 16) -> None:
        self.name = name
        self.renderer = renderer
        self.context_tokens = context_tokens
        self.batch_size = batch_size
        self._module = module
        self._ends = end_ids(renderer)

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests, greedily, those of like length together, which share `seconds` out."""
        window = self.batch_size * _WINDOW
        for begin in range(0, len(requests), window):
            part = requests[begin : begin + window]
            order = sorted(range(len(part)), key=lambda index: len(part[index].prompt.ids))
            for start in range(0, len(order), self.batch_size):
                if stop():
                    return
                batch = order[start : start + self.batch_size]
                for index, completion in zip(batch, self._batch([part[index] for index in batch]), strict=True):
                    yield begin + index, completion

    def next_log_probabilities(self, prompt: Prompt, top: int) -> dict[int, float]:
        """Natural logarithms of the probability of the `top` likeliest ids after `prompt`, likeliest first."""
        with self._evaluating():
            logits, _ = self._forward([prompt.ids], transformers.DynamicCache(), self._no_columns())
            values, ids = logits[0].float().log_softmax(-1).sort(descending=True, stable=True)
        return dict(zip(ids[:top].tolist(), values[:top].tolist(), strict=True))

    def squares(
        self, rows: Iterable[tuple[Sequence[int], Sequence[int]]]
    ) -> dict[str, tuple[NDArray[np.float32], int]]:
        """Squares of what each linear layer is given, summed over the tokens of `rows`, and how many these are: name of
        its weights to (columns) and count.

        A row is ids and loss mask, as from `Renderer.training`. The output layer is given only what answers are written
        from: the places before ids with mask 1. Rows are read one at a time, so that no padding counts. Raises
        `UserError` if the model computes numbers that are not finite.
        """
        sums: dict[str, torch.Tensor] = {}
        counts: Counter[str] = Counter()

        def listen(name: str, _module: Any, given: tuple[torch.Tensor, ...]) -> None:
            values = given[0].flatten(0, -2).float()
            sums[name] = values.square().sum(0, dtype=torch.float64) + sums.get(name, 0)
            counts[name] += len(values)

        layers = {name: one for name, one in self._module.named_modules() if isinstance(one, torch.nn.Linear)}
        with contextlib.ExitStack() as stack:
            for name, layer in layers.items():
                hook = layer.register_forward_pre_hook(functools.partial(listen, f"{name}.weight"))
                stack.callback(hook.remove)
            for ids, mask in rows:
                given = torch.tensor([ids], device=self._module.device)
                at = torch.tensor(mask[1:], device=given.device).nonzero().flatten()
                with self._evaluating():
                    self._module(input_ids=given, logits_to_keep=at, use_cache=False)
        found = {name: (total.float().cpu().numpy(), counts[name]) for name, total in sums.items()}
        for name, (total, _) in found.items():
            if not np.isfinite(total).all():
                raise UserError(f"{self.name} computes what is no finite number before {name}; train or get it again.")
        return found

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        self._module = None

    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete the requests together."""
        begin = time.perf_counter()
        rows = [self._row(request) for request in requests]
        with self._evaluating():
            self._run([row for row in rows if not row.stop_reason])
            weighed = self._weighed(rows)
        seconds = (time.perf_counter() - begin) / len(rows)
        return [self._completion(row, found, seconds) for row, found in zip(rows, weighed, strict=True)]

    def _run(self, rows: list[_Row]) -> None:
        """Extend the answers of all rows until each has stopped; what has stopped leaves the batch."""
        if not rows:
            return
        cache, mask = self._begun([row.pending for row in rows])
        while rows:
            logits, mask = self._forward([row.pending for row in rows], cache, mask)
            for row, likeliest, line in zip(rows, logits.argmax(-1).tolist(), logits, strict=True):
                row.pending = []
                self._extend(row, self._choose(row, likeliest, line))
            keep = [index for index, row in enumerate(rows) if not row.stop_reason]
            if len(keep) < len(rows):
                rows = [rows[index] for index in keep]
                kept = torch.tensor(keep, dtype=torch.long, device=mask.device)
                cache.batch_select_indices(kept)
                mask = mask[kept]

    def _begun(self, pending: Sequence[list[int]]) -> tuple[Any, torch.Tensor]:
        """The cache and the mask of rows that have read what all of them begin with, which is taken off them."""
        cache, mask = transformers.DynamicCache(), self._no_columns()
        shared = _common([row[:-1] for row in pending])
        if shared:
            _, mask = self._forward([pending[0][:shared]], cache, mask)
            cache.batch_repeat_interleave(len(pending))
        for row in pending:
            del row[:shared]
        return cache, mask.expand(len(pending), -1)

    def _forward(
        self, pending: Sequence[Sequence[int]], cache: Any, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read `pending` after what `cache` holds: logits (rows, ids) of each row's last id, and the mask grown.

        `mask` (rows, columns) tells real columns from padding. Rows with fewer ids are padded on the left, at any
        time: positions count real columns only, so that padding inside a row changes nothing.
        """
        width = max(map(len, pending))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in pending], device=mask.device)
        real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in pending], device=mask.device)
        mask = torch.cat([mask, real], dim=1)
        output = self._module(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1)[:, -width:] - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1], mask

    def _row(self, request: Request) -> _Row:
        row = _Row(request, None, list(request.prompt.ids))
        if request.grammar:
            row.walk = Walk(request.grammar, self.renderer.tokenizer, self.renderer.end_id, request.max_tokens)
            self._extend(row, row.walk.ids)
        return row

    def _choose(self, row: _Row, likeliest: int, logits: torch.Tensor) -> list[int]:
        """The next id of a row, and what its grammar forces after it."""
        return row.walk.take(_among(logits, row.walk.options)) if row.walk else [likeliest]

    def _weighed(self, rows: Sequence[_Row]) -> list[Weighed | None]:
        """The answer at the end of each row's walk, if it has one.

        What has to be known besides is computed for all rows together, in a few rounds.
        """
        found: list[Weighed | None] = [None] * len(rows)
        known: list[dict[tuple[int, ...], torch.Tensor]] = [{} for _ in rows]
        open_ = [(at, row.request, row.walk) for at, row in enumerate(rows) if row.walk]
        while open_:
            missing: list[tuple[int, tuple[int, ...]]] = []
            for at, request, walk in open_:
                weighed, lacking = self._weigh(request, walk, known[at])
                missing += [(at, beginning) for beginning in lacking]
                found[at] = None if lacking else weighed
            open_ = [one for one in open_ if found[one[0]] is None]
            for begin in range(0, len(missing), self.batch_size):
                part = missing[begin : begin + self.batch_size]
                for (at, beginning), line in zip(part, self._after(rows, part), strict=True):
                    known[at][beginning] = line
        return found

    def _after(self, rows: Sequence[_Row], part: Sequence[tuple[int, tuple[int, ...]]]) -> torch.Tensor:
        """Logits (beginnings, ids) after beginnings of answers, each with the place of its row."""
        places = sorted({at for at, _ in part})
        prompts = [list(rows[at].request.prompt.ids) for at in places]
        pending = [ids[:-1] for ids in prompts]
        cache, mask = self._begun(pending)
        _, mask = self._forward(pending, cache, mask)
        chosen = torch.tensor([places.index(at) for at, _ in part], device=mask.device)
        cache.batch_select_indices(chosen)
        last = [[prompts[places.index(at)][-1], *beginning] for at, beginning in part]
        return self._forward(last, cache, mask[chosen])[0]

    def _weigh(
        self, request: Request, walk: Walk, known: Mapping[tuple[int, ...], torch.Tensor]
    ) -> tuple[Weighed, list[tuple[int, ...]]]:
        """As `grammar.weigh`, and the beginnings after which the logits are not `known` yet."""
        missing: list[tuple[int, ...]] = []

        def ask(beginning: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
            if tuple(beginning) in known:
                return _among(known[tuple(beginning)], allowed)
            missing.append(tuple(beginning))
            return {}

        least = request.least if request.alternatives else None
        found = weigh(request.grammar, self.renderer.tokenizer, self.renderer.end_id, walk, ask, least)
        return found, missing

    def _extend(self, row: _Row, ids: Sequence[int]) -> None:
        row.answer += ids
        row.pending += ids
        if row.answer and row.answer[-1] in self._ends:
            row.stop_reason = "end"
        elif len(row.answer) == row.request.max_tokens:
            row.stop_reason = "length"

    def _completion(self, row: _Row, weighed: Weighed | None, seconds: float) -> Completion:
        assert row.stop_reason
        ids, probability, found = weighed if weighed else (row.answer, None, ())
        return Completion(
            text=self.renderer.tokenizer.decode(ids[:-1] if row.stop_reason == "end" else ids),
            stop_reason=row.stop_reason,
            prompt_tokens=len(row.request.prompt.ids),
            cached_tokens=0,
            generated_tokens=len(ids),
            probability=probability,
            alternatives=found,
            seconds=seconds,
        )

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """No dropout and no gradients inside; the module's mode comes back afterwards, as training may go on."""
        training = self._module.training
        self._module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._module.train(training)

    def _no_columns(self) -> torch.Tensor:
        return torch.ones(1, 0, dtype=torch.long, device=self._module.device)


def _among(logits: torch.Tensor, allowed: Sequence[int]) -> dict[int, float]:
    """The probability of each of the ids `allowed`, among these; `logits` (ids)."""
    likely = logits[torch.tensor(allowed, device=logits.device)].double().softmax(-1)
    return dict(zip(allowed, likely.tolist(), strict=True))


def _common(lists: Sequence[list[int]]) -> int:
    """How many ids all lists begin with."""
    columns = zip(*lists, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
