"""Label and field selectors: parse, match, print. Texts and grammar are upstream's (apimachinery labels and fields).

`parse` reads the query form (`app=web,tier in (a,b),!old`), `from_label_selector` the object form of matchLabels and
matchExpressions. A field selector knows only `=`, `==` and `!=`; which labels a kind supports is in fields.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kubeglass.components.api import fielderrors, names
from kubeglass.components.api.objects.meta import LabelSelector

_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_SPECIAL = "=!(),><"
_SPACE = " \t\r\n"


class SelectorError(ValueError):
    """The text is no selector; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `operator` is one of in, notin, =, ==, !=, gt, lt, exists, !."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        return value is not None and _compares(value, self.operator, self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements together. Without requirements it matches everything; `nothing` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.nothing and not self.requirements

    def required_value(self, key: str) -> str | None:
        """The one value the selector demands of `key`, if it does."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator in ("=", "==", "in") and len(requirement.values) == 1:
                return requirement.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def from_map(labels: Mapping[str, str]) -> Selector:
    """The old form of Services and ReplicationControllers: every pair must be present."""
    return Selector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(labels.items())))


def from_label_selector(selector: LabelSelector | None) -> Selector:
    """The selector of the object form; None selects nothing, an empty one everything. Raises SelectorError."""
    if selector is None:
        return NOTHING
    found = list(from_map(selector.match_labels).requirements)
    for expression in selector.match_expressions:
        operator = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}.get(expression.operator)
        if operator is None:
            raise SelectorError(f'"{expression.operator}" is not a valid label selector operator')
        found.append(requirement(expression.key, operator, expression.values))
    return Selector(tuple(sorted(found, key=lambda item: item.key)))


def requirement(key: str, operator: str, values: Iterable[str] = ()) -> Requirement:
    """A checked requirement. Raises SelectorError."""
    wanted = tuple(dict.fromkeys(values))
    causes = (
        [fielderrors.invalid("key", key, "; ".join(complaints))] if (complaints := names.qualified_name(key)) else []
    )
    if operator in ("in", "notin") and not wanted:
        causes.append(fielderrors.invalid("values", [], "for 'in', 'notin' operators, values set can't be empty"))
    if operator in ("=", "==", "!=") and len(wanted) != 1:
        causes.append(
            fielderrors.invalid("values", list(wanted), "exact-match compatibility requires one single value")
        )
    if operator in ("exists", "!") and wanted:
        causes.append(
            fielderrors.invalid("values", list(wanted), "values set must be empty for exists and does not exist")
        )
    if operator in ("gt", "lt"):
        if len(wanted) != 1:
            causes.append(
                fielderrors.invalid("values", list(wanted), "for 'Gt', 'Lt' operators, exactly one value is required")
            )
        for index, value in enumerate(wanted):
            if _integer(value) is None:
                detail = "for 'Gt', 'Lt' operators, the value must be an integer"
                causes.append(fielderrors.invalid(f"values[{index}]", value, detail))
    for index, value in enumerate(wanted):
        if complaints := names.label_value(value):
            causes.append(fielderrors.invalid(f"values[{index}][{key}]", value, "; ".join(complaints)))
    if causes:
        texts = [f"{cause.field}: {cause.message}" for cause in causes]
        raise SelectorError(texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]")
    return Requirement(key, operator, tuple(sorted(wanted)))


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """The selector of a `labelSelector` parameter. Raises SelectorError with upstream's message."""
    requirements = _Parser(text).parse()
    return Selector(tuple(sorted(requirements, key=lambda item: item.key)))


