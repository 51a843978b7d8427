"""Tables beside pictures: what is read from them, and one clear line for those that make no sense."""
import io
import math

import pytest

from imggen_jax.data import DataError
from imggen_jax.data.folders import notes
from imggen_jax.data.folders.notes import Column, Kind


def rows(name, text):
    return dict(notes.rows(name, io.BytesIO(text.encode() if isinstance(text, str) else text)))


def test_csv():
    text = '\ufefffile_name,text,Licence,hair color,age\n1.jpg,"red, and\n blue",CC0,,3\nx/../2.jpg,,,brown,\n'
    assert rows("a/metadata.csv", text) == {
        "a/1.jpg": {"caption": "red, and blue", "license": "CC0", "age": "3"}, "a/2.jpg": {"hair_color": "brown"}}


def test_jsonl():
    text = ('{"file_name": "1.jpg", "text": "é", "license": "CC0", "smiles": true, "age": 3.5, "tags": ["a", "b"]}\n\n'
            '{"file_name": "2.jpg", "age": null}\n')
    assert rows("metadata.jsonl", text) == {
        "1.jpg": {"caption": "é", "license": "CC0", "smiles": True, "age": 3.5, "tags": '["a", "b"]'}, "2.jpg": {}}


def test_columns_that_the_dataset_has_itself_get_another_name():
    got = rows("metadata.csv", "file_name,image,name\n1.jpg,a,b\n")["1.jpg"]
    assert got == {"column_image": "a", "column_name": "b"}


@pytest.mark.parametrize(("name", "text", "said"), [
    ("metadata.csv", "", "has no column file_name, only nothing"),
    ("metadata.csv", "name,text\na,b\n", "has no column file_name, only name, text"),
    ("metadata.csv", '"a\nb",text\n', "has no column file_name, only a b, text"),
    ("metadata.csv", "file_name,text\na,b,c\n", "line 2: it has more values than there are columns"),
    ("metadata.csv", 'file_name,text\na,"b\n', "not CSV"),
    ("metadata.csv", "file_name,text\n,b\n", "line 2: there is no file_name"),
    ("metadata.csv", "file_name,a b,a-b\nx,1,2\n", "line 2: two columns are called a_b"),
    ("metadata.csv", b"file_name,text\na,\xff\n", "is not UTF-8 text"),
    ("metadata.jsonl", '{"file_name": "a"}\n{\n', "line 2: not JSON"),
    ("metadata.jsonl", "[1]\n", "line 1: not a JSON object"),
    ("metadata.jsonl", '{"text": "a"}\n', "line 1: there is no file_name"),
    ("metadata.jsonl", '{"file_name": 3}\n', "line 1: there is no file_name"),
    ("metadata.jsonl", "[" * 100_000, "line 1: not JSON"),
])
def test_a_table_that_makes_no_sense_is_one_clear_line(name, text, said):
    with pytest.raises(DataError, match=said) as error:
        rows(f"x/{name}", text)
    assert f"x/{name}" in str(error.value) and "\n" not in str(error.value)


def kind(values, pictures=None, **options) -> Kind:
    column = Column()
    for value in values:
        column.see(value)
    return column.kind(pictures or len(values), **options)


@pytest.mark.parametrize(("values", "wanted"), [
    (["a", "b", "a", "b"], Kind("class", ("a", "b"))),
    (["a", "b", "c", "d"], Kind("text")),
    ([True, False, True, True], Kind("class", ("false", "true"))),
    (["10", "9", "10", "9"], Kind("class", ("9", "10"))),
    ([1, 2, 3, 4], Kind("number")),
    (["0.5", "0.25", "0.5", "0.25"], Kind("number")),
    (["1", "x", "1", "x"], Kind("class", ("1", "x"))),
    ([2.5, "nan", 2.5, "nan"], Kind("class", ("2.5", "nan"))),
])
def test_what_a_column_becomes(values, wanted):
    assert kind(values) == wanted


def test_pictures_for_which_nothing_is_said_have_a_class_of_their_own():
    assert kind(["a", "b", "a", "b"], 5) == Kind("class", ("a", "b", "unknown"))
    assert kind(["unknown", "b", "unknown", "b"], 5) == Kind("class", ("b", "unknown"))


def test_a_label_is_a_class_however_rare():
    assert kind(["a", "b", "c"], label=True) == Kind("class", ("a", "b", "c"))
    assert kind(range(notes.MOST_CLASSES + 1), label=True).kind == "number"


def test_cells_are_stored_as_their_kind_says():
    encode = Kind("class", ("9", "10", "unknown")).encoder()
    assert [encode(value) for value in ("10", 9, None)] == [1, 0, 2]
    encode = Kind("number").encoder()
    assert encode("0.5") == 0.5 and math.isnan(encode(None))
    encode = Kind("text").encoder()
    assert [encode(value) for value in ("a", True, None)] == ["a", "true", ""]


def test_captions_are_clean_text():
    assert notes.clean(" a\n\tb \ud800 ") == "a b ?"


@pytest.mark.parametrize(("text", "said"), [
    ('file_name,text\na,b\nb,"open\nc,d\ne,f\n', "line 3: not CSV .unexpected end of data, at line 5"),
    ('file_name,text\na,"b\nc"d,e\nf,g\n', "line 2: not CSV .*, at line 3"),
    ('file_name,text\n\na,"b\nc",d\n', "line 3: it has more values"),
])
def test_an_open_quote_is_named_where_it_begins(text, said):
    with pytest.raises(DataError, match=said):
        rows("metadata.csv", text)


def test_lone_surrogates_become_text():
    got = rows("metadata.jsonl", '{"file_name": "a\\ud800.jpg", "text": "x\\ud800", "k\\ud800": ["\\udfff"]}\n')
    assert got == {"a\\ud800.jpg": {"caption": "x?", "k": '["?"]'}}
    "".join(map(str, got)).encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_table_with_a_byte_order_mark_is_read_by_it(encoding):
    text = "file_name,text\r\na.jpg,наш дом\r\n" + "".join(f"{i}.jpg,日本{i}\r\n" for i in range(20_000))
    got = rows("metadata.csv", text.encode(encoding))
    assert got["a.jpg"] == {"caption": "наш дом"} and got["19999.jpg"] == {"caption": "日本19999"}


@pytest.mark.parametrize(("text", "encoding", "known"), [
    ("café,  über", "utf-8", True), ("наш дом", "utf-16", True), ("日本", "utf-16-be", False),
    ("\ufeff日本", "utf-16-be", True), ("café, über", "latin-1", True), ("très", "latin-1", False),
    ("наш дом", "cp1251", False), ("日本", "shift-jis", False), ("\x93quoted\x94", "latin-1", False)])
def test_a_caption_is_decoded_where_its_encoding_is_certain(text, encoding, known):
    got = notes.caption_text(text.encode(encoding))
    assert got == (notes.clean(text.removeprefix("\ufeff")) if known else None)
