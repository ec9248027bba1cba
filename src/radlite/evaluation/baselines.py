"""What a model has to beat: the most frequent answer, words with a linear classifier, and rules."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from radlite.errors import UserError
from radlite.evaluation.metrics import Answered, Row, grade, rows
from radlite.evaluation.rules import rule_for
from radlite.tasks import Example, Reading, Task, named
from radlite.tasks.abnormality import ABNORMALITY, CLASSES, Abnormalities
from radlite.tasks.answers import words

Value = TypeVar("Value", bound=str)


def majority(train: Sequence[Example], test: Sequence[Example]) -> list[Answered]:
    """The most frequent answer of the training data, whatever is asked; for abnormalities, that of each class."""
    return _baseline(train, test, lambda task, solved, asked: [_most_frequent(task, solved)] * len(asked))


def rules(train: Sequence[Example], test: Sequence[Example]) -> list[Answered]:
    """Rules, for the tasks of `test` that have some: RADS, abnormalities, temporal comparison, impressions."""

    def answers(task: Task, solved: list[Example], asked: list[Example]) -> list[str]:
        rule = rule_for(task.name, solved)
        assert rule
        return [rule(example.inputs) for example in asked]

    return _baseline(train, [example for example in test if rule_for(example.task, ())], answers, learns=False)


def tfidf(train: Sequence[Example], test: Sequence[Example]) -> list[Answered]:
    """TF-IDF over words and pairs of words, and logistic regression; for the tasks of `test` that have labels.

    Labels weigh alike, whatever their frequency: else it falls back on the majority where one label is rare. It knows
    the labels that occur in `train`. Raises `UserError` if scikit-learn is not installed.
    """
    return _baseline(train, [example for example in test if named(example.task).labels], _classified)


def rows_of_all(train: Sequence[Example], test: Sequence[Example]) -> list[Row]:
    """Result rows of every baseline; of a task without training examples, of those that learn from none."""
    taught = {example.task for example in train}
    learned = [example for example in test if example.task in taught]
    made = {"majority": majority(train, learned), "tfidf": tfidf(train, learned), "rules": rules(train, test)}
    return [row for name, answered in made.items() for row in rows(answered, name, "baseline")]


def _baseline(
    train: Sequence[Example],
    test: Sequence[Example],
    answers: Callable[[Task, list[Example], list[Example]], Iterable[str]],
    learns: bool = True,
) -> list[Answered]:
    """Grade what `answers(task, training examples, test examples)` gives as plain text, read as any model's text is."""
    result = []
    for name in dict.fromkeys(example.task for example in test):
        task = named(name)
        solved, asked = ([example for example in part if example.task == name] for part in (train, test))
        _check(task, solved, asked, learns)
        start = time.perf_counter()
        texts = list(answers(task, solved, asked))
        seconds = (time.perf_counter() - start) / len(asked)
        result += [grade(item, _reading(task, item, text, seconds)) for item, text in zip(asked, texts, strict=True)]
    return result


def _check(task: Task, train: Sequence[Example], test: Sequence[Example], learns: bool) -> None:
    if learns and not train:
        raise UserError(f"There is no training data for {task.name}, which its baselines need; add it to the corpus.")
    if {example.id for example in train} & {example.id for example in test}:
        raise UserError(f"Items of {task.name} are both learned from and evaluated; build the corpus again.")


def _reading(task: Task, item: Example, text: str, seconds: float) -> Reading:
    answer = task.read(text)
    if answer is None:
        return Reading(task.name, "unreadable", None, text, seconds=seconds)
    return Reading(task.name, "ok", task.ground(answer, item.inputs).answer, text, seconds=seconds)


def _most_frequent(task: Task, train: Sequence[Example]) -> str:
    if task is ABNORMALITY:
        known = [answer.states for example in train if (answer := task.read(example.answer))]
        return task.render(Abnormalities({name: _first(states[name] for states in known) for name in CLASSES}))
    return _first(example.answer for example in _labelled(task, train).get(_usual(task, train), train))


def _usual(task: Task, train: Sequence[Example]) -> str:
    """The most frequent label; empty where the task has none."""
    counts = {label: len(rows) for label, rows in _labelled(task, train).items()}
    return min(counts, key=lambda label: (-counts[label], label), default="")


def _labelled(task: Task, train: Sequence[Example]) -> dict[str, list[Example]]:
    """The examples of each label: several answers may come to one, as `M1a` to `M1`."""
    found: dict[str, list[Example]] = {}
    for example in train if task.labels else ():
        if (answer := task.read(example.answer)) is not None:
            found.setdefault(task.label(answer), []).append(example)
    return found


def _first(values: Iterable[Value]) -> Value:
    """The most frequent value; of several alike frequent ones the first in the alphabet."""
    return min(Counter(values).items(), key=lambda entry: (-entry[1], entry[0]))[0]


def _classified(task: Task, train: list[Example], test: list[Example]) -> list[str]:
    groups = _labelled(task, train)
    usual = {label: _first(example.answer for example in rows) for label, rows in groups.items()}
    if len(usual) == 1:
        return [*usual.values()] * len(test)
    told = [(_document(task, example), label) for label, rows in groups.items() for example in rows]
    model = _pipeline()
    model.fit([document for document, _ in told], [label for _, label in told])
    return [usual[str(label)] for label in model.predict([_document(task, example) for example in test])]


def _pipeline() -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise UserError("The TF-IDF baseline needs scikit-learn; run pip install 'radlite[evaluate]'.") from error
    # 20,000 features keep the solver's memory at 200 MB for the hundred RADS categories.
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, max_features=20_000, lowercase=False, token_pattern=r"\S+"
    )
    return make_pipeline(vectorizer, LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000))


def _document(task: Task, example: Example) -> str:
    """The words of the inputs; where there are several, each marked with the input it is from."""
    mark = "{name}:{word}" if len(task.inputs) > 1 else "{word}"
    # A mark for inputs without a word keeps the vocabulary from being empty.
    return " ".join(
        ["input", *(mark.format(name=name, word=word) for name in task.inputs for word in words(example.inputs[name]))]
    )
