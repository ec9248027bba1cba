"""What a model says, in the order asked."""

from collections.abc import Iterator, Sequence

from radlite.runtime.model import Completion, Model, Request, in_order


def answers(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    return in_order(model.complete(requests))
