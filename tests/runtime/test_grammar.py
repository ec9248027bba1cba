import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radlite.runtime.grammar import Node, automaton, forced, gbnf
from radlite.runtime.scripted import byte_renderer
from radlite.tasks import TASKS, Grammar
from radlite.tasks.abnormality import CLASSES, STATES, render
from radlite.tokenizer import Tokenizer

BYTES = byte_renderer().tokenizer
WORDS = st.text("ab", max_size=3)
GRAMMARS = st.lists(st.lists(WORDS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)


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


@given(grammar=GRAMMARS)
def test_the_automaton_accepts_one_alternative_of_each_slot_and_nothing_else(grammar: Grammar) -> None:
    assert language(automaton(grammar, BYTES), BYTES) == {"".join(parts) for parts in itertools.product(*grammar)}


@given(grammar=GRAMMARS)
def test_every_place_leads_on_or_may_end(grammar: Grammar) -> None:
    places = [automaton(grammar, BYTES)]
    while places:
        node = places.pop()
        assert node.next or node.end
        places += node.next.values()


def test_an_alternative_that_begins_another_may_end_or_go_on() -> None:
    grammar = (("BI-RADS 4", "BI-RADS 4A"), (".", "!"))
    ids, node = forced(automaton(grammar, BYTES), 999)
    assert BYTES.decode(ids) == "BI-RADS 4"
    assert node and {BYTES.decode([token]) for token in node.next} == {"A", ".", "!"}


def test_what_is_forced_includes_the_end_of_turn() -> None:
    assert forced(automaton((("ab",),), BYTES), 999) == ([*BYTES.encode("ab"), 999], None)
    assert forced(automaton((("a", "ab"),), BYTES), 999)[0] == BYTES.encode("a")


def test_a_choice_that_may_end_is_one_the_server_may_leave_empty() -> None:
    node = automaton((("a", ""),), BYTES)
    assert gbnf(node) == f'root ::= <[{BYTES.encode("a")[0]}]> | ""'


@pytest.mark.parametrize(
    "task", [task for task in TASKS.values() if task.labels and task.grammar], ids=lambda t: t.name
)
def test_every_label_is_reached_by_the_ids_it_is_trained_with(qwen: Tokenizer, task) -> None:  # type: ignore[no-untyped-def]
    start = automaton(task.grammar, qwen)
    for label in task.labels:
        assert accepts(start, qwen.encode(task.render(label))), label


def test_any_set_of_findings_is_reached_by_the_ids_it_is_trained_with(qwen: Tokenizer) -> None:
    chosen = random.Random(0)
    start = automaton(TASKS["abnormality_detection"].grammar, qwen)
    for _ in range(20):
        assert accepts(start, qwen.encode(render({name: chosen.choice(STATES) for name in CLASSES})))
