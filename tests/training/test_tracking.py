"""Numbers of a run, sent where the recipe says."""

import importlib.util
import json
from collections.abc import Callable

import pytest

from radlite.errors import UserError
from radlite.training.config import TrainConfig
from radlite.training.trainer import train

Recipe = Callable[..., TrainConfig]
qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)
ABSENT = [name for name in ("mlflow", "wandb", "trackio") if importlib.util.find_spec(name) is None]


@qwen3
@pytest.mark.skipif(not ABSENT, reason="all of mlflow, wandb and trackio are installed")
def test_a_tracker_that_is_not_installed_is_told_with_the_command_that_installs_it(recipe: Recipe) -> None:
    config = recipe(report_to=ABSENT[0])
    with pytest.raises(UserError, match=f"report_to is {ABSENT[0]}, .* run pip install {ABSENT[0]}"):
        train(config, progress=False)
    assert list(config.out.parent.iterdir()) == []


@qwen3
def test_tensorboard_is_given_the_numbers_of_the_log_and_no_text_of_a_report(recipe: Recipe) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = recipe(report_to="tensorboard", max_steps=20, evaluate_every=10)
    adapter = train(config, progress=False)
    folder = adapter.with_name("adapter.tensorboard")
    log = [json.loads(line) for line in (adapter / "log.jsonl").read_text("utf-8").splitlines()]
    events = EventAccumulator(str(folder)).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(line["step"], pytest.approx(line["loss"], abs=1e-5)) for line in log if "loss" in line]
    measured = [(event.step, event.value) for event in events.Scalars("eval/n_staging_loss")]
    wanted = [(line["step"], line["validation"]["n_staging"]) for line in log if "validation" in line]
    assert measured == [(step, pytest.approx(value, abs=1e-5)) for step, value in wanted]
    assert not any(b"pleural" in path.read_bytes() or b"nodes" in path.read_bytes() for path in folder.rglob("event*"))


@qwen3
def test_a_tracker_that_cannot_begin_is_told_and_one_that_breaks_costs_no_run(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from torch.utils.tensorboard import SummaryWriter

    config = recipe(report_to="tensorboard", max_steps=20)
    place = config.out.with_name("adapter.tensorboard")
    place.write_text("mine")
    with pytest.raises(UserError, match=r"tensorboard cannot take .* \(FileExistsError: .*leave out report_to\."):
        train(config, progress=False)
    assert place.read_text() == "mine" and not config.out.exists()
    place.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    adapter = train(config, resume=True, progress=False)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("tensorboard takes no more numbers (OSError: [Errno 28] No space left on device); the run") == 1
    lines = map(json.loads, (adapter / "log.jsonl").read_text("utf-8").splitlines())
    assert [line["step"] for line in lines if "loss" in line] == [10, 20]
