import dataclasses
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError
from radlite.tasks import Example
from radlite.training import batches, cache
from tests.training.conftest import example, examples

TASKS = ("n_staging", "radiology_ner", "radiology_nli")


@pytest.fixture
def renderer(base: Path) -> Renderer:
    return Renderer.from_folder(base)


@pytest.fixture
def folder(small_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns(corpus.ENCODED)))


def rows(folder: Path) -> list[Example]:
    return [row for task in TASKS for row in corpus.read(folder, task)]


def files(folder: Path) -> list[Path]:
    return sorted((folder / corpus.ENCODED).iterdir())


def demand_equal(folder: Path, renderer: Renderer, some: list[Example], max_tokens: int = 512) -> None:
    found, out = cache.encode(folder, some, renderer, max_tokens)
    expected, excluded = batches.encode(some, renderer, max_tokens)
    assert list(found) == list(expected) and out == excluded
    for key, sample in expected.items():
        assert found[key].ids.dtype == np.int32 and found[key].ids.tolist() == sample.ids.tolist()
        assert dataclasses.replace(found[key], ids=sample.ids) == sample


qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)


@qwen3
def test_a_second_run_reads_the_ids_that_the_first_made(folder: Path, renderer: Renderer) -> None:
    demand_equal(folder, renderer, rows(folder))
    made = {path: path.stat().st_mtime_ns for path in files(folder)}
    assert [path.name.split(".")[0] for path in made] == list(TASKS)
    demand_equal(folder, renderer, rows(folder))
    demand_equal(folder, renderer, rows(folder)[::-2])
    demand_equal(folder, renderer, rows(folder), max_tokens=60)  # what is too long is kept, and left out
    assert {path: path.stat().st_mtime_ns for path in files(folder)} == made


@qwen3
def test_rows_not_yet_kept_are_added(folder: Path, renderer: Renderer) -> None:
    every = rows(folder)
    demand_equal(folder, renderer, every[:5])
    (one,) = files(folder)
    size = one.stat().st_size
    demand_equal(folder, renderer, every[3:12])
    assert files(folder) == [one] and one.stat().st_size > size


@qwen3
@pytest.mark.parametrize("how", ["cut", "changed", "empty", "folder"])
def test_a_damaged_file_is_made_anew(folder: Path, renderer: Renderer, how: str) -> None:
    demand_equal(folder, renderer, rows(folder))
    for path in files(folder):
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes({"cut": data[:200], "empty": b""}.get(how, bytes(data)))
        if how == "folder":
            path.unlink()
            path.mkdir()
    demand_equal(folder, renderer, rows(folder))
    demand_equal(folder, renderer, rows(folder))


@qwen3
def test_ids_of_other_code_are_thrown_away(folder: Path, renderer: Renderer) -> None:
    kept = rows(folder)
    demand_equal(folder, renderer, kept)
    # As if an earlier version had made other ids of the same rows: a whole file, with the right digest.
    other = [
        dataclasses.replace(row, inputs={name: text + " old" for name, text in row.inputs.items()}) for row in kept
    ]
    for path in files(folder):
        of_task = [row for row in other if row.task == path.name.split(".")[0]]
        cache._write(path, {row.id: batches.encoded(row, renderer) for row in of_task})
    demand_equal(folder, renderer, kept)


@qwen3
def test_another_template_has_ids_of_its_own_and_old_ones_do_not_pile_up(folder: Path, renderer: Renderer) -> None:
    for number in range(6):
        other = Renderer(renderer.tokenizer, f"{{# {number} #}}{renderer.template}x{number}", renderer.special)
        demand_equal(folder, other, rows(folder))
    assert len(files(folder)) == 4 * len(TASKS)


@qwen3
def test_a_corpus_that_cannot_be_written_is_encoded_all_the_same(folder: Path, renderer: Renderer) -> None:
    (folder / corpus.ENCODED).write_text("no folder")
    demand_equal(folder, renderer, rows(folder))
    assert (folder / corpus.ENCODED).read_text() == "no folder"


def both(folder: Path, base: Path) -> None:
    renderer = Renderer.from_folder(base)
    for some in (rows(folder)[:9], rows(folder)):
        demand_equal(folder, renderer, some)


@qwen3
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the children call nothing of torch's threads
def test_two_processes_may_encode_at_once(folder: Path, base: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=both, args=(folder, base)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(files(folder)) == len(TASKS)


@qwen3
def test_a_corpus_with_kept_ids_can_be_built_again_and_loses_them(folder: Path, renderer: Renderer) -> None:
    demand_equal(folder, renderer, rows(folder))
    corpus.write(folder, [*examples(), example("n_staging", 99, {"report": "Study new."}, "N1")], {})
    assert not (folder / corpus.ENCODED).exists()
    demand_equal(folder, renderer, rows(folder))
    (folder / "mine.txt").write_text("")
    with pytest.raises(UserError, match=r"holds mine\.txt, which is not part of a corpus"):
        corpus.write(folder, examples(), {})
