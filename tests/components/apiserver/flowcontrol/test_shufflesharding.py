"""The dealer, the flow hash, and the collision table of the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.apiserver.flowcontrol.shufflesharding import (
    Dealer,
    dealing_error,
    flow_hash,
    max_hand_size,
    required_bits,
    squish_probability,
    squish_table,
)

DATA: Any = json.loads((Path(__file__).parent / "data" / "dealing.json").read_text())
COLLISIONS: Any = json.loads((Path(__file__).parent / "data" / "collisions.json").read_text())


@pytest.mark.parametrize("case", DATA["deals"], ids=lambda c: f"{c['hash']}-{c['deckSize']}-{c['handSize']}")
def test_deal(case: Any) -> None:
    """A hash always deals the same hand, in the same order."""
    dealer = Dealer(case["deckSize"], case["handSize"])
    assert list(dealer.deal(int(case["hash"]))) == case["hand"]
    assert list(dealer.deal(int(case["hash"]))) == case["hand"]


@pytest.mark.parametrize("case", DATA["entropy"], ids=lambda c: f"{c['deckSize']}-{c['handSize']}")
def test_entropy(case: Any) -> None:
    """A deal may use at most 60 bits of the hash."""
    assert required_bits(case["deckSize"], case["handSize"]) == case["requiredBits"]
    assert (dealing_error(case["deckSize"], case["handSize"]) == "") is case["valid"]


@pytest.mark.parametrize("case", DATA["constructorFailures"], ids=lambda c: c["reason"])
def test_impossible_sizes(case: Any) -> None:
    """No dealer can be made for sizes that cannot be dealt."""
    with pytest.raises(ValueError):
        Dealer(case["deckSize"], case["handSize"])


@pytest.mark.parametrize("case", DATA["maxHandSizeByQueues"], ids=lambda c: str(c["queues"]))
def test_largest_hand(case: Any) -> None:
    """The entropy limit bounds the hand for every number of queues."""
    assert max_hand_size(case["queues"]) == case["maxHandSize"]


@pytest.mark.parametrize("case", DATA["flowHashes"], ids=lambda c: f"{c['flowSchema']}-{c['distinguisher']}")
def test_flow_hash(case: Any) -> None:
    """A flow is the little-endian head of SHA-256 over schema, zero byte, distinguisher."""
    value = flow_hash(case["flowSchema"], case["distinguisher"])
    assert value == int(case["hash"])
    if case.get("hand"):
        assert list(Dealer(case["queues"], case["handSize"]).deal(value)) == case["hand"]


def test_hands_are_even() -> None:
    """Over one whole period of hashes every possible hand is dealt, and almost equally often."""
    dealer = Dealer(16, 3)
    seen: dict[tuple[int, ...], int] = {}
    for value in range(16 * 15 * 14):
        hand = tuple(sorted(dealer.deal(value)))
        seen[hand] = seen.get(hand, 0) + 1
    assert len(seen) == 560
    assert set(seen.values()) == {6}


@pytest.mark.parametrize("row", COLLISIONS["documentedTable"], ids=lambda r: f"{r['handSize']}-{r['queues']}")
def test_documented_table(row: Any) -> None:
    """The table of the documentation comes out of our own computation to 1e-12 relative."""
    ((_, _, computed),) = squish_table([(row["handSize"], row["queues"])])
    assert computed == pytest.approx([row["documented"][n] for n in ("1", "4", "16")], rel=1e-12)


@pytest.mark.parametrize(
    "row", COLLISIONS["defaultLevels"] + COLLISIONS["edge"], ids=lambda r: f"{r['handSize']}-{r['queues']}"
)
def test_squish_probability(row: Any) -> None:
    """The probability that elephants cover a mouse's whole hand is exact."""
    for elephants, expected in row["computed"].items():
        probability = squish_probability(row["handSize"], row["queues"], int(elephants))
        assert float(probability) == pytest.approx(expected, rel=1e-12)
