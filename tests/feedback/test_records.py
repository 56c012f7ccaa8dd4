"""JSON as lines or as one array, packed or not: each record comes with the line on which it begins."""

import gzip
import io

import pytest

from rlhf_lab.feedback import records


def read(data):
    with records.opened(io.BytesIO(data), "x") as binary, records.text(binary) as file:
        return [
            (line, str(value) if isinstance(value, ValueError) else value) for line, value in records.json_records(file)
        ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("\n \n", []),
        ('{"a": 1}\n\n{"a": 2}\n', [(1, {"a": 1}), (3, {"a": 2})]),
        ('\n\r\n{"a": NaN}', [(3, {"a": None})]),
        ("1\n[2]\n", [(1, 1), (2, [2])]),
        ("\n[1,\n\n2 , 3\n]\n \n", [(2, 1), (4, 2), (4, 3)]),
        ("[]", []),
        (" [ \n ] ", []),
        ("[[1], []]", [(1, [1]), (1, [])]),
        ("[1,]", [(1, 1), (1, "is not JSON: Expecting value")]),
        ("[1\n2]", [(1, 1), (2, "is not JSON: behind a record of the array, a comma or ] is missing")]),
        ("[1]\n\n[2]", [(1, 1), (3, "is not JSON: there is more behind the array")]),
        ("\n[", [(2, "is not JSON: Expecting value")]),
        ('[1,\n{"a":\n}]', [(1, 1), (3, "is not JSON: Expecting value")]),
        ("x\n1", [(1, "is not JSON: Expecting value"), (2, 1)]),
        ("-Infinity", [(1, "is not JSON: -Infinity is no JSON number")]),
        ("[Infinity]", [(1, "is not JSON: Infinity is no JSON number")]),
    ],
)
def test_each_record_has_its_line(text, found):
    assert read(text.encode()) == found
    assert read(gzip.compress(b"\xef\xbb\xbf" + text.encode())) == found


def test_a_file_stays_open_until_it_was_read_and_a_stream_longer(tmp_path):
    (tmp_path / "f").write_text("1\n")
    with records.opened(tmp_path / "f", "f") as binary, records.text(binary) as file:
        assert next(records.json_records(file)) == (1, 1)
    assert binary.closed
    stream = io.BufferedReader(io.BytesIO(b"1\n"))
    with records.opened(stream, "f") as binary, records.text(binary) as file:
        assert next(records.json_records(file)) == (1, 1)
    assert not stream.closed


def test_sources_have_names(tmp_path):
    assert records.name_of(tmp_path / "f") == str(tmp_path / "f")
    assert records.name_of("f") == "f"
    assert records.name_of(io.BytesIO()) == "the standard input"
