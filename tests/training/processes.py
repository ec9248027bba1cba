"""Training in processes of their own, forked from one that has imported torch and the rest: importing takes seconds."""

import multiprocessing
import os
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from radlite.training.config import TrainConfig

_HEAVY = [
    "radlite.training.trainer",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.models.qwen3.modeling_qwen3",
    "peft.tuners.lora",
    "tests.training.processes",
]


@dataclass
class Worker:
    """One process of a run."""

    process: Any
    said: Connection

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code, and the sentence of the error."""
        self.process.join(120)
        try:
            return self.process.exitcode, self.said.recv()
        except EOFError:
            return self.process.exitcode, ""


def start(*configs: TrainConfig, resume: bool = False) -> list[Worker]:
    """One process for each recipe, which train together as torchrun would have started them; one trains alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HEAVY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = []
    for number, config in enumerate(configs):
        said, says = context.Pipe(duplex=False)
        given = (config.model_dump_json(exclude_unset=True), resume, number, len(configs), port, says)
        process = context.Process(target=_train, args=given)
        process.start()
        says.close()
        workers.append(Worker(process, said))
    return workers


def run(config: TrainConfig, count: int, resume: bool = False) -> None:
    """Train with so many processes, all of which must succeed."""
    ends = [worker.end() for worker in start(*[config] * count, resume=resume)]
    assert ends == [(0, "")] * count, ends


def _train(recipe: str, resume: bool, number: int, count: int, port: int, says: Connection) -> None:
    import torch

    from radlite.errors import UserError
    from radlite.training.trainer import train

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if count > 1:
        places = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ |= {name: str(value) for name, value in places.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        train(TrainConfig.model_validate_json(recipe), resume, progress=False)
    except UserError as error:
        says.send(str(error))
        raise SystemExit(2) from None
