"""The gate: a faithful file passes, and each kind of damage is caught by the check that should catch it."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console

from radlite.errors import UserError
from radlite.export import gguf, verify
from radlite.export.verify import Verification
from radlite.runtime import gguf as header
from radlite.tasks import Example
from tests.export.conftest import Tensors, rewritten


def failed(verification: Verification) -> set[str]:
    return {check.name for check in verification.checks if not check.passed}


def test_a_faithful_file_passes(file: Path, tuned: Path, items: list[Example]) -> None:
    found = verify.verify(file, tuned, items, threads=1)
    assert found.passed, failed(found)
    assert found.kind in file.name
    names = {check.name for check in found.checks}
    assert {"settings and vocabulary", "chat template", "tensors", "prompt ids", "log-probabilities"} <= names
    if found.kind == "F16":
        assert "greedy answers" in names and not found.changes
    else:
        assert {task: change.n for task, change in found.changes.items()} == dict.fromkeys(
            ("radiology_nli", "n_staging", "impression_generation"), 3
        )


def test_the_tuned_model_stops_by_itself_so_that_the_check_means_something(
    file: Path, tuned: Path, items: list[Example]
) -> None:
    [check] = [check for check in verify.verify(file, tuned, items, threads=1).checks if check.name.startswith("stops")]
    assert check.measured == "9 of 9"


def swap(tensors: Tensors) -> None:
    tensors["blk.0.ffn_gate.weight"], tensors["blk.0.ffn_up.weight"] = (
        tensors["blk.0.ffn_up.weight"], tensors["blk.0.ffn_gate.weight"],
    )  # fmt: skip


def drop(tensors: Tensors) -> None:
    """A projection without what is added to, or scales, its result."""
    if "blk.1.attn_q.bias" in tensors:
        del tensors["blk.1.attn_q.bias"]
    else:
        del tensors["blk.1.attn_q_norm.weight"]


def zero(tensors: Tensors) -> None:
    name = next(name for name in ("blk.1.attn_q.bias", "blk.1.attn_q_norm.weight") if name in tensors)
    tensors[name] = np.zeros_like(tensors[name][0]), tensors[name][1]


def spoil(tensors: Tensors) -> None:
    data, kind = tensors["output_norm.weight"]
    tensors["output_norm.weight"] = np.full_like(data, np.nan), kind


def nudge(tensors: Tensors) -> None:
    """One row of the largest matrix, negated."""
    data, kind = tensors["token_embd.weight"]
    row = data[70].copy()
    if kind == 1:
        data[70] = -row
    else:
        data[70] = data[71]
    tensors["token_embd.weight"] = data, kind


@pytest.mark.parametrize(("change", "caught"), [(None, set()), (swap, {"tensors"}), (nudge, {"tensors"})])
def test_the_file_alone_is_held_against_its_folder_without_torch(
    file: Path, tuned: Path, tmp_path: Path, change: Callable[[Tensors], None] | None, caught: set[str]
) -> None:
    path = rewritten(file, tmp_path / "damaged.gguf", change=change) if change else file
    code = (
        "import sys; from pathlib import Path; from radlite.export import verify; sys.modules['torch'] = None; "
        f"found = verify.verify(Path({str(path)!r}), Path({str(tuned)!r}), None); "
        "print([check.name for check in found.checks if not check.passed], len(found.checks))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"{sorted(caught)} 3"


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        (swap, {"tensors", "log-probabilities"}),
        (drop, {"tensors"}),
        (zero, {"tensors", "log-probabilities"}),
        (spoil, {"tensors"}),
        (nudge, {"tensors"}),
    ],
)
def test_damaged_tensors_are_caught(
    file: Path, tuned: Path, items: list[Example], tmp_path: Path, change: Callable[[Tensors], None], caught: set[str]
) -> None:
    found = verify.verify(rewritten(file, tmp_path / "damaged.gguf", change=change), tuned, items, threads=1)
    assert not found.passed
    exact = found.kind == "F16"
    assert (caught if exact else caught - {"log-probabilities"}) <= failed(found)


def test_a_wrong_rope_base_is_caught_by_its_number_and_by_what_the_model_says(
    file: Path, tuned: Path, items: list[Example], tmp_path: Path
) -> None:
    family = tuned.name
    damaged = rewritten(file, tmp_path / "damaged.gguf", {f"{family}.rope.freq_base": 100.0})
    found = verify.verify(damaged, tuned, items, threads=1)
    assert "settings and vocabulary" in failed(found)
    assert "rope.freq_base" in next(check.measured for check in found.checks if not check.passed)
    if found.kind == "F16":
        assert "log-probabilities" in failed(found)


OTHER = "{% for message in messages %}### {{ message.role }}: {{ message.content }}\n{% endfor %}### assistant:"


def test_a_wrong_template_is_caught(file: Path, tuned: Path, items: list[Example], tmp_path: Path) -> None:
    damaged = rewritten(file, tmp_path / "damaged.gguf", {"tokenizer.chat_template": OTHER})
    found = failed(verify.verify(damaged, tuned, items, threads=1))
    assert {"chat template", "prompt ids"} <= found
    assert "greedy answers" in found or "Q4_K_M" in file.name


@pytest.mark.parametrize("template", ["{% for message in messages %}", "{{ messages[0].content }}", None])
def test_a_template_that_breaks_or_drops_turns_or_is_not_there_is_caught(
    exact: Path, tuned: Path, items: list[Example], tmp_path: Path, template: str | None
) -> None:
    damaged = rewritten(exact, tmp_path / "damaged.gguf", {"tokenizer.chat_template": template})
    assert {"chat template", "prompt ids"} <= failed(verify.verify(damaged, tuned, items, threads=1))


@pytest.mark.parametrize(
    ("key", "damage", "caught"),
    [
        ("tokenizer.ggml.merges", lambda merges: merges[::-1], "prompt ids"),
        ("tokenizer.ggml.tokens", lambda tokens: [tokens[1], tokens[0], *tokens[2:]], "settings and vocabulary"),
        ("tokenizer.ggml.pre", lambda pre: "llama-bpe", "settings and vocabulary"),
        ("tokenizer.ggml.pre", lambda pre: "unheard-of", "prompt ids"),
        ("tokenizer.ggml.add_bos_token", lambda value: True, "settings and vocabulary"),
        ("tokenizer.ggml.eos_token_id", lambda number: number - 1, "settings and vocabulary"),
        ("tokenizer.huggingface.json", lambda text: None, "settings and vocabulary"),
    ],
)
def test_a_wrong_vocabulary_is_caught(
    exact: Path, tuned: Path, items: list[Example], tmp_path: Path, key: str, damage: Callable[[Any], Any], caught: str
) -> None:
    damaged = rewritten(exact, tmp_path / "damaged.gguf", {key: damage(header.read(exact).keys[key])})
    assert caught in failed(verify.verify(damaged, tuned, items, threads=1))


def test_another_models_file_is_caught_by_its_scores(base: Path, tuned: Path, items: list[Example]) -> None:
    """The untrained base, quantised, against what was trained on it, with items enough for a narrow interval."""
    path = gguf.write(base, tuned.with_name(f"{tuned.name}-base.gguf"), "Q4_K_M", threads=1)
    many = [item for item in items if item.task == "n_staging"] * 8
    found = verify.verify(path, tuned, many, threads=1)
    assert {"tensors", "log-probabilities", "score of n_staging"} <= failed(found)
    assert found.changes["n_staging"].high < verify.MARGIN


def test_a_file_cut_short_and_examples_that_fit_nowhere_are_the_users_to_mend(
    file: Path, tuned: Path, items: list[Example], tmp_path: Path
) -> None:
    (tmp_path / "short.gguf").write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cut short"):
        verify.verify(tmp_path / "short.gguf", tuned, items, threads=1)
    with pytest.raises(UserError, match="No example fits"):
        verify.verify(file, tuned, [], threads=1)


def test_the_table_shows_every_check(file: Path, tuned: Path, items: list[Example]) -> None:
    found = verify.verify(file, tuned, items, threads=1)
    console = rich.console.Console(width=200, file=io.StringIO())
    console.print(verify.table(found))
    text = console.file.getvalue()
    assert all(check.name in text and check.measured in text for check in found.checks)
