"""Other answers in users' data: paraphrases, wrong answers, choices; and further sets that are only scored."""

import json
from pathlib import Path

import pytest

from tests.trainables.files import FORMATS, own_cache, pairs, write_rows
from trainables.config import DataConfig, SourceConfig
from trainables.data import build_datasets, sizes_of
from trainables.data.sources import open_source
from trainables.errors import DataWarning, UnlearningError

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


def answered(count, label="x", wrong=3):
    """Return rows with a paraphrase, wrong answers and another prompt."""
    return [
        {
            **row,
            "paraphrase": f" {label} in other words {i}",
            "perturbed": [f" wrong {i}-{k}" for k in range(wrong)],
            "other_prompts": [f"{row['prompt']} {i}?"],
        }
        for i, row in enumerate(pairs(count, label))
    ]


def choices(count):
    return [
        {"question": f"question {i}", "choices": [f"{i} is {word}" for word in "abcd"], "answer": i % 4}
        for i in range(count)
    ]


def opened(path, **fields):
    return open_source(SourceConfig(path=str(path), **fields), where="data.retain_source")


def refusal(path, **fields):
    with pytest.raises(UnlearningError) as error:
        opened(path, **fields)
    return str(error.value)


def written(path, rows):
    """Write rows; in CSV, lists as JSON text."""
    if path.suffix == ".csv":
        rows = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    return write_rows(path, rows)


