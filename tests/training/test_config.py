from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.tasks import TASKS
from radlite.training.config import PAPER_WEIGHTS, PROJECTIONS, TrainConfig, describe, load

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
NEEDED = "base: b\ncorpus: c\nout: o\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text, "utf-8")
    return path


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(write(folder, text), overrides)
    return str(caught.value)


def test_all_four_recipes_are_found() -> None:
    assert [path.stem for path in RECIPES] == ["qwen2.5-3b", "qwen3-4b", "tiny-tcga", "tiny"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_explains_every_key(path: Path) -> None:
    load(path, ["base=x"])
    lines = path.read_text("utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if line[:1].isalpha()]
    assert len(keys) == len(yaml.safe_load("\n".join(lines)))
    assert all(lines[number - 1].startswith("# ") for number in keys)


@pytest.mark.parametrize("name", ["qwen2.5-3b", "qwen3-4b"])
def test_the_recipes_of_the_paper_have_its_lora_settings(name: str) -> None:
    config = load(ROOT / "recipes" / f"{name}.yaml")
    assert (config.rank, config.alpha, config.dropout, config.rslora) == (64, 128, 0.05, False)
    assert config.targets == PROJECTIONS and len(PROJECTIONS) == 7
    weights = {"rads_assignment": 3, "radiology_nli": 3, "temporal_comparison": 1.5, "impression_generation": 1.5}
    assert config.tasks == PAPER_WEIGHTS == dict.fromkeys(TASKS, 1) | weights | {"radiology_qa": 0.5}


def test_a_misspelt_setting_is_an_error_that_suggests_the_nearest(tmp_path: Path) -> None:
    message = refusal(tmp_path, NEEDED + "learing_rate: 1e-4\n")
    assert message == f"unknown setting 'learing_rate' in {tmp_path / 'tiny.yaml'}; did you mean 'learning_rate'?"
    assert refusal(tmp_path, NEEDED, "epoch=2") == "unknown setting 'epoch' in the command line; did you mean 'epochs'?"


def test_a_setting_that_was_renamed_is_an_error_that_names_the_new_one(tmp_path: Path) -> None:
    message = refusal(tmp_path, NEEDED + "length_balance: 0.5\n")
    assert message.endswith("did you mean 'loss_norm'?")


def test_the_command_line_goes_over_the_recipe(tmp_path: Path) -> None:
    config = load(write(tmp_path, NEEDED + "learning_rate: 1e-4\n"), ["learning_rate=3e-4", "tasks={n_staging: 2}"])
    assert config.learning_rate == 3e-4
    assert config.tasks == {"n_staging": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rank: many\n", "must be a whole number, but it is the text 'many'."),
        ("rank: yes\n", "must be a whole number, but it is the truth value True."),
        ("rank: 0\n", "must be at least 1, but it is 0."),
        ("rank:\n", "must be a whole number, but it is empty."),
        ("dropout: 1\n", "must be below 1, but it is 1."),
        ("learning_rate: .nan\n", "must be a number"),
        ("max_steps: soon\n", "must be a whole number or unset (null), but it is the text 'soon'."),
        ("precision: fp8\n", "must be one of auto, bf16, fp32, but it is the text 'fp8'."),
        ("targets: q_proj\n", "must be a list of texts, but it is the text 'q_proj'."),
        ("tasks: [n_staging]\n", "must be a mapping of names to numbers, but it is a list."),
        ("tasks: {n_stage: 1}\n", "There is no task 'n_stage'; did you mean n_staging?"),
        ("tasks: {n_staging: -1}\n", "The weight of n_staging is -1"),
        ("tasks: {}\n", "names no task"),
        ("rank: 8\nrank: 16\n", "'rank' stands twice"),
        ("max_tokens: 4096\n", "but a pack holds 2048"),
        ("rank: [\n", "is not valid YAML (line"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(tmp_path, NEEDED + text)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "1: 2\n", "? [a]\n: b\n", "a: !!python/object:os.x\n"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    assert "tiny.yaml" in refusal(tmp_path, text)


def test_a_missing_setting_and_a_bad_override_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, "base: b\nout: o\n").startswith("The setting 'corpus' is missing in")
    assert refusal(tmp_path, NEEDED, "rank").startswith("Cannot read 'rank' on the command line")
    assert refusal(tmp_path, NEEDED, "rank=[").startswith("Cannot read the value of 'rank'")
    with pytest.raises(UserError, match="Cannot read the recipe"):
        load(tmp_path / "none.yaml")


def test_a_model_in_parts_neither_answers_nor_keeps_a_best(tmp_path: Path) -> None:
    for setting in ("generate_items: 4", "keep_best: loss", "patience: 2"):
        message = refusal(tmp_path, f"{NEEDED}shard: true\n{setting}\n")
        assert "needs a whole model in each process; leave it out, or set shard to false." in message


@given(text=st.text(max_size=60), override=st.text(max_size=20))
def test_any_text_is_a_recipe_or_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, text: str, override: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, "utf-8", errors="replace")
    with pytest.raises(UserError):
        load(path, [override])
    with pytest.raises(UserError):
        load(path)


@given(values=st.dictionaries(st.sampled_from(list(TrainConfig.model_fields)), st.from_type(object) | st.integers()))
def test_any_value_of_a_setting_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "values.yaml"
    path.write_text(yaml.safe_dump({name: str(value) for name, value in values.items()}), "utf-8")
    try:
        load(path)
    except UserError as error:
        assert str(error)


def test_the_documentation_shows_the_settings_as_they_are() -> None:
    assert describe() in (ROOT / "docs" / "training.md").read_text("utf-8")
    assert all(f"| `{name}` |" in describe() for name in TrainConfig.model_fields)
