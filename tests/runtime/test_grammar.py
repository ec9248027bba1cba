"""Claims about grammars: what they allow, in the tokens of training; every walk through one is a whole answer."""

import itertools
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radlite.data import sample
from radlite.runtime.grammar import Node, Walk, automaton, weigh
from radlite.runtime.scripted import byte_renderer
from radlite.tasks import TASKS, Grammar
from radlite.tasks.abnormality import CLASSES, STATES, Abnormalities, render
from radlite.tasks.grammar import Edge, sequence, spans
from radlite.tokenizer import Tokenizer

BYTES = byte_renderer().tokenizer
END = 999
WORDS = st.text("ab", max_size=3)
GRAMMARS = (
    st.lists(st.lists(WORDS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)
    .map(lambda slots: sequence(*slots))
)  # fmt: skip


def language(node: Node, tokenizer: Tokenizer) -> set[str]:
    """All texts that an automaton without cycles accepts."""
    found: set[str] = set()
    places: list[tuple[list[int], Node]] = [([], node)]
    while places:
        ids, node = places.pop()
        if node.end:
            found.add(tokenizer.decode(ids))
        places += [([*ids, token], after) for token, after in node.next.items()]
    return found


def accepts(node: Node, ids: list[int]) -> bool:
    for token in ids:
        if token not in node.next:
            return False
        node = node.next[token]
    return node.end


def walked(grammar: Grammar, chosen: random.Random, most: int = 400, tokenizer: Tokenizer = BYTES) -> list[int]:
    """Ids of a random answer."""
    walk = Walk(grammar, tokenizer, END, most)
    while walk.options:
        walk.take({token: chosen.random() for token in walk.options})
    return walk.ids


def test_the_automaton_accepts_one_text_of_each_slot_and_nothing_else() -> None:
    @given(slots=st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=3))
    def check(slots: list[list[str]]) -> None:
        texts = {"".join(parts) for parts in itertools.product(*slots)}
        assert language(automaton(sequence(*slots), BYTES), BYTES) == texts

    check()


@given(grammar=GRAMMARS)
def test_every_place_leads_on_or_may_end_and_knows_how_far_the_end_is(grammar: Grammar) -> None:
    places = [automaton(grammar, BYTES)]
    while places:
        node = places.pop()
        assert node.next or node.end
        assert node.shortest == (0 if node.end else 1 + min(after.shortest for after in node.next.values()))
        places += node.next.values()


def test_a_text_that_begins_another_may_end_or_go_on() -> None:
    walk = Walk(sequence(["BI-RADS 4", "BI-RADS 4A"], [".", "!"]), BYTES, END, 40)
    assert BYTES.decode(walk.ids) == "BI-RADS 4"
    assert {BYTES.decode([token]) for token in walk.options} == {"A", ".", "!"}


def test_what_is_forced_includes_the_end_of_turn() -> None:
    assert Walk(sequence(["ab"]), BYTES, END, 9).ids == [*BYTES.encode("ab"), END]
    assert Walk(sequence(["a", "ab"]), BYTES, END, 9).ids == BYTES.encode("a")


def test_states_may_come_again() -> None:
    letters: Grammar = ((Edge(("a", "b"), 1),), (Edge((",",), 0), Edge(("",), 2)))
    for text, right in {"a": True, "a,b,a": True, "": False, "a,": False, "ab": False}.items():
        assert accepts(automaton(letters, BYTES), BYTES.encode(text)) is right


@given(seed=st.integers(0, 10**6), most=st.integers(4, 40))
def test_a_walk_is_whole_within_its_limit_however_long_the_grammar_would_let_it_go(seed: int, most: int) -> None:
    letters: Grammar = ((Edge(("abc", "b"), 1),), (Edge((",",), 0), Edge((".",), 2)))
    ids = walked(letters, random.Random(seed), most)
    assert len(ids) <= most and ids[-1] == END
    assert accepts(automaton(letters, BYTES), ids[:-1])


def test_a_limit_below_the_shortest_answer_cuts_it() -> None:
    assert Walk(sequence(["abcdef"]), BYTES, END, 3).ids == BYTES.encode("abc")


def test_the_likeliest_is_taken_and_its_probability_is_over_all_choices() -> None:
    walk = Walk(sequence(["a", "b"], ["c", "d"]), BYTES, END, 9)
    a, b, c, d = (BYTES.encode(letter)[0] for letter in "abcd")
    assert walk.take({a: 0.4, b: 0.6}) == [b]
    assert walk.take({c: 0.9, d: 0.1}) == [c, END]
    assert walk.options == []
    assert walk.probability == pytest.approx(0.54)


TEXTS = ("Negative. N0", "Positive. N1", "Positive. N2", "Positive. N2a")


