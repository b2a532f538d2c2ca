"""Classes that are given and classes that occur: their ids, their order, names with control characters."""

from __future__ import annotations

from mrcnn.data.formats.class_table import ClassTable


def test_classes_that_occur_are_sorted_by_a_key() -> None:
    table = ClassTable()
    assert [table.add(name) for name in ("10", "9", "10", "1")] == [1, 2, 1, 3] and table.is_open
    assert table.names == ("10", "9", "1") and (table.find("9"), table.find("x")) == (2, 0)
    assert table.final_order(str) == ["1", "10", "9"] and table.final_order(int) == ["1", "9", "10"]
    assert table.final_order(None) == ["10", "9", "1"] and table.category_ids(["1", "9", "10"]) == [1, 2, 3]


def test_classes_that_are_given_keep_their_order() -> None:
    table = ClassTable(["dog", "cat"])
    assert not table.is_open and table.final_order(str) == ["dog", "cat"]
    assert not ClassTable([]).is_open and ClassTable([]).final_order(str) == []


def test_ids_in_the_files_are_kept_where_each_class_has_its_own() -> None:
    table = ClassTable()
    assert table.add("dog", 18) == 1 and table.add("cat", 17) == 2 and table.add("dog", 99) == 1
    assert table.category_ids(["cat", "dog"]) == [17, 18]
    table.add("cow", 17)
    assert table.category_ids(["cat", "cow", "dog"]) == [1, 2, 3]
    table = ClassTable(["dog"])
    table.add("cat", 4)
    assert table.category_ids(["dog", "cat"]) == [1, 2]


def test_control_characters_are_escaped() -> None:
    table = ClassTable()
    assert table.add("a\x07b") == 1 and table.find("a\x07b") == 1 and table.add("c") == 2
    assert table.names == ("a\\x07b", "c") and table.escaped == ("a\x07b",) and table.find("a\\x07b") == 1
