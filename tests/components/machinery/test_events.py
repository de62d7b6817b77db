"""The Event correlator decides like client-go's: count up, combine, cut."""

from dataclasses import replace

from kubeglass.components.machinery.events import Correlator, Happening, ObjectReference, Written

POD = ObjectReference("v1", "Pod", "web", "default", "uid-1")


def happening(message: str = "Started container web", at: float = 0.0, reason: str = "Started") -> Happening:
    return Happening(POD, "Normal", reason, message, at)


def test_a_repeated_happening_is_known():
    """What was written once is counted up the next time."""
    correlator = Correlator()
    first = correlator.admit(happening())
    assert first is not None
    assert correlator.known(first) is None
    correlator.wrote(first, Written("web.1", 0.0, 1))
    again = correlator.admit(happening(at=1.0))
    assert again is not None
    assert correlator.known(again) == Written("web.1", 0.0, 1)


def test_the_tenth_different_message_is_combined():
    """Ten different messages of one kind within ten minutes become one combined Event."""
    correlator = Correlator()
    admitted = [correlator.admit(happening(f"message {n}", at=float(n))) for n in range(11)]
    assert [h.message for h in admitted if h][9] == "(combined from similar events): message 9"
    tenth, eleventh = admitted[9], admitted[10]
    assert tenth is not None and eleventh is not None
    correlator.wrote(tenth, Written("web.10", 9.0, 1))
    assert correlator.known(eleventh) == Written("web.10", 9.0, 1)


def test_old_messages_are_not_combined():
    """Ten minutes of silence start a new group."""
    correlator = Correlator()
    for n in range(9):
        correlator.admit(happening(f"message {n}", at=float(n)))
    late = correlator.admit(happening("message 10", at=1000.0))
    assert late is not None
    assert late.message == "message 10"


def test_a_flood_about_one_object_is_cut():
    """After a burst of 25 an object gets one Event per five minutes."""
    correlator = Correlator()
    admitted = [correlator.admit(happening(at=0.0)) for _ in range(30)]
    assert sum(h is not None for h in admitted) == 25
    assert correlator.admit(happening(at=301.0)) is not None
    assert correlator.admit(happening(at=302.0)) is None


def test_a_changed_object_is_the_same_object():
    """The same message about a later resourceVersion of an object counts the Event up."""
    correlator = Correlator()
    correlator.wrote(happening(), Written("web.1", 0.0, 1))
    later = Happening(replace(POD, resource_version="2"), "Normal", "Started", "Started container web", 1.0)
    assert correlator.known(later) == Written("web.1", 0.0, 1)