def told(prefix: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
    """A model that says P with 0.3, N2 with 0.8 and 2a with 0.25."""
    likely = {"N": 0.7, "P": 0.3, "1": 0.2, "2": 0.8, "a": 0.25}
    return {token: 0.75 if token == END else likely[BYTES.decode([token])] for token in allowed}


def took(answer: str) -> Walk:
    """A walk that took this way, whatever the model would say."""
    walk = Walk(sequence(TEXTS), BYTES, END, 30)
    ids = [*BYTES.encode(answer), END]
    while walk.options:
        walk.go(ids[len(walk.ids)])
    return walk


@pytest.mark.parametrize("answer", TEXTS)
def test_alternatives_are_told_apart_whichever_way_the_walk_took(answer: str) -> None:
    found = weigh(sequence(TEXTS), BYTES, END, took(answer), told, 0.0)
    [spread] = found.alternatives
    assert spread == pytest.approx(dict(zip(TEXTS, (0.7, 0.06, 0.18, 0.06), strict=True)))
    assert list(spread) == list(TEXTS)
    assert (found.ids, found.probability) == ([*BYTES.encode(TEXTS[0]), END], pytest.approx(0.7))


def test_labels_that_together_are_negligible_are_not_told_apart() -> None:
    asked = []

    def ask(prefix: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
        asked.append(BYTES.decode(list(prefix)))
        return told(prefix, allowed)

    [spread] = weigh(sequence(TEXTS), BYTES, END, took(TEXTS[0]), ask, 0.31).alternatives
    assert spread == pytest.approx({TEXTS[0]: 0.7})
    assert asked == [""]


def test_the_answer_of_a_closed_set_is_its_likeliest_text_though_others_together_outweigh_it() -> None:
    likely = {"a": 0.4, "b": 0.6, "c": 0.45, "d": 0.55}

    def ask(prefix: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
        return {token: likely[BYTES.decode([token])] for token in allowed}

    grammar = sequence(["a", "bc", "bd"])
    walk = Walk(grammar, BYTES, END, 9)
    while walk.options:
        walk.take(ask(walk.ids, walk.options))
    assert BYTES.decode(walk.ids[:-1]) == "bd"
    found = weigh(grammar, BYTES, END, walk, ask)
    assert (BYTES.decode(found.ids[:-1]), found.probability, found.alternatives) == ("a", pytest.approx(0.4), ())


def test_a_label_that_is_longer_than_the_limit_is_never_the_answer() -> None:
    walk = Walk(sequence(["M0", "M1 distant"]), BYTES, END, 3)
    found = weigh(sequence(["M0", "M1 distant"]), BYTES, END, walk, told, 0.0)
    assert BYTES.decode(found.ids[:-1]) == "M0"


def test_what_was_chosen_from_on_the_way_is_not_asked_again() -> None:
    walk = Walk(sequence(["a", "b"], ["c", "d"]), BYTES, END, 9)
    while walk.options:
        walk.take({token: 1 / (1 + number) for number, token in enumerate(walk.options)})

    def never(prefix: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
        raise AssertionError("asked")

    spread = weigh(sequence(["a", "b"], ["c", "d"]), BYTES, END, walk, never, 0.0).alternatives
    assert [list(one) for one in spread] == [["a", "b"], ["c", "d"]]
    assert all(sum(one.values()) == pytest.approx(1) for one in spread)


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.labels], ids=lambda task: task.name)
def test_every_label_is_reached_by_the_ids_it_is_trained_with(qwen: Tokenizer, task) -> None:  # type: ignore[no-untyped-def]
    start = automaton(task.grammar(dict.fromkeys(task.inputs, "Normal study.")), qwen)
    for label in task.labels:
        answer = task.read(label)
        assert accepts(start, qwen.encode(task.render(answer))), label


def test_any_set_of_findings_is_reached_by_the_ids_it_is_trained_with(qwen: Tokenizer) -> None:
    chosen = random.Random(0)
    start = automaton(TASKS["abnormality_detection"].grammar({"report": "Normal study."}), qwen)
    for _ in range(20):
        answer = Abnormalities({name: chosen.choice(STATES) for name in CLASSES})
        assert accepts(start, qwen.encode(render(answer)))


@pytest.mark.parametrize("task", ["radiology_ner", "temporal_comparison"])
def test_every_sample_answer_is_reached_by_the_ids_it_is_trained_with(qwen: Tokenizer, task: str) -> None:
    for split in ("train", "test"):
        for example in sample.examples(task, split, 100):
            assert accepts(automaton(TASKS[task].grammar(example.inputs), qwen), qwen.encode(example.answer))


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=200),
    st.text("ab;:,()[]>-\n\t .\x0b\x1c\x85\u2028", min_size=1, max_size=200),
    st.lists(st.sampled_from(["effusion", "(related", "to:", "x)", "; a", "- [Worsened]", "Anatomy:", "No entities."]),
             min_size=1, max_size=20).map(" ".join),
)  # fmt: skip


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.name != "radiology_qa"], ids=lambda t: t.name)
def test_every_walk_through_a_task_is_readable_for_any_report(task) -> None:  # type: ignore[no-untyped-def]
    @given(text=HOSTILE, seed=st.integers(0, 10**6))
    def check(text: str, seed: int) -> None:
        inputs = dict.fromkeys(task.inputs, text)
        grammar = task.grammar(inputs)
        if not grammar:
            return
        ids = walked(grammar, random.Random(seed), 10 * task.max_tokens)
        assert ids[-1] == END
        answer = task.read(BYTES.decode(ids[:-1]))
        assert answer is not None
        assert task.ground(answer, inputs).answer == answer

    check()


def test_spans_are_runs_of_words_within_punctuation() -> None:
    assert spans("Left lung: 1.5 cm nodule (new).", 2) == (
        " Left", " Left lung", " lung", " 1.5", " 1.5 cm", " cm", " cm nodule", " nodule", " new",
    )  # fmt: skip
    assert spans("... -- !", 3) == ()


def test_two_spellings_with_the_same_ids_are_one_text(qwen: Tokenizer) -> None:
    grammar = sequence(["e\u0301", "\u00e9", "yes"])  # Qwen's tokenizer composes characters
    walk = Walk(grammar, qwen, END, 9)
    while walk.options:
        walk.take(dict.fromkeys(walk.options, 0.5))
    found = weigh(grammar, qwen, END, walk, lambda _, allowed: dict.fromkeys(allowed, 0.5), 0.0)
    assert found.alternatives == ({"e\u0301": 0.5, "yes": 0.5},)
