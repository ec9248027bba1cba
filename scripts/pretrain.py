"""Pretrain a tiny base from scratch: `python scripts/pretrain.py qwen2.5 --out src/radlite/models/tiny-qwen2.5`.

The text is synthetic reports in training wording, followed by general reading exercises (`skills.py`) and by questions
on what they say (`related.py`). None of the nine tasks, in its words and form, is in it. Evaluated items are kept out
in two ways: test text uses wordings that are never drawn here, and any report equal to one of the first 1,500 texts of
a task and split of the sample corpus (default seed) is dropped and counted.
"""

import argparse
import copy
import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn import functional

import related
import skills
from fold import fold
from radlite import manifest
from radlite.chat import Renderer, Turn
from radlite.data import sample
from radlite.data.sample import chest, rads, staging
from radlite.data.sample.wording import Writer
from radlite.files import atomic, atomic_folder
from radlite.tasks import SYSTEM, TASKS
from radlite.training.base import TEMPLATES, Shape, learn_tokenizer, look_back, new_model, save

REPORTS = (chest.report, rads.report, staging.report)
SYSTEMS = (SYSTEM, "You are a helpful assistant.", "You are a careful reader.", "Answer from the text.")
VOCABULARY = 4096
TEXT_WEIGHT, TEXT_SHARE = 0.4, 0.25  # of a token of a report against 1 for one of an answer; how many are taken
DRILLS, RELATED = 0.12, 0.75  # shares of the documents; the rest are parts of reports with exercises
BRIEF = 0.75  # share of the reports with questions that say little else
ASKED_ONCE, ASKED_AGAIN = 0.1, 0.1  # weight of a question that an answer repeats; share of conversations on more texts
COPY_EVERY = 16  # steps, after the first ones, on random ids that come twice
POOL = 256  # documents sorted by length at a time
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
        text, turns = related.related(generator, writer)
        yield "\n".join([text, *(f"{question}\n{answer}" for asked in turns for _, question, answer in asked)])
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
        self.words = [word for _ in range(50) for word in skills.Text(next(self.reports)).content]
        whole = renderer.prompt([Turn("user", "?")]).ids
        self.ask = list(whole[len(self.turn("user", "?")) :])
        assert self.turn("user", "?") + self.ask == list(whole)

    def turn(self, role: str, text: str) -> list[int]:
        """Ids of one turn, as the templates of both families render it."""
        start, end = self.tokenizer.control["<|im_start|>"], self.tokenizer.control["<|im_end|>"]
        return [start, *self.tokenizer.encode(f"{role}\n{text}"), end, *self.tokenizer.encode("\n")]

    def document(self) -> tuple[list[int], list[float], list[tuple[str, int, int]]]:
        """A conversation on one text or a few: ids, loss weights, and where each answer stands.

        Half of the turns with several questions are answered with each question before its answer: there a model has
        to look up what stands right before, which it learns much sooner, and then helps it where the question is far.
        """
        ids: list[int] = []
        weights: list[float] = []
        spans: list[tuple[str, int, int]] = []

        def add(more: list[int], weight: float = 0.0) -> None:
            ids.extend(more)
            weights.extend([weight] * len(more))

        add(self.turn("system", self.random.choice(SYSTEMS)))
        end, line = self.tokenizer.control["<|im_end|>"], self.tokenizer.encode("\n")
        for _ in range(self.random.randint(2, 4) if self.random.random() < ASKED_AGAIN else 1):
            text, turns = self.text()
            self.documents += 1
            words = self.turn("user", text)
            ids += words
            weights += [TEXT_WEIGHT if self.random.random() < TEXT_SHARE else 0.0 for _ in words]
            for asked in turns:
                for part in "\n".join(question for _, question, _ in asked).split(related.TURN):
                    add(self.turn("user", part))
                add(self.ask)
                repeat = len(asked) > 1 and self.random.random() < 0.5
                for number, (kind, question, answer) in enumerate(asked, 1):
                    if repeat:
                        add(self.tokenizer.encode(question), ASKED_ONCE)
                        answer = f" {answer}"
                    target = [*self.tokenizer.encode(answer), *([end] if number == len(asked) else line)]
                    spans.append((kind + " after" * repeat, len(ids), len(ids) + len(target)))
                    add(target, 1.0)
                add(line)
        add([self.tokenizer.control["<|endoftext|>"]], TEXT_WEIGHT)
        return ids, weights, spans

    def text(self) -> tuple[str, list[list[tuple[str, str, str]]]]:
        """A drill, a report with related questions, or a part of a report with exercises; questions turn by turn."""
        draw = self.random.random()
        if draw < DRILLS:
            text, asked = skills.drill(self.random, self.words)
            return text, [[one] for one in asked]
        if draw < DRILLS + RELATED:
            return self.kept_out(self.related)
        report, _ = self.kept_out(lambda: (next(self.reports), []))
        self.words = [*self.words[-1000:], *self.random.choices(skills.Text(report).content, k=10)]
        part = skills.excerpt(self.random, report)
        asked = skills.exercises(self.random, part, self.words, self.random.randint(4, 9))
        return part, [[one] for one in asked]

    def related(self) -> tuple[str, list[list[tuple[str, str, str]]]]:
        self.writer.brief = self.random.random() < BRIEF
        return related.related(self.random, self.writer)

    def kept_out(self, make: Callable[[], tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
        """What `make` makes, with no text of the sample corpus."""
        while normal((made := make())[0]) in self.exclude:
            self.dropped += 1
        return made

    def batches(self, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Documents of like length, one a row and filled up at the end, about `tokens` ids in all.

        One a row: what another document answers to the same question would only mislead.
        """
        filler = self.tokenizer.control["<|endoftext|>"]
        while True:
            pool = sorted((self.document()[:2] for _ in range(POOL)), key=lambda row: len(row[0]))
            batches = []
            while pool:
                # The longest that is left decides; few different lengths, as kernels are prepared for each anew.
                length = min(tokens, -(-len(pool[-1][0]) // 64) * 64)
                count = max(1, round(tokens / length))
                batches.append((length, pool[-count:]))
                pool = pool[:-count]
            self.random.shuffle(batches)
            for length, rows in batches:
                ids, weights = torch.full((len(rows), length), filler), torch.zeros(len(rows), length)
                for number, (row, weight) in enumerate(rows):
                    ids[number, : len(row)] = torch.tensor(row[:length])
                    weights[number, : len(row)] = torch.tensor(weight[:length])
                yield ids, weights


def copies(
    generator: torch.Generator, size: int, reach: int, rows: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of random ids below `size`: `reach` stretches of 4 to 16 ids, then the same in another order, and so on.

    Only what attention to the first time can predict counts: all but the first ids of a stretch that comes again. So a
    model learns to copy from its context within a few hundred steps; on reports alone it had not begun to after two
    million tokens.
    """

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    ids, weights = torch.zeros(rows, length, dtype=torch.long), torch.zeros(rows, length)
    for row in range(rows):
        told: list[int] = []
        counted: list[float] = []
        while len(told) < length:
            stretches = [torch.randint(size, (4 + draw(12),), generator=generator).tolist() for _ in range(reach)]
            told += [one for stretch in stretches for one in stretch]
            counted += [0.0] * (len(told) - len(counted))
            for index in torch.randperm(reach, generator=generator).tolist():
                told += stretches[index]
                unknown = 1 if reach == 1 else 2
                counted += [0.0] * unknown + [1.0] * (len(stretches[index]) - unknown)
        ids[row], weights[row] = torch.tensor(told[:length]), torch.tensor(counted[:length])
    return ids, weights


def loss_of(model: Any, body: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy; `body` is `model.model`, compiled. Logits are made only where a weight is not 0."""
    weight, target = weights[:, 1:].reshape(-1), ids[:, 1:].reshape(-1)
    counted = weight.nonzero().squeeze(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state
        logits = hidden[:, :-1].flatten(0, 1)[counted] @ model.get_input_embeddings().weight.T
    losses = functional.cross_entropy(logits.float(), target[counted], reduction="none")
    return (losses * weight[counted]).sum() / weight.sum()


@torch.no_grad()
def measure(model: Any, renderer: Renderer, documents: int) -> dict[str, Any]:
    """Loss and the share of exercises answered to the letter (teacher forced), on documents of another seed."""
    model.eval()
    stream = Stream(renderer, "measure", set())
    right: dict[str, list[bool]] = {}
    losses = []
    for _ in range(documents):
        ids, weights, spans = stream.document()
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


def pace(step: int, steps: int, copy_steps: int) -> float:
    """Warm-up over 100 steps, level; a third of it after copying, down to zero over the last 40 % of the steps."""
    if step < copy_steps:
        return min(1.0, (step + 1) / 100)
    return 0.3 * min(1.0, (step + 1) / 100, (steps - step) / (0.4 * steps))


class Copying:
    """The random ids that come twice: more of them, then further apart, as soon as the model copies what it gets."""

    def __init__(self, seed: int, size: int) -> None:
        self.generator, self.size = torch.Generator().manual_seed(seed), size
        self.known, self.reach = 32, 1

    def batch(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Short rows as long as each stretch comes again at once: chance repeats of the few ids would mislead."""
        length = 128 if self.reach == 1 else 512
        return copies(self.generator, self.known, self.reach, max(1, tokens // length), length)

    def harder(self) -> None:
        if self.known < self.size:
            self.known = min(4 * self.known, self.size)
        else:
            self.reach = min(2 * self.reach, 12)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(TEMPLATES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--start", type=Path, help="go on from this base, with another --seed; a qwen2.5 from a qwen3 too"
    )
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a step, and of a document at most")
    parser.add_argument("--copy-steps", type=int, default=450, help="first steps, on random ids that come twice")
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's learning rate; AdamW's is half of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument(
        "--eager", action="store_true", help="do not compile: needs no C++ compiler, takes twice as long"
    )
    return parser.parse_args()


def begin(settings: argparse.Namespace) -> tuple[Any, Renderer, list[dict[str, Any]]]:
    """A new model, or the one of `--start`; its renderer; what the runs before this one were."""
    if not settings.start:
        tokenizer = learn_tokenizer(vocabulary_text(6000), VOCABULARY)
        model = new_model(settings.family, Shape(), tokenizer, settings.seed)
        look_back(model)
        return model, Renderer(tokenizer, TEMPLATES[settings.family]), []
    made = manifest.read(settings.start, "base")
    facts = ("recipe", "steps", "tokens", "documents", "dropped_as_equal_to_a_sample_item", "seconds")
    model = transformers.AutoModelForCausalLM.from_pretrained(settings.start, dtype=torch.float32)
    renderer = Renderer.from_folder(settings.start)
    if (made["family"], settings.family) == ("qwen3", "qwen2.5"):
        stream = Stream(renderer, "fold", set())
        model = fold(model, renderer.tokenizer, (stream.document()[0] for _ in range(60)))
        renderer = Renderer(renderer.tokenizer, TEMPLATES[settings.family])
    elif made["family"] != settings.family:
        raise SystemExit(f"{settings.start} is a {made['family']}, which cannot become a {settings.family}.")
    return model, renderer, [*made.get("earlier", []), {fact: made[fact] for fact in facts}]


class Pretraining:
    """One run. It can be stopped at any time; the same command takes it up again and ends with the same weights."""

    def __init__(self, settings: argparse.Namespace) -> None:
        if settings.start and settings.start.resolve() == settings.out.resolve():
            raise SystemExit("A run does not write over what it starts from; give another --out.")
        torch.set_num_threads(settings.threads)
        self.settings, self.kept = settings, settings.out.with_name(f"{settings.out.name}.training.pt")
        self.recipe = {
            key: value if isinstance(value, int | float) else str(value)
            for key, value in vars(settings).items()
            if key not in ("out", "start", "threads", "save_every", "eager")
        }
        self.model, self.renderer, self.earlier = begin(settings)
        self.from_weights = manifest.weights_hash(settings.start) if settings.start else ""
        self.model.train()
        # Twice as fast: a model this small spends most of its time between the matrix products, which this fuses.
        self.body = self.model.model if settings.eager else torch.compile(self.model.model, dynamic=True)
        matrices = [p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in self.model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.optimizers = (
            torch.optim.Muon(matrices, lr=settings.rate, momentum=0.95, weight_decay=0.01),
            torch.optim.AdamW(others, lr=settings.rate / 2, betas=(0.9, 0.95), weight_decay=0.0),
        )
        self.stream = Stream(self.renderer, f"pretrain/{settings.seed}", evaluated())
        self.batches = self.stream.batches(settings.tokens)
        self.copying = Copying(settings.seed, self.renderer.tokenizer.size)
        if self.earlier:
            self.copying.known, self.copying.reach = self.copying.size, 12
        self.step, self.tokens, self.drawn, self.seconds, self.loss = 0, 0, 0, 0.0, math.nan

    def run(self) -> None:
        """Train to the last step; leave the base, its manifest, and no checkpoint."""
        self.resume()
        steps = self.settings.steps
        while self.step < steps:
            begun = time.monotonic()
            loss = self.advance()
            self.step += 1
            self.seconds += time.monotonic() - begun
            if self.step % 50 == (1 if self.step <= self.settings.copy_steps else 2):  # 2: never a copying step
                self.loss = round(loss, 4)
                facts = {"step": self.step, "loss": self.loss, "tokens": self.tokens, "seconds": round(self.seconds)}
                print(json.dumps({**facts, "ids": self.copying.known, "reach": self.copying.reach}), flush=True)
            if self.step % self.settings.save_every == 0 or self.step == steps:
                measured = measure(self.model, self.renderer, 60 if self.step < steps else 300)
                print(json.dumps(measured), flush=True)
                with atomic_folder(self.settings.out) as part:
                    save(copy.deepcopy(self.model), self.renderer.tokenizer, self.settings.family, part)
                    manifest.write(part, self.describe(measured))
                self.keep()
        self.kept.unlink(missing_ok=True)

    def advance(self) -> float:
        """One step; returns its loss."""
        copied = self.step < self.settings.copy_steps or self.step % COPY_EVERY == 0
        if copied:
            ids, weights = self.copying.batch(self.settings.tokens)
        else:
            ids, weights = next(self.batches)
            self.drawn += 1
        loss = loss_of(self.model, self.body, ids, weights)
        value = loss.item()
        if not math.isfinite(value):
            raise SystemExit(f"loss is {value} at step {self.step}")
        if copied and value < 1:
            self.copying.harder()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        share = pace(self.step, self.settings.steps, self.settings.copy_steps)
        for optimizer, rate in zip(self.optimizers, (self.settings.rate, self.settings.rate / 2), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.tokens += ids.numel()
        return value

    def keep(self) -> None:
        """Write what `resume` needs."""
        with atomic(self.kept) as part:
            torch.save(
                {
                    "recipe": (self.recipe, self.from_weights),
                    "numbers": (self.step, self.tokens, self.drawn, self.seconds, self.loss),
                    "copying": (self.copying.generator.get_state(), self.copying.known, self.copying.reach),
                    "model": self.model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                },
                part,
            )

    def resume(self) -> None:
        """Go on where an interrupted run of the same recipe was last kept, if there is one."""
        if not self.kept.is_file():
            return
        state = torch.load(self.kept, weights_only=True)
        if state["recipe"] != (self.recipe, self.from_weights):
            raise SystemExit(f"{self.kept} is of a run with other settings; delete it to begin anew.")
        self.step, self.tokens, self.drawn, self.seconds, self.loss = state["numbers"]
        generator, self.copying.known, self.copying.reach = state["copying"]
        self.copying.generator.set_state(generator)
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        for _ in range(self.drawn):
            next(self.batches)

    def describe(self, measured: dict[str, Any]) -> dict[str, Any]:
        """The manifest of the base."""
        return manifest.describe(
            "base",
            name=self.settings.out.name,
            family=self.settings.family,
            recipe=self.recipe,
            data="synthetic reports in training wording with exercises and questions; none of the nine tasks",
            wordings=sample.census(),
            parameters=sum(p.numel() for p in self.model.parameters()),
            documents=self.stream.documents,
            dropped_as_equal_to_a_sample_item=self.stream.dropped,
            steps=self.step,
            tokens=self.tokens,
            seconds=round(self.seconds),
            earlier=self.earlier,
            loss=self.loss,
            measured=measured,
            template_hash=self.renderer.hash,
        )


if __name__ == "__main__":
    Pretraining(arguments()).run()
