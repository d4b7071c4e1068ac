"""The author's names, pinned: one more or one less is a decision."""

import aegis


def test_the_author_s_names_are_exactly_these():
    assert sorted(aegis.__all__) == [
        "Clause",
        "Event",
        "Host",
        "Meta",
        "Model",
        "Refused",
        "Secret",
        "Serializer",
        "Waiting",
        "adapter",
        "all_of",
        "any_of",
        "blocking",
        "command",
        "config",
        "derived",
        "emit",
        "encrypted",
        "event",
        "frozen",
        "frozen_when",
        "idempotency_key",
        "log",
        "not_",
        "on",
        "port",
        "private",
        "relation",
        "required_when",
        "service",
        "unique",
        "waiting",
    ]


def test_every_public_name_can_be_imported():
    for name in aegis.__all__:
        assert getattr(aegis, name) is not None
