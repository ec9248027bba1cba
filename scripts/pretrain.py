"""Pretrain a tiny base from scratch: `python scripts/pretrain.py qwen2.5 --out src/radlite/models/tiny-qwen2.5`.

The text is synthetic reports in training wording, followed by general reading exercises (`skills.py`) and by questions
on what they say (`related.py`). None of the nine tasks, in its words and form, is in it. Evaluated items are kept out
in two ways: test text uses wordings that are never drawn here, and any report equal to a text of the sample corpus
(all splits, default seed) is dropped and counted.
"""

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

import related
import skills
from radlite import manifest
from radlite.chat import Renderer, Turn
from radlite.data import sample
from radlite.data.sample import chest, rads, staging
from radlite.data.sample.wording import Writer
from radlite.tasks import SYSTEM, TASKS
from radlite.training.base import TEMPLATES, Shape, learn_tokenizer, look_back, new_model, save

REPORTS = (chest.report, rads.report, staging.report)
SYSTEMS = (SYSTEM, "You are a helpful assistant.", "You are a careful reader.", "Answer from the text.")
VOCABULARY = 4096
TEXT_WEIGHT, QUESTION_WEIGHT = 0.3, 0.05  # of a token of a report or a question, against 1 for a token of an answer
DRILLS, RELATED = 0.25, 0.45  # shares of the documents; the rest are parts of reports with exercises
EXCLUDED_PER_SPLIT = 1500


def normal(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.lower().split()).encode()).digest()


def evaluated() -> set[bytes]:
    """Digests of every text in the sample corpus."""
    return {
        normal(text)
        for task in TASKS
        for split in ("train", "validation", "test")
        for example in sample.examples(task, split, EXCLUDED_PER_SPLIT)
        for text in example.inputs.values()
    }


def reports(seed: str) -> Iterator[str]:
    generator = random.Random(seed)
    while True:
        writer = Writer(generator, held_out=False)
        yield REPORTS[int(generator.random() * len(REPORTS))](writer)


