"""Reports a second that `radlite.rads.mentions` reads on one core.

`python benchmarks/mentions.py` draws RADS and chest reports of the sample corpus, writes the category of each of the
former into it, and prints the rates of `find` and `mask`, each the median of several passes.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from radlite.data import sample
from radlite.rads.mentions import find, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    texts = _texts(settings.reports)
    words = statistics.mean(len(text.split()) for text in texts)
    mentions = statistics.mean(len(find(text)) for text in texts)
    print(f"{len(texts)} reports of {words:.0f} words and {mentions:.2f} mentions on average")
    for function in (find, mask):
        rate = statistics.median(_rate(function, texts) for _ in range(settings.repeats))
        print(f"{function.__name__}: {rate:,.0f} reports/s")


def _texts(count: int) -> list[str]:
    """Reports, the first half of them with their category."""
    rads = list(sample.examples("rads_assignment", "train", count // 2))
    stated = [f"{one.inputs['report']}\n{one.answer}." for one in rads]
    return stated + [
        one.inputs["report"] for one in sample.examples("abnormality_detection", "train", count - len(stated))
    ]


def _rate(function: Callable[[str], object], texts: list[str]) -> float:
    begun = time.perf_counter()
    for text in texts:
        function(text)
    return len(texts) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
