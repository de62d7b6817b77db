"""Shuffle sharding: the hand of queues that a flow is dealt, and how likely hands are to collide.

A flow's hash is read as digits of a mixed base: digit i in base (deck - i) picks the digit-th smallest queue not dealt
before. Deck and hand must leave enough of the 64 bits unused that the last digit stays even: log2(deck) * hand <= 60.

The probability that a mouse is squished (every queue of its hand is also in some elephant's hand) follows the size u of
the union of the elephants' hands: P(u -> u+k) = C(u, h-k) C(d-u, k) / C(d, h), and then C(u, h) / C(d, h).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

from kubeglass.components.api.flowcontrol import MAX_HASH_BITS, required_bits

MAX_DECK_SIZE = 1 << 26
_CACHED_HANDS = 4096


def flow_hash(schema: str, distinguisher: str) -> int:
    """The 64-bit identity of a flow."""
    digest = hashlib.sha256(b"%b\x00%b" % (schema.encode(), distinguisher.encode())).digest()
    return int.from_bytes(digest[:8], "little")


def dealing_error(deck_size: int, hand_size: int) -> str:
    """Why no dealer can exist for these sizes; empty when one can."""
    if deck_size <= 0 or hand_size <= 0:
        return f"deckSize {deck_size} or handSize {hand_size} is not positive"
    if hand_size > deck_size:
        return f"handSize {hand_size} is greater than deckSize {deck_size}"
    if deck_size > MAX_DECK_SIZE:
        return f"deckSize {deck_size} is impractically large"
    bits = required_bits(deck_size, hand_size)
    if bits > MAX_HASH_BITS:
        return f"required entropy bits {bits} is greater than {MAX_HASH_BITS}"
    return ""


def max_hand_size(deck_size: int) -> int:
    """The largest hand that may be dealt from a deck."""
    return max((hand for hand in range(1, 16) if not dealing_error(deck_size, hand)), default=0)


class Dealer:
    """Deals hands of `hand_size` distinct queue indices out of `deck_size`. Raises ValueError for impossible sizes."""

    __slots__ = ("_hands", "deck_size", "hand_size")

    def __init__(self, deck_size: int, hand_size: int) -> None:
        if error := dealing_error(deck_size, hand_size):
            raise ValueError(error)
        self.deck_size = deck_size
        self.hand_size = hand_size
        self._hands: dict[int, tuple[int, ...]] = {}

    def deal(self, hash_value: int) -> tuple[int, ...]:
        """The hand of a flow, in the order it was dealt."""
        hand = self._hands.get(hash_value)
        if hand is None:
            if len(self._hands) >= _CACHED_HANDS:
                self._hands.clear()
            hand = self._hands[hash_value] = self._deal(hash_value)
        return hand

    def _deal(self, value: int) -> tuple[int, ...]:
        digits: list[int] = []
        hand: list[int] = []
        for base in range(self.deck_size, self.deck_size - self.hand_size, -1):
            value, card = divmod(value, base)
            digits.append(card)
            for earlier in reversed(digits[:-1]):
                card += card >= earlier
            hand.append(card)
        return tuple(hand)


def squish_probability(hand_size: int, queues: int, elephants: int) -> Fraction:
    """The exact probability that `elephants` heavy flows cover every queue of a light flow."""
    hands = math.comb(queues, hand_size)
    union = {0: Fraction(1)}
    for _ in range(elephants):
        union = _one_more_elephant(union, hand_size, queues, hands)
    return sum((p * Fraction(math.comb(u, hand_size), hands) for u, p in union.items()), Fraction(0))


def _one_more_elephant(union: dict[int, Fraction], hand_size: int, queues: int, hands: int) -> dict[int, Fraction]:
    grown: dict[int, Fraction] = {}
    for covered, probability in union.items():
        for new in range(min(hand_size, queues - covered) + 1):
            ways = math.comb(covered, hand_size - new) * math.comb(queues - covered, new)
            if ways:
                grown[covered + new] = grown.get(covered + new, Fraction(0)) + probability * Fraction(ways, hands)
    return grown


def squish_table(
    rows: Sequence[tuple[int, int]], elephants: Sequence[int] = (1, 4, 16)
) -> list[tuple[int, int, tuple[float, ...]]]:
    """Rows (hand size, queues, probability per number of elephants), as the documentation prints them."""
    return [
        (hand, queues, tuple(float(squish_probability(hand, queues, count)) for count in elephants))
        for hand, queues in rows
    ]
