"""RadNLP 2024: the three English files of the hub, or the package with a text file an id and label.csv."""

import csv
import random
from pathlib import Path

SPLITS = ("train", "val", "test")
STAGES = (("T1b", "N0", "M0"), ("T2a", "N1", "M0"), ("T3", "N2", "M1a"), ("T4", "N3", "M1c"), ("Tis", "N0", "M1b"))

_NODES = {
    "N0": "No enlarged lymph nodes.", "N1": "Enlarged right hilar lymph nodes.",
    "N2": "Enlarged subcarinal lymph nodes.", "N3": "Enlarged left supraclavicular lymph nodes.",
}  # fmt: skip
_DISTANT = {
    "M0": "No distant metastasis.", "M1a": "Nodules of the left pleura.", "M1b": "A single metastasis of the liver.",
    "M1c": "Metastases of the liver and of several vertebrae.",
}  # fmt: skip


def entries(split: str, count: int, seed: int) -> list[tuple[str, str, str, str, str]]:
    """(id, text, t, n, m): lung cancers as one CT describes them, every stage in turn."""
    rng = random.Random(f"{seed}/{split}")
    base = 10_000_000 * (1 + SPLITS.index(split))
    rows = []
    for index in range(count):
        t, n, m = STAGES[index % len(STAGES)]
        text = (
            f'A {rng.randint(9, 90)} mm mass in the right {rng.choice(["upper", "lower"])} lobe, "spiculated", is a '
            f"lung cancer.\n{_NODES[n]}\n{_DISTANT[m]}\nAge of the study: {rng.randint(1, 999)} days.\n"
        )
        rows.append((str(base + 7919 * index), text, t, n, m))
    return rows


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """english_train.csv, english_val.csv, english_test.csv with `count` reports in all."""
    for split, number in zip(SPLITS, (count - 2 * (count // 4), count // 4, count // 4), strict=True):
        with (folder / f"english_{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["id", "text", "t", "n", "m"])
            table.writerows(entries(split, number, seed))


def write_package(folder: Path, count: int = 20, seed: int = 0) -> None:
    """The package of the task: training and validation reports, English and Japanese, main task and sub task."""
    for split in SPLITS[:2]:
        for language in ("en", "ja"):
            main = folder / "radnlp_2024_train_val_20240731" / language / "main_task" / split
            main.mkdir(parents=True)
            for identity, text, *_ in entries(split, count // 2, seed):
                (main / f"{identity}.txt").write_text(text if language == "en" else "肺癌。", encoding="utf-8")
            _labels(main / "label.csv", ["id", "t", "n", "m"], entries(split, count // 2, seed))
        sub = folder / "radnlp_2024_train_val_20240731" / "en" / "sub_task" / split
        sub.mkdir(parents=True)
        (sub / "label.csv").write_text("id,omittable,measure\n1,0,1\n")


def _labels(path: Path, header: list[str], rows: list[tuple[str, str, str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows((identity, *stages) for identity, _, *stages in rows)
