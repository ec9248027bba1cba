"""The best measurement of a run so far: whose weights are kept, and when the run has nothing more to gain."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import peft
from safetensors.torch import load_file, save_file

from radlite.files import atomic

_NAME = "best-{}.safetensors"


@dataclass
class Best:
    """What the measurements on validation, in their order, come to; the same for a run in one piece or in several."""

    by: Literal["loss", "score"]
    """Mean over tasks of the validation loss, or of the tasks' metrics."""

    patience: int | None
    """Measurements in a row without a better one, after which the run stops."""

    kept: bool = False
    """Whether the weights of the best measurement are those that the run is for."""

    step: int = 0
    value: float | None = None
    worse: int = 0
    """Measurements since the best one."""

    def take(self, step: int, macro: dict[str, float]) -> bool:
        """Whether the measurement after this step is better than all before; an equal one is not."""
        value = macro[self.by]
        better = self.value is None or (value < self.value if self.by == "loss" else value > self.value)
        if better:
            self.step, self.value, self.worse = step, value, 0
        else:
            self.worse += 1
        return better

    @property
    def stopped(self) -> bool:
        """Whether the run has been without a better measurement for too long."""
        return self.patience is not None and self.worse >= self.patience

    def replay(self, log: Path) -> None:
        """Take the measurements that a training log tells of."""
        for line in log.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if "macro" in entry:
                self.take(entry["step"], entry["macro"])

    def save(self, model: Any, work: Path) -> None:
        """Keep the adapter's weights as those of the best step. Raises `UserError` if they cannot be written."""
        with atomic(work / _NAME.format(self.step)) as part:
            weights = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, part)

    def load(self, model: Any, work: Path) -> None:
        """Give the model the weights of the best step."""
        peft.set_peft_model_state_dict(model, load_file(work / _NAME.format(self.step)))

    def settle(self, work: Path) -> None:
        """Remove the weights of earlier bests: a whole checkpoint knows of the present one, so none goes back to them.

        Until then they are needed, should the run be resumed before the present best.
        """
        for path in work.glob(_NAME.format("*")):
            if path.name != _NAME.format(self.step):
                path.unlink()


def forget(work: Path, step: int) -> None:
    """Remove the weights of bests after this step, from which a run goes on: it makes them again."""
    for path in work.glob(_NAME.format("*")):
        if int(path.stem.rpartition("-")[2]) > step:
            path.unlink()
