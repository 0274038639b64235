# SPDX-License-Identifier: Apache-2.0
"""Expert queues and scatter-add: order, extreme routing, saturation one contribution after the other."""

import numpy as np
import pytest

from golden.ops.arith import DomainError
from golden.ops.queues import arrivals, fill, scatter_add


def test_queues_keep_the_order_of_arrival():
    chosen, weights = np.array([[2, 0], [0, 2], [3, 0]]), np.array([[10, 11], [20, 21], [30, 31]], np.uint16)
    queues = fill(chosen, weights, 4)
    assert [queue.tokens.tolist() for queue in queues] == [[0, 1, 2], [], [0, 1], [2]]
    assert [queue.weights.tolist() for queue in queues] == [[11, 20, 31], [], [10, 21], [30]]


@pytest.mark.parametrize("experts", [1, 16, 64])
def test_every_choice_lands_in_exactly_one_queue(experts):
    rng = np.random.default_rng(experts)
    k = min(8, experts)
    chosen = np.argsort(rng.random((129, experts)), -1)[:, :k]
    weights = rng.integers(0, 65536, (129, k)).astype(np.uint16)
    queues = fill(chosen, weights, experts)
    assert sum(map(len, queues)) == 129 * k
    for e, queue in enumerate(queues):
        assert (np.diff(queue.tokens) > 0).all()
        for token, weight in zip(queue.tokens, queue.weights, strict=True):
            assert weight == weights[token, list(chosen[token]).index(e)]


def test_all_tokens_to_one_expert_and_none_to_the_others():
    queues = fill(np.full((50, 1), 5), np.full((50, 1), 7, np.uint16), 16)
    assert [len(queue) for queue in queues] == [0] * 5 + [50] + [0] * 10
    assert queues[5].tokens.tolist() == list(range(50))


def test_no_tokens_at_all():
    assert not any(map(len, fill(np.zeros((0, 2), int), np.zeros((0, 2), np.uint16), 3)))


def test_append_keeps_what_is_there_and_numbers_on():
    first = fill(np.array([[1], [0]]), np.array([[1], [2]], np.uint16), 2)
    both = fill(np.array([[1], [1]]), np.array([[3], [4]], np.uint16), 2, first_token=2, queues=first)
    assert [queue.tokens.tolist() for queue in both] == [[1], [0, 2, 3]]
    assert both[1].weights.tolist() == [1, 3, 4]


def test_experts_arrive_with_their_first_token_the_best_first():
    assert arrivals([[5, 2], [2, 0], [7, 5]]) == [5, 2, 0, 7]
    assert arrivals([[7, 1], [5, 3]], before=[5, 2]) == [5, 2, 7, 1, 3]
    assert arrivals(np.zeros((0, 2), int)) == []


def test_scatter_adds_rows_and_leaves_the_others():
    x = np.arange(12, dtype=np.int16).reshape(4, 3)
    y = scatter_add(x, [3, 1], [[1, 2, 3], [-1, -2, -3]])
    assert y.tolist() == [[0, 1, 2], [2, 2, 2], [6, 7, 8], [10, 12, 14]]
    assert (x == np.arange(12).reshape(4, 3)).all()
    assert (scatter_add(x, np.zeros(0, int), np.zeros((0, 3), int)) == x).all()


def test_a_token_that_comes_again_saturates_each_time():
    x = np.array([[32000], [5]], np.int16)
    assert scatter_add(x, [0, 1, 0, 0], [[1000], [1], [-1000], [1]]).tolist() == [[31768], [6]]


def test_refusals():
    with pytest.raises(DomainError, match="must lie in 0..3"):
        fill(np.array([[4]]), np.array([[1]], np.uint16), 4)
    with pytest.raises(DomainError, match="needs a weight"):
        fill(np.array([[1, 2]]), np.array([[1]], np.uint16), 4)
    with pytest.raises(DomainError, match="3 experts to 1 queues"):
        fill(np.array([[1]]), np.array([[1]], np.uint16), 3, queues=fill(np.array([[0]]), np.array([[1]]), 1))
