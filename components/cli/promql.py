"""As much of PromQL as it takes to say why an alert did not fire: an expression's selectors and its last comparison.
Pure. Expressions are Prometheus's to judge; what does not parse here is left unexplained, never refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    | (?P<range>\[[^\]]*\])
    | (?P<number>(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?:ms|[smhdwy])?)+|\.\d+)
    | (?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
    | (?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^<>=(),{}@])
    """,
    re.VERBOSE,
)
_LABEL_LISTS = ("by", "without", "on", "ignoring", "group_left", "group_right")
_KEYWORDS = (*_LABEL_LISTS, "and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end", "atan2")
_COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an expression and where it starts and ends."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher, as written."""

    label: str
    operator: str
    value: str  # with its quotes

    def __str__(self) -> str:
        return f"{self.label}{self.operator}{self.value}"


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric with its matchers."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def __str__(self) -> str:
        return self.name + ("{" + ",".join(map(str, self.matchers)) + "}" if self.matchers else "")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right` at the top of an expression."""

    left: str
    operator: str
    right: str


def tokens(expression: str) -> list[Token]:
    """The words of an expression, without white space and comments. Raises ValueError."""
    found = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ValueError(f"cannot read {expression[position:][:20]!r}")
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup or "", match.group(), match.start(), match.end()))
        position = match.end()
    return found


def selectors(expression: str) -> Iterator[Selector]:
    """Every selector of an expression that names its metric, in order."""
    words = tokens(expression)
    index = 0
    while index < len(words):
        word = words[index]
        following = words[index + 1].text if index + 1 < len(words) else ""
        if word.kind == "word" and word.text.lower() in _LABEL_LISTS and following == "(":
            index = _closing(words, index + 1)
        elif word.kind == "word" and word.text.lower() not in _KEYWORDS and following != "(":
            if following == "{":
                end = _closing(words, index + 1)
                if not _is_aggregation(words, end):
                    yield Selector(word.text, tuple(_matchers(words[index + 2 : end])))
                index = end
            elif not (following.lower() in ("by", "without") and _is_aggregation(words, index)):
                yield Selector(word.text)
        index += 1


def _is_aggregation(words: list[Token], index: int) -> bool:
    """Whether `sum by (…) (…)` is what stands at index."""
    return index + 2 < len(words) and words[index + 1].text.lower() in ("by", "without")


def _matchers(words: list[Token]) -> Iterator[Matcher]:
    for index in range(0, len(words) - 2, 4):
        label, operator, value = words[index : index + 3]
        yield Matcher(label.text, operator.text, value.text)


def _closing(words: list[Token], index: int) -> int:
    """The index of the bracket that closes the one at `index`."""
    pairs = {"(": ")", "{": "}"}
    opening, closing = words[index].text, pairs[words[index].text]
    depth = 0
    for position in range(index, len(words)):
        depth += (words[position].text == opening) - (words[position].text == closing)
        if depth == 0:
            return position
    return len(words) - 1


def parts(expression: str) -> list[tuple[str, str]]:
    """What `and`, `or` and `unless` join at the top, each with the operator before it ("" for the first)."""
    found: list[tuple[str, str]] = []
    start, operator = 0, ""
    words = list(_top_level(expression))
    for index, word in enumerate(words):
        if word.kind == "word" and word.text.lower() in ("and", "or", "unless"):
            found.append((operator, expression[start : word.start].strip()))
            operator, start = word.text.lower(), _after_matching(expression, words, index)
    return [*found, (operator, expression[start:].strip())]


def comparison(expression: str) -> Comparison | None:
    """The last comparison at the top of an expression."""
    words = list(_top_level(expression))
    for index in range(len(words) - 1, -1, -1):
        word = words[index]
        if word.kind == "operator" and word.text in _COMPARISONS:
            after = _after_matching(expression, words, index)
            right = expression[after:].strip().removeprefix("bool").strip()
            return Comparison(expression[: word.start].strip(), word.text, right)
    return None


def _top_level(expression: str) -> Iterator[Token]:
    """The words outside all brackets; a bracket's opening counts as outside, so that what follows it can be found."""
    depth = 0
    for word in tokens(expression):
        if word.text in (")", "}"):
            depth -= 1
        if depth == 0:
            yield word
        if word.text in ("(", "{"):
            depth += 1


def _after_matching(expression: str, words: list[Token], index: int) -> int:
    """Where the right operand starts: behind `on (…)`, `ignoring (…)` and `group_…`."""
    position = index + 1
    end = words[index].end
    while position < len(words) and words[position].text.lower() in ("on", "ignoring", "group_left", "group_right"):
        position += 1
        if position < len(words) and words[position].text == "(":
            position += 1  # the closing bracket is the next word at the top
            position += 1
        end = words[position - 1].end
    return end
