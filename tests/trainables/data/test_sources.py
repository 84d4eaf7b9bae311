"""Users' files: every format, every mistake with its line, and only the requested rows in memory."""

import pickle
import warnings

import datasets
import huggingface_hub
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import PROPERTY
from tests.trainables.files import FORMATS, own_cache, pairs, write_rows, write_splits
from trainables.config import SourceConfig
from trainables.data import source_tables, sources
from trainables.data.examples import text_key
from trainables.data.sources import open_source
from trainables.errors import DataWarning, UnlearningError

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


def opened(path, needs_prompt=False, **fields):
    return open_source(SourceConfig(path=str(path), **fields), where="data.retain_source", needs_prompt=needs_prompt)


def contents(examples):
    return [(example.prompt, example.completion) for example in examples]


def refusal(path, **fields):
    with pytest.raises(UnlearningError) as error:
        opened(path, **fields)
    return str(error.value)


@pytest.mark.parametrize("name", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_examples(tmp_path, name):
    rows = pairs(5)
    examples = opened(write_rows(tmp_path / name, rows))
    assert contents(examples) == [(row["prompt"], row["completion"]) for row in rows]
    first = 2 if name.endswith(".csv") else 1  # below the header
    assert [example.example_id for example in examples] == [f"{name}:{first + i}" for i in range(5)]
    assert examples.content == opened(write_rows(tmp_path / name, rows)).content


def test_each_line_of_a_text_file_is_an_example(tmp_path):
    (tmp_path / "some.txt").write_bytes("one\r\ntwo \u2028 still two\nlast, without an end".encode())
    examples = opened(tmp_path / "some.txt")
    assert contents(examples) == [("", "one"), ("", "two \u2028 still two"), ("", "last, without an end")]
    assert examples[2].example_id == "some.txt:3"


def test_a_dataset_of_the_hub_is_loaded_by_its_id_and_split(tmp_path, monkeypatch):
    """A folder stands for the hub here: ``load_dataset`` takes either."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    write_rows(tmp_path / "train.jsonl", pairs(3))
    write_rows(tmp_path / "test.jsonl", pairs(2, "test"))
    source = SourceConfig(dataset=str(tmp_path), split="test")
    assert contents(open_source(source, where="data.retain_source"))[0] == ("test 0 says", " the test word 0")
    with pytest.raises(UnlearningError, match=r"data.retain_source: .* split: found None; allowed: test, train"):
        open_source(SourceConfig(dataset=str(tmp_path)), where="data.retain_source")
    with pytest.raises(UnlearningError, match=r"'nobody/nothing' cannot be read: .*hub that this machine can reach"):
        open_source(SourceConfig(dataset="nobody/nothing", split="x"), where="data.retain_source")


def test_a_split_of_a_saved_folder_is_chosen_by_name(tmp_path):
    folder = write_splits(tmp_path / "both", {"train": pairs(2), "test": pairs(1, "t")})
    assert len(opened(folder, split="train")) == 2
    assert "split: found 'tset'; did you mean 'test'? allowed: test, train" in refusal(folder, split="tset")
    assert len(opened(write_splits(tmp_path / "one", {"only": pairs(2)}))) == 2


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"prompt": "p", "completion": "c"}, {}, ("p", "c", None)),
        ({"source": "s", "target": "t", "other": "o"}, {}, ("s", "t", None)),
        ({"text": "x"}, {}, ("", "x", None)),
        ({"completion": "c", "text": "x"}, {}, ("", "c", None)),
        ({"completion": "c", "text": "x"}, {"text": "text"}, ("", "x", None)),
        ({"q": "p", "a": "c", "idk": "i"}, {"prompt": "q", "completion": "a", "alternate": "idk"}, ("p", "c", "i")),
        ({"prompt": "p", "answer": "a"}, {"completion": "answer"}, ("p", "a", None)),
        ({"de": "d", "en": "e", "alternate": "x"}, {"source": "de", "target": "en"}, ("d", "e", "x")),
        ({"prompt": None, "completion": "c", "alternate": ""}, {}, ("", "c", None)),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_role_or_as_they_are_mapped(tmp_path, row, columns, expected):
    (example,) = opened(write_rows(tmp_path / "a.jsonl", [row]), columns=columns)
    assert (example.prompt, example.completion, example.alternate) == expected


def test_a_column_that_is_not_there_names_those_that_are(tmp_path):
    path = write_rows(tmp_path / "a.csv", [{"question": "q", "answer": "a"}])
    message = refusal(path, columns={"completion": "anwser"})
    assert message.startswith("data.retain_source: ")
    assert "no column 'anwser' (completion); did you mean 'answer'? allowed: answer, question" in message
    assert "no column 'completion', 'target' or 'text', but 'question', 'answer'" in refusal(path)


texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@settings(PROPERTY, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), texts), min_size=1, max_size=6))
def test_any_text_comes_through_as_it_was(tmp_path, written):
    rows = [{"prompt": f"{i}{prompt}", "completion": completion} for i, (prompt, completion) in enumerate(written)]
    for name in ("a.jsonl", "a.csv"):
        assert contents(opened(write_rows(tmp_path / name, rows))) == [tuple(row.values()) for row in rows]


BAD = (
    b'\xef\xbb\xbf{"prompt": "p", "completion": " good"}\n'
    b"\n"
    b'{"prompt": "p", "completion": " "}\n'
    b'{"prompt": "p", "completion": }\n'
    b'{"prompt": "p", "completion": "\xff"}\n'
    b"[1, 2]\n"
    b'{"prompt": "p", "completion": 3}\n'
    b'{"prompt": "p", "competion": "x"}\n'
    b'{"prompt": "p ", "completion": "  good "}\n'
    b'{"completion": "\\ud800"}\n'
)
PROBLEMS = {
    3: "the target is empty",
    4: "not JSON: Expecting value at column 31",
    5: "not UTF-8 at byte 32 of the line",
    6: "not a JSON object, but list: one a line",
    7: "'completion' is no text, but int: 3",
    8: "no 'completion'; did you mean 'competion'? allowed: competion, prompt",
    9: "the same text as 1",
    10: "'completion' holds half a character (a lone surrogate)",
}


def test_everything_that_is_wrong_is_listed_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_SHOWN", 8)
    (tmp_path / "bad.jsonl").write_bytes(BAD)
    message = refusal(tmp_path / "bad.jsonl")
    assert "8 rows cannot be used" in message
    for line, problem in PROBLEMS.items():
        assert f"\n  bad.jsonl:{line}: {problem}\n" in message


def test_of_many_mistakes_the_first_are_shown_and_the_rest_counted(tmp_path):
    (tmp_path / "bad.jsonl").write_text("{\n" * 30)
    message = refusal(tmp_path / "bad.jsonl")
    assert "30 rows cannot be used" in message
    assert "bad.jsonl:5:" in message
    assert "bad.jsonl:6:" not in message
    assert "and 25 more" in message


def test_bad_rows_are_left_out_with_a_warning_if_asked(tmp_path):
    (tmp_path / "bad.jsonl").write_bytes(BAD)
    with pytest.warns(DataWarning, match=r"8 rows cannot be used:(.|\n)*bad.jsonl:3: (.|\n)*left out"):
        examples = opened(tmp_path / "bad.jsonl", on_bad="skip")
    assert contents(examples) == [("p", " good")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert contents(pickle.loads(pickle.dumps(examples))) == [("p", " good")]


def test_a_csv_record_over_several_lines_is_named_by_its_first(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'prompt,completion\n"two\nlines"," one"\np,\nq,r,s\nt,\xff\n')
    message = refusal(tmp_path / "a.csv")
    for problem in ("4: the target is empty", "5: 3 fields, where the header has 2", "6: not UTF-8"):
        assert f"a.csv:{problem}\n" in message
    (tmp_path / "b.csv").write_bytes(b'prompt,completion\np,c\nq,"never closed\n')
    assert "line 3: not CSV: unexpected end of data" in refusal(tmp_path / "b.csv")


@pytest.mark.parametrize("name", ["data.parquet", "folder"])
def test_rows_of_tables_are_checked_by_number(tmp_path, name):
    rows = [{"completion": "a"}, {"completion": None}, {"completion": "a "}]
    message = refusal(write_rows(tmp_path / name, rows))
    assert f"{name}:2: the target is empty\n  {name}:3: the same text as 1\n" in message
    message = refusal(write_rows(tmp_path / name, [{"completion": [1, 2]}]))
    assert f"{name}:1: 'completion' is no text, but list: [1, 2]" in message


def test_what_cannot_be_opened_says_what_to_give(tmp_path):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "a.tsv").write_text("x")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "no_dataset").mkdir()
    assert "does not exist; give a path from" in refusal(tmp_path / "absent.jsonl")
    assert "cannot be read" in refusal(tmp_path / "torn.parquet")
    assert "no known format has the suffix '.tsv'; set format to jsonl" in refusal(tmp_path / "a.tsv")
    assert "has no example" in refusal(tmp_path / "empty.jsonl")
    assert "cannot be read" in refusal(tmp_path / "no_dataset")
    assert len(opened(tmp_path / "a.tsv", format="text")) == 1


def test_an_encoder_needs_a_source_to_read(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [*pairs(2), {"completion": "alone"}])
    assert len(opened(path)) == 3
    assert "a.jsonl:3: it has no prompt (source)" in refusal(path, needs_prompt=True)


def test_a_pickle_of_examples_has_their_location_and_not_their_texts(tmp_path):
    examples = opened(write_rows(tmp_path / "a.jsonl", pairs(2000)))
    assert len(examples.table) == 2000  # it is open
    packed = pickle.dumps(examples)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    assert contents(again) == contents(examples)
    assert again.identity() == examples.identity()
    few = pickle.loads(pickle.dumps(examples[10:30:10]))
    assert contents(few) == [contents(examples)[10], contents(examples)[20]]


def test_a_source_that_has_changed_since_is_refused(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", pairs(3))
    packed = pickle.dumps(opened(path))
    write_rows(path, pairs(3, "other"))
    with pytest.raises(UnlearningError, match="has changed since it was first read, or is another file on this"):
        len(pickle.loads(packed))


def test_a_source_is_checked_once(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "a.jsonl", pairs(30))
    first = opened(path)
    read = []
    monkeypatch.setattr(source_tables, "_record", lambda *arguments, **_: read.append(arguments))
    assert contents(opened(path)) == contents(first)
    assert read == []


def test_part_of_a_part_is_what_a_list_would_give(tmp_path):
    examples = opened(write_rows(tmp_path / "a.jsonl", pairs(20)))
    listed = list(examples)
    for part in (slice(3, 17, 2), slice(None, None, -3), slice(5, 5), slice(-4, None)):
        assert list(examples[part]) == listed[part]
        assert list(examples[2:18][part]) == listed[2:18][part]
    assert [examples[-1], examples[0]] == [listed[-1], listed[0]]
    with pytest.raises(IndexError):
        examples[20]
    assert examples[1:3].identity() != examples[2:4].identity() != examples.identity()


class CountingTable:
    """Records how many rows are decoded at once."""

    def __init__(self, table):
        self.table = table
        self.most = 0
        self.data = table.data

    def __len__(self):
        return len(self.table)

    def __getitem__(self, rows):
        found = self.table[rows]
        if isinstance(rows, str):
            self.most = len(self)
        self.most = max(self.most, 1 if isinstance(rows, int) else len(next(iter(found.values()))))
        return found


def test_no_more_than_some_rows_are_decoded_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_CHUNK", 7)
    examples = opened(write_rows(tmp_path / "a.jsonl", pairs(50)))
    counting = examples.__dict__["table"] = CountingTable(examples.table)
    assert len(list(examples)) == 50
    assert counting.most == 7
    counting.most = 0
    assert len(list(examples[::2])) == 25
    assert counting.most == 7
    counting.most = 0
    assert len(examples.with_text_keys([text_key(examples[3].text), 0])) == 1
    assert examples.identity()
    assert counting.most == 1


def test_rows_are_found_by_text_whatever_white_space_they_have(tmp_path):
    examples = opened(write_rows(tmp_path / "a.jsonl", pairs(9)))
    found = examples.with_text_keys([text_key("x 4  says the x\tword 4\n"), text_key("not there")])
    assert [example.example_id for example in found] == ["a.jsonl:5"]


def test_a_folder_of_parquet_files_is_one_source(tmp_path):
    (tmp_path / "parts").mkdir()
    for i in range(3):
        Dataset.from_list(pairs(4, f"part {i}")).to_parquet(tmp_path / "parts" / f"{i}.parquet")
    assert len(opened(tmp_path / "parts", format="parquet")) == 12