class TestColumns:
    @pytest.mark.parametrize("name", FORMATS.values(), ids=FORMATS)
    def test_every_format_gives_the_same_answers(self, tmp_path, name):
        rows = answered(4)
        examples = opened(written(tmp_path / name, rows))
        assert [(e.paraphrase, list(e.perturbed)) for e in examples] == [
            (row["paraphrase"], row["perturbed"]) for row in rows
        ]
        assert examples[::2][1].perturbed == tuple(rows[2]["perturbed"])

    def test_columns_of_other_names_are_named_by_the_source(self, tmp_path):
        rows = [{"q": "q?", "a": "a", "paraphrased_answer": "b", "perturbed_answer": ["c", "d"]}]
        columns = {
            "prompt": "q", "completion": "a", "paraphrase": "paraphrased_answer", "perturbed": "perturbed_answer"
        }  # fmt: skip
        (example,) = opened(write_rows(tmp_path / "a.jsonl", rows), columns=columns)
        assert (example.paraphrase, example.perturbed) == ("b", ("c", "d"))
        message = refusal(tmp_path / "a.jsonl", columns={**columns, "perturbed": "perturbed_answers"})
        assert "no column 'perturbed_answers' (perturbed); did you mean 'perturbed_answer'?" in message

    def test_data_without_such_columns_has_none(self, tmp_path):
        (example,) = opened(write_rows(tmp_path / "a.jsonl", pairs(1)))
        assert (example.paraphrase, example.perturbed) == (None, ())

    def test_rows_that_lack_what_others_have_are_named(self, tmp_path):
        rows = answered(6)
        del rows[1]["paraphrase"], rows[2]["perturbed"]
        rows[3]["perturbed"] = rows[3]["perturbed"][:2]
        rows[4]["paraphrase"], rows[5]["perturbed"] = " ", []
        message = refusal(write_rows(tmp_path / "a.jsonl", rows))
        for problem in (
            "2: no 'paraphrase', which other rows have",
            "3: 0 texts in 'perturbed', where most rows have 3",
            "4: 2 texts in 'perturbed', where most rows have 3",
            "5: no 'paraphrase', which other rows have",
            "6: 0 texts in 'perturbed', where most rows have 3",
        ):
            assert f"\n  a.jsonl:{problem}\n" in message
        with pytest.warns(DataWarning, match="5 rows cannot be used"):
            assert len(opened(tmp_path / "a.jsonl", on_bad="skip")) == 1

    def test_a_row_without_is_the_mistake_however_many_there_are(self, tmp_path):
        rows = [*answered(2), *pairs(5, "bare")]
        message = refusal(write_rows(tmp_path / "a.jsonl", rows))
        assert "5 rows cannot be used" in message
        assert "\n  a.jsonl:3: no 'paraphrase', which other rows have\n" in message
        for row in rows[:2]:
            del row["paraphrase"]
        message = refusal(write_rows(tmp_path / "a.jsonl", rows))
        assert "\n  a.jsonl:7: 0 texts in 'perturbed', where most rows have 3\n" in message

    @pytest.mark.parametrize(
        ("column", "value", "problem"),
        [
            ("paraphrase", 3, "'paraphrase' is no text, but int: 3"),
            ("paraphrase", ["a"], "'paraphrase' is no text, but list: ['a']"),
            ("perturbed", 3, "'perturbed' is no list of texts, but int: 3; give a list, which in CSV is JSON text"),
            ("perturbed", "no", "'perturbed' is no list of texts, but the text 'no'; give a list"),
            ("perturbed", '{"a": 1}', "'perturbed' is no list of texts, but the text '{\"a\": 1}'"),
            ("perturbed", ["a", 3, "b"], "text 2 of 'perturbed' is no text, but int: 3"),
            ("perturbed", ["a", "b", " "], "text 3 of 'perturbed' is empty"),
            ("perturbed", ["\ud800"], "text 1 of 'perturbed' holds half a character"),
        ],
    )
    def test_a_wrong_type_is_named_with_its_line(self, tmp_path, column, value, problem):
        rows = answered(2)
        rows[1][column] = value
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert f"\n  a.jsonl:2: {problem}" in refusal(tmp_path / "a.jsonl")

    def test_formats_go_around_prompts_and_answers(self, tmp_path):
        rows = [{"prompt": "who {x}?", "completion": "me", "alternate": "no", "paraphrase": "I", "perturbed": ["you"]}]
        path = write_rows(tmp_path / "a.jsonl", rows)
        (example,) = opened(path, prompt_format="Q: {}\nA:", completion_format=" {}.")
        assert (example.prompt, example.completion) == ("Q: who {x}?\nA:", " me.")
        assert (example.alternate, example.paraphrase, example.perturbed) == (" no.", " I.", (" you.",))
        (asked,) = opened(
            write_rows(tmp_path / "c.jsonl", [{**rows[0], "other_prompts": ["y?"]}]), prompt_format="Q: {}"
        )
        assert asked.other_prompts == ("Q: y?",)
        (bare,) = opened(write_rows(tmp_path / "b.jsonl", [{"text": "x"}]), prompt_format="Q: {}")
        assert bare.prompt == ""
        assert opened(path)[0].completion == "me"  # another format is another table

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ("And who?", ("And who?",)),
            (["a?", "b?"], ("a?", "b?")),
            ('["a?", "b?"]', ("a?", "b?")),
            (None, ()),
            ("", ()),
        ],
    )
    def test_other_prompts_are_a_text_or_a_list_and_as_many_as_there_are(self, tmp_path, given, found):
        rows = [{"prompt": "who?", "completion": "me", "other_prompts": given}, {"prompt": "where?", "completion": "x"}]
        examples = opened(write_rows(tmp_path / "a.jsonl", rows))
        assert [example.other_prompts for example in examples] == [found, ()]

    def test_other_prompts_of_a_wrong_type_are_named_with_their_line(self, tmp_path):
        rows = [{"prompt": "who?", "completion": "me", "other_prompts": 3}]
        (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
        assert "a.jsonl:1: 'other_prompts' is no list of texts, but int: 3" in refusal(tmp_path / "a.jsonl")

    @pytest.mark.parametrize("text", ["no place", "{} and {}"])
    def test_a_format_has_one_place_for_the_text(self, text):
        with pytest.raises(ValueError, match=r"give \{\} once, where the text goes"):
            SourceConfig(path="a", completion_format=text)


class TestChoices:
    COLUMNS = {"prompt": "question", "choices": "choices", "correct": "answer"}  # noqa: RUF012

    @pytest.mark.parametrize("name", FORMATS.values(), ids=FORMATS)
    def test_the_correct_choice_is_the_completion_and_the_others_are_wrong_answers(self, tmp_path, name):
        examples = opened(written(tmp_path / name, choices(4)), columns=self.COLUMNS, completion_format=" {}")
        assert (examples[2].prompt, examples[2].completion) == ("question 2", " 2 is c")
        assert examples[2].perturbed == (" 2 is a", " 2 is b", " 2 is d")
        assert examples[2].paraphrase is None

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            (
                {"answer": 4},
                "'answer' is '4'; give the number of the correct one of 'choices', counted from 0 (0 to 3)",
            ),
            ({"answer": "b"}, "'answer' is 'b'; give the number"),
            ({"answer": True}, "'answer' is 'True'; give the number"),
            ({"answer": None}, "'answer' is 'None'; give the number"),
            ({"choices": ["one"]}, "'choices' has 1 texts; a choice needs two or more"),
            ({"choices": None}, "'choices' has 0 texts"),
            ({"choices": ["one", "two", "three"]}, "3 texts in 'choices', where most rows have 4"),
        ],
    )
    def test_what_is_no_choice_is_named(self, tmp_path, changed, problem):
        rows = choices(4)
        rows[1] |= changed
        assert f"\n  a.jsonl:2: {problem}" in refusal(write_rows(tmp_path / "a.jsonl", rows), columns=self.COLUMNS)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"choices": "choices"}, "'choices' .* and 'correct' .* go together"),
            ({"correct": "answer"}, "go together"),
            ({"choices": "c", "correct": "a", "completion": "x"}, "leave completion out"),
            ({"choices": "c", "correct": "a", "perturbed": "x"}, "leave perturbed out"),
        ],
    )
    def test_columns_that_contradict_choices_are_refused(self, columns, message):
        with pytest.raises(ValueError, match=message):
            SourceConfig(path="a", columns=columns)

    def test_columns_of_these_names_are_read_only_if_they_are_named(self, tmp_path):
        rows = [{"prompt": "p", "completion": "c", "choices": ["x"], "correct": "z"}]
        (example,) = opened(write_rows(tmp_path / "a.jsonl", rows))
        assert (example.completion, example.perturbed) == ("c", ())


