import pytest

from kubeglass.components.api import fields, kinds, selectors
from kubeglass.components.api.objects import LabelSelector, LabelSelectorRequirement
from kubeglass.components.api.selectors import SelectorError, parse


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "api"}, False),
        ("app!=web", {}, True),
        ("app in (a,b)", {"app": "b"}, True),
        ("app notin (a,b)", {"app": "b"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": ""}, False),
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "4"}, False),
        ("n>3", {"n": "x"}, False),
        ("in in (in,notin)", {"in": "notin"}, True),
        ("app=", {"app": ""}, True),
        ("a=1, b = 2", {"a": "1", "b": "2"}, True),
        ("example.com/role in (x, y)", {"example.com/role": "y"}, True),
    ],
)
def test_selectors_match_labels(text: str, labels: dict[str, str], matches: bool) -> None:
    """Each operator of the query form selects what upstream's selects."""
    assert parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a ~ b", "unable to parse requirement: found '~', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: "
            "for 'in', 'notin' operators, values set can't be empty",
        ),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a=@",
            'unable to parse requirement: values[0][a]: Invalid value: "@": a valid label must be an empty string or '
            "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
            "character "
            "(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
    ],
)
def test_bad_selectors_are_refused_in_upstreams_words(text: str, message: str) -> None:
    """The message says what was found and what was expected."""
    with pytest.raises(SelectorError) as refused:
        parse(text)
    assert str(refused.value) == message


def test_object_form() -> None:
    """An absent LabelSelector selects nothing, an empty one everything, expressions are anded."""
    assert not selectors.from_label_selector(None).matches({})
    assert selectors.from_label_selector(LabelSelector()).matches({"a": "b"})
    both = LabelSelector(
        match_labels={"app": "web"},
        match_expressions=(LabelSelectorRequirement(key="tier", operator="NotIn", values=("db",)),),
    )
    selector = selectors.from_label_selector(both)
    assert selector.matches({"app": "web"})
    assert not selector.matches({"app": "web", "tier": "db"})
    assert str(selector) == "app=web,tier notin (db)"
    with pytest.raises(SelectorError, match='"Near" is not a valid label selector operator'):
        selectors.from_label_selector(
            LabelSelector(match_expressions=(LabelSelectorRequirement(key="a", operator="Near"),))
        )


def test_field_selectors_know_each_kinds_fields() -> None:
    """A Pod is selected by node and phase; a field the kind lacks is refused as upstream refuses it."""
    selector = fields.parse_for(kinds.POD, "spec.nodeName=n1,status.phase!=Failed")
    pod = {"metadata": {"name": "x", "namespace": "d"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}
    assert selector.matches(fields.field_values(kinds.POD, pod))
    with pytest.raises(SelectorError, match=r"field label not supported: spec\.foo"):
        fields.parse_for(kinds.POD, "spec.foo=1")
    with pytest.raises(SelectorError) as refused:
        fields.parse_for(kinds.CONFIG_MAP, "data=1")
    assert str(refused.value) == '"data" is not a known field selector: only "metadata.name", "metadata.namespace"'
    with pytest.raises(SelectorError, match="invalid selector: 'a'; can't understand 'a'"):
        selectors.parse_fields("a")
    assert selectors.parse_fields("a=b\\,c").required_value("a") == "b,c"


def test_event_fields_are_those_of_the_involved_object() -> None:
    """`kubectl describe` finds Events by involvedObject; events.k8s.io says regarding."""
    event = {"involvedObject": {"kind": "Pod", "uid": "u"}, "source": {"component": "kubelet"}}
    assert fields.parse_for(kinds.EVENT, "involvedObject.uid=u,source=kubelet").matches(
        fields.field_values(kinds.EVENT, event)
    )
    assert fields.parse_for(kinds.EVENTS_EVENT, "regarding.kind=Pod").matches(
        fields.field_values(kinds.EVENTS_EVENT, event)
    )
