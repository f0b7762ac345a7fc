"""The list of deliberate mistakes: whether each can still be made."""

import mistakes


def test_no_line_of_the_list_is_outdated():
    assert [m["right"] for m in mistakes.chosen("") if mistakes.is_outdated(m)] == []