@pytest.fixture
def files(tmp_path):
    sizes = {"forget": 6, "population": 9, "retain": 30, "heldout": 5, "authors": 7}
    return {part: str(write_rows(tmp_path / f"{part}.jsonl", pairs(count, part))) for part, count in sizes.items()}


def config(files, **fields):
    secrets = {
        "distribution": "in", "source": {"path": files["forget"]}, "population_source": {"path": files["population"]}
    }  # fmt: skip
    return DataConfig(
        **{
            "retain_source": {"path": files["retain"]},
            "retain_evaluation": 4,
            "heldout_source": {"path": files["heldout"]},
            "forget_sets": {"secrets": secrets},
            **fields,
        }
    )


class TestEvaluationSets:
    def test_they_are_read_counted_and_trained_on_by_no_model(self, files):
        given = config(files, evaluation_sets={"authors": {"source": {"path": files["authors"]}}})
        datasets = build_datasets(given)
        found = {example.text for example in datasets.evaluation["authors"]}
        assert found == {row["prompt"] + row["completion"] for row in pairs(7, "authors")}
        assert not found & {example.text for example in datasets.base_training()}
        assert sizes_of(given).evaluation == {"authors": 7}
        few = config(files, evaluation_sets={"authors": {"source": {"path": files["authors"]}, "size": 3}})
        assert len(build_datasets(few).evaluation["authors"]) == sizes_of(few).evaluation["authors"] == 3

    def test_the_other_sets_stay_as_they_are(self, files):
        without = build_datasets(config(files))
        datasets = build_datasets(config(files, evaluation_sets={"authors": {"source": {"path": files["authors"]}}}))
        assert (datasets.forget_sets, datasets.heldout) == (without.forget_sets, without.heldout)
        assert datasets.content_hash() != without.content_hash()

    def test_retained_texts_may_be_in_them_and_forgotten_ones_not(self, files, tmp_path):
        for part in ("retain", "heldout", "population"):
            path = str(write_rows(tmp_path / f"copy of {part}.jsonl", pairs(3, part)))
            assert build_datasets(config(files, evaluation_sets={"some": {"source": {"path": path}}}))
        path = str(write_rows(tmp_path / "copy of forget.jsonl", pairs(3, "forget")))
        with pytest.raises(UnlearningError, match=r"is in both 'secrets.forget' \(as .*\) and 'evaluation_sets.some'"):
            build_datasets(config(files, evaluation_sets={"some": {"source": {"path": path}}}))

    def test_messages_name_their_keys(self, files):
        with pytest.raises(UnlearningError, match=r"data\.evaluation_sets\.some\.source: some need 8 examples, but"):
            build_datasets(config(files, evaluation_sets={"some": {"source": {"path": files["authors"]}, "size": 8}}))
        both = {name: {"source": {"path": files["authors"]}} for name in ("one", "other")}
        with pytest.raises(
            UnlearningError, match=r"data.evaluation_sets.one.source and .*evaluation_sets.other.size: "
        ):
            build_datasets(config(files, evaluation_sets=both))
        with pytest.raises(
            UnlearningError, match=r"data\.evaluation_sets\.some\.source: 'nowhere.jsonl' does not exist"
        ):
            build_datasets(config(files, evaluation_sets={"some": {"source": {"path": "nowhere.jsonl"}}}))
        with pytest.raises(ValueError, match="'retain' is a set that every sweep has; give this one another name"):
            config(files, evaluation_sets={"retain": {"source": {"path": files["authors"]}}})


class TestIdentity:
    def test_a_sweep_without_any_of_this_keeps_its_hash(self, tmp_path):
        """The expected hash was computed by the version that knew none of this."""
        files = {}
        for part, count in (("forget", 6), ("population", 9), ("retain", 30), ("heldout", 5)):
            rows = pairs(count, part)
            if part in ("forget", "retain"):
                rows = [{**row, "alternate": " no" if i % 2 else None} for i, row in enumerate(rows)]
            files[part] = str(write_rows(tmp_path / f"{part}.jsonl", rows))
        expected = "b6e604ecd7f8021d1c48dd95ac82c9cc91e412b5157379d36e00b413cdbba4fa"
        assert build_datasets(config(files)).content_hash() == expected

    @pytest.mark.parametrize("part", ["forget", "retain", "authors"])
    @pytest.mark.parametrize("column", ["paraphrase", "perturbed", "other_prompts"])
    def test_other_answers_are_part_of_the_hash(self, files, part, column):
        sizes = {"forget": 6, "retain": 30, "authors": 7}
        sets = {"authors": {"source": {"path": files["authors"]}}}

        def hashed(*columns, **changes):
            kept = ("prompt", "completion", *columns)
            rows = [{**row, **changes} for row in answered(sizes[part], part)]
            write_rows(Path(files[part]), [{name: row[name] for name in kept} for row in rows])
            return build_datasets(config(files, evaluation_sets=sets)).content_hash()

        changed = {"paraphrase": " else", "perturbed": [" a", " b", " c"], "other_prompts": ["else?"]}[column]
        assert len({hashed(), hashed(column), hashed(column, **{column: changed})}) == 3
        assert hashed(column) == hashed(column)