# Fields -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """`field=value` or `field!=value`."""

    field: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.equal else '!='}{_escaped(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms together."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, values: Mapping[str, str]) -> bool:
        return all((values.get(term.field, "") == term.value) is term.equal for term in self.terms)

    @property
    def empty(self) -> bool:
        return not self.terms

    def required_value(self, field: str) -> str | None:
        """The value that `field=value` demands, if there is such a term."""
        return next((term.value for term in self.terms if term.equal and term.field == field), None)

    def renamed(self, convert: Callable[[str, str], tuple[str, str]]) -> FieldSelector:
        """Each term through a kind's conversion, which raises SelectorError for a label it does not support."""
        found = []
        for term in self.terms:
            field, value = convert(term.field, term.value)
            found.append(FieldTerm(field, value, term.equal))
        return FieldSelector(tuple(found))

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)


@lru_cache(maxsize=1024)
def parse_fields(text: str) -> FieldSelector:
    """The selector of a `fieldSelector` parameter. Raises SelectorError with upstream's message."""
    terms = []
    for part in _split_terms(text):
        if not part:
            continue
        field, operator, value = _split_term(part)
        if not operator:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(FieldTerm(field, _unescaped(value), operator != "!="))
    return FieldSelector(tuple(sorted(terms, key=lambda term: term.field)))


def _split_terms(text: str) -> list[str]:
    terms, start, escaped = [], 0, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            terms.append(text[start:index])
            start = index + 1
    return [*terms, text[start:]] if text else []


def _split_term(term: str) -> tuple[str, str, str]:
    for index in range(len(term)):
        for operator in ("!=", "==", "="):
            if term.startswith(operator, index):
                return term[:index], operator, term[index + len(operator) :]
    return term, "", ""


def _unescaped(value: str) -> str:
    found, rest = [], iter(value)
    for character in rest:
        if character == "\\":
            follower = next(rest, "")
            if follower not in ("\\", ",", "="):
                sequence = f"\\{follower}"
                raise SelectorError(f"invalid field selector: invalid escape sequence: {sequence}")
            found.append(follower)
        elif character in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {character}")
        else:
            found.append(character)
    return "".join(found)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _integer(value: str) -> int | None:
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdigit() else None


def _compares(value: str, operator: str, bound: str) -> bool:
    left, right = _integer(value), _integer(bound)
    if left is None or right is None:
        return False
    return left > right if operator == "gt" else left < right


# The grammar of label selectors ------------------------------------------------------------------------------------

_TOKENS = {
    ")": ")", ",": ",", "!": "!", "==": "==", "=": "=", ">": "gt", "<": "lt", "!=": "!=", "(": "(",
    "in": "in", "notin": "notin",
}  # fmt: skip
_IDENTIFIER, _END, _ERROR = "identifier", "end", "error"


def _tokens(text: str) -> list[tuple[str, str]]:
    found, index = [], 0
    while index < len(text):
        character = text[index]
        if character in _SPACE:
            index += 1
        elif character in _SPECIAL:
            end = index + 1
            while end < len(text) and text[end] in _SPECIAL and text[index : end + 1] in _TOKENS:
                end += 1
            found.append((_TOKENS[text[index:end]], text[index:end]))
            index = end
        else:
            end = index
            while end < len(text) and text[end] not in _SPECIAL and text[end] not in _SPACE:
                end += 1
            word = text[index:end]
            found.append((_TOKENS.get(word, _IDENTIFIER), word))
            index = end
    return [*found, (_END, "")]


class _Parser:
    """Recursive descent over the tokens. In value position the keywords `in` and `notin` are plain words."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._position = 0

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token, literal = self._look()
            if token == _END:
                return found
            if token not in (_IDENTIFIER, "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from error
            token, literal = self._take()
            if token == _END:
                return found
            if token != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            token, literal = self._look()
            if token not in (_IDENTIFIER, "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token, key = self._take()
        absent = token == "!"
        if absent:
            token, key = self._take()
        if token != _IDENTIFIER:
            raise SelectorError(f"found '{key}', expected: identifier")
        if complaints := names.qualified_name(key):
            cause = fielderrors.invalid("<nil>", key, "; ".join(complaints))
            raise SelectorError(f"{cause.field}: {cause.message}")
        if absent:
            return requirement(key, "!")
        if self._look()[0] in (_END, ","):
            return requirement(key, "exists")
        operator, literal = self._take(as_values=False)
        if operator not in _OPERATORS:
            raise SelectorError(f"found '{literal}', expected: {', '.join(_OPERATORS)}")
        values = self._list() if operator in ("in", "notin") else [self._exact_value()]
        return requirement(key, operator, values)

    def _list(self) -> list[str]:
        token, literal = self._take()
        if token != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        token, literal = self._look()
        if token == ")":
            self._take()
            return []
        if token not in (_IDENTIFIER, ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        values = self._identifiers()
        token, literal = self._take()
        if token != ")":
            raise SelectorError(f"found '{literal}', expected: ')'")
        return values

    def _identifiers(self) -> list[str]:
        values: list[str] = []
        while True:
            token, literal = self._take()
            if token == _IDENTIFIER:
                values.append(literal)
                token, literal = self._look()
                if token == ")":
                    return values
                if token != ",":
                    raise SelectorError(f"found '{literal}', expected: ',' or ')'")
            elif token == ",":
                if not values:
                    values.append("")
                token, _ = self._look()
                if token == ")":
                    return [*values, ""]
                if token == ",":
                    self._take()
                    values.append("")
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")

    def _exact_value(self) -> str:
        token, literal = self._look()
        if token in (_END, ","):
            return ""
        self._take()
        if token != _IDENTIFIER:
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def _look(self) -> tuple[str, str]:
        token, literal = self._tokens[self._position]
        return (_IDENTIFIER, literal) if token in ("in", "notin") else (token, literal)

    def _take(self, as_values: bool = True) -> tuple[str, str]:
        token = self._look() if as_values else self._tokens[self._position]
        if self._position < len(self._tokens) - 1:
            self._position += 1
        return token
