"""Files as users have them: columns that differ, names with glob characters, encodings, arrays, compression, splits."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from tests.trainables.files import own_cache, pairs, write_rows, write_splits
from trainables.config import DataConfig, SourceConfig
from trainables.data import source_tables
from trainables.data.allocation import SourceAllocator
from trainables.data.reading.text_rows import Row
from trainables.data.sources import open_source
from trainables.errors import UnlearningError

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")
TEXTS = [" the x word 0", " the x word 1"]


def opened(path, **fields):
    return open_source(SourceConfig(path=str(path), **fields), where="data.retain_source")


def texts(path, **fields):
    return [example.completion for example in opened(path, **fields)]


def refusal(path, **fields):
    """Return the error message, which names the spec key and has one or two lines."""
    with pytest.raises(UnlearningError) as error:
        opened(path, **fields)
    message = str(error.value)
    assert message.startswith("data.retain_source: ")
    assert len(message) < 1000
    return message


def write_parts(folder, *parts):
    """Write Parquet files of the columns given."""
    folder.mkdir()
    for number, columns in enumerate(parts):
        pq.write_table(pa.table(columns), folder / f"part-{number}.parquet")
    return folder


class TestParquet:
    def test_parts_may_differ_in_columns_that_nobody_asked_for(self, tmp_path):
        folder = write_parts(
            tmp_path / "parts",
            {"text": ["a"], "meta": [1], "image": pa.array([{"bytes": b"x", "path": None}])},
            {"meta": ["one"], "text": ["b"]},
            {"text": ["c"], "meta": pa.array([None], pa.null()), "more": [[1, 2]]},
            {"meta": pa.array([{"a": 1}]), "text": ["d"]},
        )
        assert texts(folder) == texts(folder, format="parquet") == ["a", "b", "c", "d"]

    def test_an_empty_part_may_have_any_columns(self, tmp_path):
        folder = write_parts(
            tmp_path / "parts",
            {"text": pa.array([], pa.null())},
            {"text": ["a"]},
            {"other": pa.array([], pa.int64())},
            {},
            {"text": ["b"]},
        )
        assert texts(folder) == ["a", "b"]
        assert "has no example" in refusal(write_parts(tmp_path / "none", {"text": pa.array([], pa.string())}))

    @pytest.mark.parametrize(
        "kind", [pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.string_view()], ids=str
    )
    def test_texts_of_every_type_are_one_column(self, tmp_path, kind):
        folder = write_parts(
            tmp_path / "parts",
            {"prompt": ["p"], "completion": ["a"]},
            {"prompt": pa.array([None] * 3, pa.null()), "completion": pa.array(["b", "none", "c"]).cast(kind)},
            {"prompt": pa.array(["b", None, "c"]).cast(kind), "completion": ["1", "2", "3"]},
        )
        found = [(e.prompt, e.completion) for e in opened(folder)]
        assert found == [("p", "a"), ("", "b"), ("", "none"), ("", "c"), ("b", "1"), ("", "2"), ("c", "3")]

    def test_a_cell_that_is_no_text_is_named_by_its_file_and_row(self, tmp_path):
        folder = write_parts(tmp_path / "parts", {"text": ["a", "b"]}, {"text": [1, 2]}, {"txet": ["c"]})
        message = refusal(folder)
        assert "parts:3: part-1.parquet:1: 'text' is no text, but int: 1" in message
        assert "parts:5: part-2.parquet:1: no 'text'; did you mean 'txet'? allowed: txet" in message

    def test_what_is_no_parquet_is_named_and_what_spark_leaves_is_not_read(self, tmp_path):
        folder = write_parts(tmp_path / "out.parquet", {"text": ["a"]})
        for name in ("_SUCCESS", "_metadata", ".part-0.parquet.crc", "_temporary.parquet", ".x.parquet"):
            (folder / name).write_bytes(b"")
        assert texts(folder) == ["a"]
        (folder / "part-9.parquet").write_bytes(b"")
        assert "out.parquet' ('" in (message := refusal(folder))
        assert "part-9.parquet') cannot be read: " in message

    def test_a_folder_by_keys_is_read_whole(self, tmp_path):
        for key in ("b", "a"):
            (tmp_path / "hive" / f"key={key}").mkdir(parents=True)
            pq.write_table(pa.table({"text": [key]}), tmp_path / "hive" / f"key={key}" / "part-0.parquet")
        assert texts(tmp_path / "hive") == ["a", "b"]

    def test_a_column_may_have_any_name_but_only_once(self, tmp_path):
        columns = {"a.b": ["x"], "a": pa.array([{"b": "no"}])}
        assert texts(write_parts(tmp_path / "dots", columns), columns={"text": "a.b"}) == ["x"]
        (tmp_path / "twice").mkdir()
        pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "twice" / "p.parquet")
        assert "cannot be read: Multiple matches for FieldRef.Name(text)" in refusal(tmp_path / "twice")

    def test_a_type_that_cannot_be_read_is_named(self, tmp_path):
        columns = {"text": ["a"], "other": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))}
        assert "cannot be read: Arrow type map<" in refusal(write_parts(tmp_path / "parts", columns))

    def test_a_link_to_nothing_is_no_file_less(self, tmp_path):
        folder = write_parts(tmp_path / "parts", {"text": ["a"]})
        (folder / "part-1.parquet").symlink_to(tmp_path / "gone.parquet")
        assert "part-1.parquet" in refusal(folder)


NAMES = ["a[1]", "what?", "all*", "{x,y}", "**", "a b", "ü", "it's", "-x", "%41", "#1", "a\\b", "http:", "~"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv", ""])
def test_a_name_is_no_pattern(tmp_path, name, ending):
    rows = pairs(2)
    write_rows(tmp_path / f"other{ending}", pairs(2, "other"))
    assert texts(write_rows(tmp_path / f"{name}{ending}", rows)) == TEXTS
    if ending == ".parquet":
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / f"{name}.parquet", rows)
        assert texts(tmp_path / name) == TEXTS


class TestJson:
    @pytest.mark.parametrize("indent", [None, 2])
    @pytest.mark.parametrize("form", ["array", "one list", "one list beside facts"])
    def test_one_array_of_objects_is_read(self, tmp_path, indent, form):
        rows = pairs(2)
        value = {"array": rows, "one list": {"data": rows}}.get(form, {"version": "1.1", "n": [1], "data": rows})
        for name in ("a.json", "a.jsonl", "a"):
            (tmp_path / name).write_text(("\n" if indent else "") + json.dumps(value, indent=indent) + "\n")
            if name == "a.jsonl" and form != "array" and indent:
                continue  # its name says one object a line
            examples = opened(tmp_path / name, format="jsonl")
            assert [example.completion for example in examples] == TEXTS
            assert [example.example_id for example in examples] == [f"{name}:1", f"{name}:2"]

    def test_lines_stay_lines(self, tmp_path):
        (tmp_path / "a.json").write_text('{"text": "one", "turns": [{"a": 1}]}\n\n{"text": "two"}\n')
        assert texts(tmp_path / "a.json") == ["one", "two"]
        (tmp_path / "b.json").write_text('{"text": "one", "turns": [{"a": 1}]}')
        assert texts(tmp_path / "b.json") == ["one"]
        (tmp_path / "c.json").write_text('{\n "text": "one"\n}\n')
        assert texts(tmp_path / "c.json") == ["one"]
        (tmp_path / "d.json").write_text('{"text": }\n{"text": "two"}\n')
        assert "d.json:1: not JSON: Expecting value at column 10" in refusal(tmp_path / "d.json")
        (tmp_path / "e.jsonl").write_text('[1]\n{"text": "two"}\n')
        assert "e.jsonl:1: not a JSON object, but list: one a line" in refusal(tmp_path / "e.jsonl")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                '[\n {"text": "a"},\n {"text": b}\n]',
                "line 3: not JSON: Expecting value at column 11; give one object a",
            ),
            ('[\n {"text": "a"}\n', "line 3: not JSON: "),
            ('{\n "a": [{"text": "a"}],\n "b": [{"text": "b"}]\n}', "several arrays of objects ('a', 'b')"),
            ('[\n "a",\n "b"\n]', "a.json:1: not a JSON object, but str"),
            ('{\n "a": 1\n}', "no column 'completion', 'target' or 'text', but 'a'"),
            ("[]", "has no example"),
            ("[" * 100_000, "nested too deep"),
            ("\n \n", "has no example"),
            ("3\n", "a.json:1: not a JSON object, but int"),
        ],
    )
    def test_what_is_no_array_of_objects_says_what_to_give(self, tmp_path, text, said):
        (tmp_path / "a.json").write_text(text)
        assert said in refusal(tmp_path / "a.json")

    def test_a_prompt_that_the_first_row_lacks_is_read(self, tmp_path):
        path = write_rows(tmp_path / "a.jsonl", [{"completion": "a"}, {"prompt": "p", "completion": "b"}])
        assert [example.text for example in opened(path)] == ["a", "pb"]


class TestCsv:
    def test_a_long_field_is_read(self, tmp_path):
        long = "word " * 100_000
        assert texts(write_rows(tmp_path / "a.csv", [{"text": long}, {"text": "x"}])) == [long, "x"]

    def test_a_quote_that_is_never_closed_is_found(self, tmp_path):
        (tmp_path / "a.csv").write_text('text,more\na,"b\n' + "c,d\n" * 100)
        assert "line 2: not CSV: unexpected end of data; repair it (is a quote never closed?)" in refusal(
            tmp_path / "a.csv"
        )

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_the_header_tells_what_separates_fields(self, tmp_path, separator, end):
        written = io.StringIO()
        writer = csv.writer(written, delimiter=separator, lineterminator=end)
        writer.writerows([["prompt", "completion"], ["p, q; r", " c,\td"]])
        (tmp_path / "a.csv").write_bytes(written.getvalue().encode())
        assert [(e.prompt, e.completion) for e in opened(tmp_path / "a.csv")] == [("p, q; r", " c,\td")]

    def test_headers_that_name_nothing_or_a_column_twice_are_refused(self, tmp_path):
        (tmp_path / "twice.csv").write_text("text,text\na,b\n")
        assert "its header has 'text' more than once" in refusal(tmp_path / "twice.csv")
        (tmp_path / "exported.csv").write_text(",text,,\n0,a,,\n")  # an index, and empty columns, as spreadsheets write
        assert [example.completion for example in opened(tmp_path / "exported.csv")] == ["a"]
        for name, content in {"empty.csv": "", "header.csv": "prompt,completion\n"}.items():
            (tmp_path / name).write_text(content)
            assert "has no example" in refusal(tmp_path / name)


class TestBytes:
    @pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
    def test_compressed_text_is_read(self, tmp_path, ending, pack, name):
        rows = pairs(2)
        if name == "a.json":
            (tmp_path / name).write_text(json.dumps(rows, indent=1))
        else:
            write_rows(tmp_path / name, rows)
        packed = tmp_path / f"{name}.{ending}"
        packed.write_bytes(pack((tmp_path / name).read_bytes()))
        assert texts(packed) == TEXTS
        packed.write_bytes(packed.read_bytes()[:-9])
        assert "cannot be read: " in refusal(packed)
        packed.write_bytes(b"plain\n" * 9)
        assert "cannot be read: " in refusal(packed)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("text\na\n".encode("utf-16"), "text in UTF-16; write it as UTF-8, for example: iconv -f UTF-16 -t UTF-8"),
            ("text\na\n".encode("utf-32"), "text in UTF-32"),
            ("text\na\n".encode("utf-16-le"), "text in UTF-16"),
            (gzip.compress(b"text\na\n"), "compressed by gzip, which its name should say (.gz)"),
            (b"PK\x03\x04 and so on", "a ZIP archive or a spreadsheet"),
            (b"PAR1 and so on", "Parquet, which its name or its format should say"),
            (b"\x28\xb5\x2f\xfd and so on", "compressed by Zstandard"),
        ],
        ids=["utf-16", "utf-32", "no mark", "gzip", "zip", "parquet", "zstd"],
    )
    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
    def test_what_is_no_utf8_says_what_it_is(self, tmp_path, content, said, name):
        (tmp_path / name).write_bytes(content)
        assert f"{name}' is not text in UTF-8, but {said}" in refusal(tmp_path / name)

    @pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.json", "a.jsonl"])
    def test_a_mark_before_utf8_and_a_null_character_are_read(self, tmp_path, name):
        rows = ['{"text": "a\\u0000b"}', '{"text": "c"}'] if "json" in name else ["a\0b", "c"]
        lines = ["text", *rows] if name == "a.csv" else rows
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
        assert texts(tmp_path / name) == ["a\0b", "c"]

    def test_parquet_that_is_compressed_once_more_is_refused(self, tmp_path):
        write_rows(tmp_path / "a.parquet", pairs(1))
        (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
        assert "decompress it" in refusal(tmp_path / "a.parquet.gz")


class TestFoldersAndSplits:
    @pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
    def test_a_folder_of_files_is_one_source_and_its_rows_have_ids_of_their_own(self, tmp_path, ending):
        (tmp_path / "parts").mkdir()
        for number in range(3):
            write_rows(tmp_path / "parts" / f"{number}{ending}", pairs(2, f"part {number}"))
        (tmp_path / "parts" / "README.md").write_text("not of it")
        examples = opened(tmp_path / "parts")
        assert [e.prompt for e in examples] == [f"part {n} {i} says" for n in range(3) for i in range(2)]
        assert len({e.example_id for e in examples}) == 6

    def test_a_bad_row_of_a_folder_is_named_by_its_file(self, tmp_path):
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "a.jsonl").write_text('{"text": "a"}\n')
        (tmp_path / "parts" / "b.jsonl").write_text('{"text": "b"}\nbad\n')
        assert "parts:3: b.jsonl:2: not JSON" in refusal(tmp_path / "parts")

    def test_folders_that_are_no_source_say_what_is_in_them(self, tmp_path):
        (tmp_path / "mixed").mkdir()
        write_rows(tmp_path / "mixed" / "a.jsonl", pairs(1))
        write_rows(tmp_path / "mixed" / "b.parquet", pairs(1, "b"))
        assert "several formats (1 jsonl, 1 parquet); set format to one" in refusal(tmp_path / "mixed")
        assert texts(tmp_path / "mixed", format="parquet") == [" the b word 0"]
        assert "no csv file in it (a.jsonl, b.parquet)" in refusal(tmp_path / "mixed", format="csv")
        (tmp_path / "empty").mkdir()
        assert "no data file in it (it is empty), nor made by save_to_disk" in refusal(tmp_path / "empty")

    @pytest.mark.parametrize("layout", ["data/{}-00000-of-00001.parquet", "{}.jsonl", "{}/0.csv"])
    def test_a_split_of_a_folder_is_that_of_its_names(self, tmp_path, layout):
        for split in ("train", "test", "training"):
            path = tmp_path / "folder" / layout.format(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_rows(path, pairs(1, split))
        for split in ("train", "test"):
            assert texts(tmp_path / "folder", split=split) == [f" the {split} word 0"]
        assert "split: found 'dev', but neither the name of a file" in refusal(tmp_path / "folder", split="dev")

    def test_a_split_of_what_has_none_is_refused(self, tmp_path):
        for name in ("a.jsonl", "a.csv", "a.parquet"):
            path = write_rows(tmp_path / name, pairs(1))
            assert "split: found 'train', but one file has no splits; leave 'split' out" in refusal(path, split="train")
        folder = write_rows(tmp_path / "saved", pairs(1))
        assert "split: found 'train', but the folder holds one dataset without" in refusal(folder, split="train")
        both = write_splits(tmp_path / "both", {"train": pairs(1), "test": pairs(1, "t")})
        assert "split: found None; allowed: test, train" in refusal(both)
        assert "format: hf is a folder" in refusal(tmp_path / "a.jsonl", format="hf")

    def test_only_the_columns_of_a_saved_folder_that_are_asked_for_are_decoded(self, tmp_path, monkeypatch):
        Dataset.from_dict({"text": ["a"], "image": [b"no image"]}).save_to_disk(tmp_path / "saved")
        monkeypatch.setattr(
            "trainables.data.reading.table_rows.Row", lambda **found: seen.append(found["fields"]) or Row(**found)
        )
        seen = []
        assert texts(tmp_path / "saved") == ["a"]
        assert seen == [{"text": "a"}]


class TestContent:
    def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read_anew(self, tmp_path):
        path = write_rows(tmp_path / "a.jsonl", pairs(2, "x"))
        before, state = opened(path), path.stat()
        write_rows(path, pairs(2, "y"))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
        after = opened(path)
        assert [e.completion for e in after] == [" the y word 0", " the y word 1"]
        assert before.content != after.content

    @pytest.mark.parametrize("ending", [".parquet", ""])
    def test_and_so_is_a_folder_with_such_a_part(self, tmp_path, ending):
        (tmp_path / "parts").mkdir()
        folder = tmp_path / "parts" if ending else tmp_path / "saved"
        for label in ("x", "y"):
            write_rows(tmp_path / "parts" / "0.parquet" if ending else folder, pairs(2, label))
            for file in folder.iterdir():
                os.utime(file, ns=(0, 0))
            assert texts(folder)[0] == f" the {label} word 0"

    def test_a_dataset_by_its_id_is_read_anew_when_it_has_changed(self, tmp_path, monkeypatch):
        """A folder stands for the hub here."""
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        source = SourceConfig(dataset=str(tmp_path), split="train")
        for number, label in enumerate(("x", "y")):
            os.utime(write_rows(tmp_path / "train.jsonl", pairs(2, label)), ns=(number, number))
            examples = open_source(source, where="data.retain_source")
            assert examples[0].completion == f" the {label} word 0"

    def test_a_file_that_changes_while_it_is_read_is_refused(self, tmp_path, monkeypatch):
        path = write_rows(tmp_path / "a.jsonl", pairs(2))
        record = source_tables._record

        def change(row, *arguments, **options):
            path.write_text(path.read_text() + "\n")
            return record(row, *arguments, **options)

        monkeypatch.setattr(source_tables, "_record", change)
        assert "changed while it was read" in refusal(path)

    def test_a_source_under_two_spellings_of_its_path_is_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_rows(tmp_path / "a.jsonl", pairs(20))
        (tmp_path / "link.jsonl").symlink_to("a.jsonl")
        spellings = ["a.jsonl", "./a.jsonl", str(tmp_path / "a.jsonl"), "link.jsonl"]
        config = DataConfig(
            retain_source={"path": spellings[0]},
            retain_evaluation=2,
            heldout_source={"path": spellings[1]},
            heldout=3,
            forget_sets={
                "s": {
                    "distribution": "in",
                    "source": {"path": spellings[2]},
                    "size": 4,
                    "population_source": {"path": spellings[3]},
                    "population": 5,
                }
            },
        )
        allocated = SourceAllocator(config, encoder_decoder=False).allocate()
        found = [example.text for part in allocated.values() for example in part]
        assert len(found) == len(set(found)) == 20
