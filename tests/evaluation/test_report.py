"""Tables and summary.json."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from radlite.errors import UserError
from radlite.evaluation.metrics import Row, Stage, grade, rows
from radlite.evaluation.report import markdown, read_rows, show, table, write_summary
from tests.evaluation.items import item, said


def result(model: str, stage: Stage, shots: int = 0, right: int = 5, n: int = 8, split: str = "test") -> list[Row]:
    texts = ["M0"] * right + ["M1"] * (n - right - 1) + ["?"] * (right < n)
    answered = [
        grade(item("m_staging", number, "M0", split), said("m_staging", text)) for number, text in enumerate(texts)
    ]
    return rows(answered, model, stage, shots)


QUANTIZED = result("tiny-qwen2.5", "quantized", right=6) + result("tiny-qwen3", "quantized")
ALL = [
    *result("majority", "baseline", right=4),
    *result("tiny-qwen2.5", "base", right=0),
    *result("tiny-qwen2.5", "tuned", right=7),
    *result("tiny-qwen3", "tuned", shots=3, right=3),
    *QUANTIZED,
    *result("router", "ensemble", right=6),
]


def shown(width: int = 110, **choice: object) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table(ALL, **choice))  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_shows_each_value_with_its_interval_n_and_what_was_lost() -> None:
    text = shown()
    assert "accuracy, n=8" in text
    assert "0.62" in text and ".31–.86" in text
    assert "1 unread" in text


def test_the_table_fits_the_terminal_and_breaks_nothing_off() -> None:
    for width in (80, 100, 120):
        lines = shown(width).splitlines()
        assert max(map(len, lines)) <= width
        assert "…" not in "".join(lines)


def printed(width: int, rows: list[Row]) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(console, rows)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_narrow_terminal_gets_a_table_a_base_with_the_best_baseline_of_each_task() -> None:
    every = [
        *result("tfidf", "baseline", right=6), *result("rules", "baseline", right=2), *ALL,
        *(row for model in ("tiny-qwen2.5", "tiny-qwen3") for shots in (3, 5) for row in result(model, "base", shots)),
    ]  # fmt: skip
    wide, narrow = printed(140, every), printed(80, every)
    assert max(map(len, wide.splitlines())) <= 140 and "TF-IDF" in wide and "best" not in wide
    assert max(map(len, narrow.splitlines())) <= 80 and "TF-IDF" not in narrow and narrow.count("baseline") == 2
    assert narrow.count("0.75\n") + narrow.count(" 0.75 ") >= 2  # TF-IDF's
    assert "…" not in wide + narrow


def test_columns_without_a_result_are_left_out() -> None:
    assert "TF-IDF" not in shown() and "router" in shown()


def test_every_stage_and_number_of_shots_has_a_column() -> None:
    text = markdown([*ALL, *result("tiny-qwen3", "quantized", shots=5)], {"tuned": "tuned", "quantized": "Q8_0"})
    assert "| tuned | tuned 3-shot | Q8_0 | Q8_0 5-shot | router |" in text


def test_both_bases_stand_below_each_other_and_shared_columns_once() -> None:
    lines = shown().splitlines()
    [first] = [line for line in lines if "tiny-qwen2.5" in line]
    [second] = [line for line in lines if "tiny-qwen3" in line]
    assert first.split()[:5] == ["m_staging", "tiny-qwen2.5", "0.50", "0.00", "0.88"]
    assert second.split() == ["tiny-qwen3", "0.38", "0.62"]


def test_the_markdown_table_marks_the_best_of_a_task() -> None:
    text = markdown(ALL)
    assert text.count("**") == 2 and "**0.88** 0.53–0.98 (1 unread)" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {11}


def test_metrics_and_slices_can_be_chosen() -> None:
    assert "macro_f1" in shown(metrics=("accuracy", "macro_f1")) and "macro_f1" not in shown()
    assert "n=8" in shown(slice="seen_wording")
    assert "m_staging" not in shown(slice="unseen_wording")


def test_two_results_for_one_cell_are_refused_rather_than_one_hidden() -> None:
    with pytest.raises(UserError, match="two results"):
        table([*ALL, *result("tiny-qwen2.5", "tuned", split="validation")])


def test_summary_keeps_rows_and_facts_and_is_read_back(tmp_path: Path) -> None:
    write_summary(tmp_path, ALL, {"seconds": {"train": 1.5}, "bytes": {"tiny.gguf": 10}})
    content = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert content["kind"] == "results" and content["seconds"] == {"train": 1.5} and content["bytes"]
    assert read_rows(tmp_path) == ALL == read_rows(tmp_path / "summary.json")
    assert (tmp_path / "summary.md").read_text("utf-8") == f"Items of the test split.\n\n{markdown(ALL)}"


WRONG = json.dumps({"rows": [{**ALL[0], "value": "0.9"}]})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": 3}', '{"rows": [{"model": "a"}]}', WRONG])
def test_a_broken_results_file_is_the_users_to_mend(tmp_path: Path, content: str) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(UserError, match=r"summary\.json"):
        read_rows(tmp_path)
