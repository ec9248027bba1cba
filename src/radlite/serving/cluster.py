"""Engines on a Ray cluster: Ray Data hands out batches; this process alone keeps the answers."""

import itertools
import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from radlite.errors import UserError
from radlite.files import sha256
from radlite.serving.engines import Engine, Q, Question, answers
from radlite.tasks import Reading

_PATIENCE: Final = 10.0
"""Seconds for the head of a cluster to answer."""
_ROUND: Final = 16
"""Batches for each engine that are given to Ray at once, as it takes no open end; engines are opened for each round."""


def ask(
    engine: Engine, workers: int, address: str, work: Iterable[Sequence[Q]], add: Callable[[Q, Reading], None]
) -> None:
    """As `engines.ask`, but the engines are on the cluster and share its cores unless threads are named.

    What a node that is lost had in hand is asked again elsewhere; answers that come twice are for `add` to refuse.
    Every node needs radlite and the same model file at the same place. Raises `UserError` if there is no cluster, if
    an engine cannot be opened there, or if the cluster ends.
    """
    ray = _library()
    try:
        _connect(ray, address)
        engine = replace(engine, threads=_threads(ray, engine.threads, workers))
        digests, coming = [sha256(path) for path in engine.files], iter(work)
        while batches := list(itertools.islice(coming, _ROUND * workers)):
            for question, reading in _round(ray, engine, digests, workers, batches):
                add(question, reading)
    except (ray.exceptions.RayError, ConnectionError, TimeoutError, socket.gaierror) as error:
        raise UserError(
            f"The Ray cluster at {address} cannot be reached or came to an end ({type(error).__name__}); what was "
            "answered is kept: start it, then run the same again."
        ) from error
    finally:
        ray.shutdown()


def _library() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is loaded: it reads this once
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UserError("Working on a cluster needs Ray; install it with: pip install 'radlite[ray]'.") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    if address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and int(port) < 1 << 16) or "/" in host:
            raise UserError(f"{address!r} is no address of a Ray cluster; give auto, local, or host:port of its head.")
        # Ray itself would try for minutes.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    # A cluster of this machine alone keeps to the loopback device: reports go through its ports.
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    ray.init(address, log_to_driver=False, logging_level="error", **own)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _threads(ray: Any, wanted: int | None, workers: int) -> int:
    """CPU threads for each engine, so that all find room, each on one node. Raises `UserError` if no node has them."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = max(cores, default=0)
    threads = wanted or max(1, min(sum(cores) // workers, most))
    if threads > most:  # Ray would wait for one
        raise UserError(f"No node of the Ray cluster has {threads} CPUs for an engine, the largest has {most}.")
    return threads


def _round(
    ray: Any, engine: Engine, digests: list[str], workers: int, batches: list[Sequence[Q]]
) -> Iterator[tuple[Q, Reading]]:
    # As bytes: what Ray cannot make a column of, it quotes in its log.
    items = [{"at": at, "batch": pickle.dumps(batch)} for at, batch in enumerate(batches)]
    data = ray.data.from_items(items, override_num_blocks=len(items))
    told = data.map_batches(
        _Worker,
        fn_constructor_args=(engine, digests),
        batch_size=1,
        num_cpus=engine.threads,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
    )
    for row in told.iter_rows():
        answered = pickle.loads(row["answered"])
        if isinstance(answered, str):
            raise UserError(answered)
        for number, reading in answered:
            yield batches[row["at"]][number], reading


class _Worker:
    """An engine on a node of the cluster."""

    def __init__(self, engine: Engine, digests: list[str]) -> None:
        self.wrong = ""
        try:
            for path, digest in zip(engine.files, digests, strict=True):
                if not path.is_file() or sha256(path) != digest:
                    raise UserError(f"A node of the cluster has not the same model at {path}; copy it there.")
            self.reader = engine.open()
        except UserError as error:  # told as a result: Ray would open the engine again and again
            self.wrong = str(error)

    def __call__(self, batches: dict[str, Any]) -> dict[str, Any]:
        answered = [pickle.dumps(self._answered(pickle.loads(batch))) for batch in batches["batch"]]
        return {"at": batches["at"], "answered": answered}

    def _answered(self, batch: Sequence[Question]) -> list[tuple[int, Reading]] | str:
        """The answers with the numbers of their questions, as no report has to travel back; or why there are none."""
        try:
            return self.wrong or list(answers(self.reader, batch))
        except UserError as error:
            return str(error)
