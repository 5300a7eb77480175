"""Numbers with their nouns and verbs."""

from unsqueeze.wording import counted, verb


def test_one_and_many() -> None:
    assert [counted(count, "line") for count in (0, 1, 2, 1200)] == ["0 lines", "1 line", "2 lines", "1,200 lines"]
    assert counted(1, "line", "is", "are") == "1 line is"
    assert counted(3, "line", "is", "are") == "3 lines are"
    assert verb(1, "was", "were") == "was"
    assert verb(0, "was", "were") == "were"