def vocabulary_text(count: int) -> Iterator[str]:
    """Text to learn the tokenizer from: reports, exercises, and the forms in which tasks are asked and answered."""
    generator = random.Random("vocabulary")
    stream, writer = reports("vocabulary"), Writer(random.Random("vocabulary/related"), held_out=False)
    for _ in range(count):
        report = next(stream)
        yield report
        for _, question, answer in skills.exercises(generator, report, ["effusion"], 4):
            yield f"{question}\n{answer}"
        text, asked = related.related(generator, writer)
        yield "\n".join([text, *(f"{question}\n{answer}" for _, question, answer in asked)])
    for task in TASKS.values():
        for example in sample.examples(task.name, "train", count // 20, seed=0):
            yield f"[TASK: {task.name}]\n{task.cue}\n{example.answer}"
        yield task.instruction


class Stream:
    """Endless rows of (ids, weights) for one seed."""

    def __init__(self, renderer: Renderer, seed: str, exclude: set[bytes]) -> None:
        self.tokenizer, self.exclude, self.dropped, self.documents = renderer.tokenizer, exclude, 0, 0
        self.random = random.Random(f"{seed}/exercises")
        self.reports = reports(f"{seed}/reports")
        self.writer = Writer(random.Random(f"{seed}/related"), held_out=False)
        self.words = ["effusion"] * 50
        whole = renderer.prompt([Turn("user", "?")]).ids
        self.ask = list(whole[len(self.turn("user", "?")) :])
        assert self.turn("user", "?") + self.ask == list(whole)

    def turn(self, role: str, text: str) -> list[int]:
        """Ids of one turn, as the templates of both families render it."""
        start, end = self.tokenizer.control["<|im_start|>"], self.tokenizer.control["<|im_end|>"]
        return [start, *self.tokenizer.encode(f"{role}\n{text}"), end, *self.tokenizer.encode("\n")]

    def document(self) -> tuple[list[int], list[float], list[tuple[str, int, int]]]:
        """One text with questions on it: ids, loss weights, and where each answer stands."""
        text, exercises, text_weight = self.text()
        self.documents += 1
        ids: list[int] = []
        weights: list[float] = []
        spans: list[tuple[str, int, int]] = []

        def add(more: list[int], weight: float) -> None:
            ids.extend(more)
            weights.extend([weight] * len(more))

        add(self.turn("system", self.random.choice(SYSTEMS)), QUESTION_WEIGHT)
        add(self.turn("user", text), text_weight)
        for kind, question, answer in exercises:
            add(self.turn("user", question) + self.ask, QUESTION_WEIGHT)
            target = [*self.tokenizer.encode(answer), self.tokenizer.control["<|im_end|>"]]
            spans.append((kind, len(ids), len(ids) + len(target)))
            add(target, 1.0)
            add(self.tokenizer.encode("\n"), QUESTION_WEIGHT)
        add([self.tokenizer.control["<|endoftext|>"]], TEXT_WEIGHT)
        return ids, weights, spans

    def text(self) -> tuple[str, list[tuple[str, str, str]], float]:
        """A drill, a report with related questions, or a part of a report with reading exercises; the text's weight."""
        draw = self.random.random()
        if draw < DRILLS:
            # Random words: there is nothing to learn from their order.
            return *skills.drill(self.random, self.words), QUESTION_WEIGHT
        if draw < DRILLS + RELATED:
            report, asked = related.related(self.random, self.writer)
            while normal(report) in self.exclude:
                self.dropped += 1
                report, asked = related.related(self.random, self.writer)
            return report, asked, TEXT_WEIGHT
        report = next(self.reports)
        while normal(report) in self.exclude:
            self.dropped += 1
            report = next(self.reports)
        self.words = [*self.words[-1000:], *self.random.choices(skills.Text(report).content, k=10)]
        part = skills.excerpt(self.random, report)
        return part, skills.exercises(self.random, part, self.words, self.random.randint(4, 9)), TEXT_WEIGHT

    def rows(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Documents one after another in `rows` rows of `length` tokens; the last of each row is cut."""
        ids, weights = [], []
        for _ in range(rows):
            row: list[int] = []
            weight: list[float] = []
            while len(row) < length:
                more, heavy, _ = self.document()
                row += more
                weight += heavy
            ids.append(row[:length])
            weights.append(weight[:length])
        return torch.tensor(ids), torch.tensor(weights)


def copies(generator: torch.Generator, size: int, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of random ids below `size`, each stretch of 4 to 16 of them twice; only the second time counts.

    Nothing but attention to the first time predicts the second, so a model learns to copy from its context within a
    few hundred steps; on reports alone it had not begun to after two million tokens.
    """
    ids, weights = torch.zeros(rows, length + 32, dtype=torch.long), torch.zeros(rows, length + 32)
    for row in range(rows):
        at = 0
        while at < length:
            count = int(torch.randint(4, 16, (1,), generator=generator))
            stretch = torch.randint(size, (count,), generator=generator)
            ids[row, at : at + 2 * count] = stretch.repeat(2)
            weights[row, at + count + 1 : at + 2 * count] = 1
            at += 2 * count
    return ids[:, :length], weights[:, :length]


def loss_of(model: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), ids[:, 1:].reshape(-1), reduction="none"
    )
    weight = weights[:, 1:].reshape(-1)
    return (losses * weight).sum() / weight.sum()


@torch.no_grad()
def measure(model: Any, renderer: Renderer, documents: int) -> dict[str, Any]:
    """Loss and the share of exercises answered to the letter (teacher forced), on documents of another seed."""
    model.eval()
    stream = Stream(renderer, "measure", set())
    right: dict[str, list[bool]] = {}
    losses = []
    for _ in range(documents):
        ids, weights, spans = stream.document()
        ids, weights = ids[:1024], weights[:1024]
        tensor = torch.tensor([ids])
        logits = model(input_ids=tensor, use_cache=False).logits[0]
        guess = logits.argmax(-1).tolist()
        token = functional.cross_entropy(logits[:-1], tensor[0, 1:], reduction="none")
        answer = torch.tensor(weights[1:]) == 1
        losses.append(token[answer].mean().item())
        for kind, start, stop in spans:
            if stop <= len(ids):
                right.setdefault(kind, []).append(guess[start - 1 : stop - 1] == ids[start:stop])
    model.train()
    return {
        "answer_loss": round(sum(losses) / len(losses), 4),
        "right": {kind: round(sum(values) / len(values), 3) for kind, values in sorted(right.items())},
        "documents": documents,
    }


def pace(step: int, steps: int) -> float:
    """Warm-up over 100 steps, then level, then down to zero over the last 40 % of the steps."""
    return min(1.0, (step + 1) / 100, max(0.0, (steps - step) / (0.4 * steps)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(TEMPLATES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=4, help="rows a step")
    parser.add_argument("--length", type=int, default=512, help="tokens a row; double in the last tenth")
    parser.add_argument("--copy-steps", type=int, default=300, help="first steps, on random ids that come twice")
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's learning rate; AdamW's is half of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=200)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)

    tokenizer = learn_tokenizer(vocabulary_text(6000), VOCABULARY)
    renderer = Renderer(tokenizer, TEMPLATES[settings.family])
    model = new_model(settings.family, Shape(), tokenizer, settings.seed)
    look_back(model)
    model.train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=settings.rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=settings.rate / 2, betas=(0.9, 0.95), weight_decay=0.0),
    )
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    stream = Stream(renderer, f"pretrain/{settings.seed}", evaluated())
    generator, known = torch.Generator().manual_seed(settings.seed), 32
    start, tokens, log = time.monotonic(), 0, []
    for step in range(settings.steps):
        long = step >= 0.9 * settings.steps
        rows, length = (settings.rows // 2, settings.length * 2) if long else (settings.rows, settings.length)
        if step < settings.copy_steps:
            ids, weights = copies(generator, known, rows * 4, length // 4)
        else:
            ids, weights = stream.rows(rows, length)
        loss = loss_of(model, ids, weights)
        if step < settings.copy_steps and loss.item() < 1:  # it copies these ids: more of them
            known = min(4 * known, tokenizer.size)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * pace(step, settings.steps)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += ids.numel()
        if not math.isfinite(loss.item()):
            raise SystemExit(f"loss is {loss.item()} at step {step}")
        if step % 50 == 0:
            log.append(
                {"step": step, "loss": round(loss.item(), 4), **({"ids": known} if step < settings.copy_steps else {})}
            )
            print(json.dumps({**log[-1], "tokens": tokens, "seconds": round(time.monotonic() - start)}), flush=True)
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            measured = measure(model, renderer, 60 if step + 1 < settings.steps else 200)
            print(json.dumps(measured), flush=True)
            state = {name: value.clone() for name, value in model.state_dict().items()}
            save(model, tokenizer, settings.family, settings.out)
            model.float().load_state_dict(state)
            manifest.write(
                settings.out,
                manifest.describe(
                    "base",
                    name=settings.out.name,
                    family=settings.family,
                    parameters=sum(p.numel() for p in model.parameters()),
                    recipe={
                        key: value if isinstance(value, int | float) else str(value)
                        for key, value in vars(settings).items()
                        if key not in ("out", "threads")
                    },
                    data="synthetic reports in training wording with exercises and questions; none of the nine tasks",
                    documents=stream.documents,
                    dropped_as_equal_to_a_sample_item=stream.dropped,
                    wordings=sample.census(),
                    steps=step + 1,
                    tokens=tokens,
                    seconds=round(time.monotonic() - start),
                    loss=log[-1]["loss"],
                    measured=measured,
                    template_hash=renderer.hash,
                ),
            )


if __name__ == "__main__":
    main()
