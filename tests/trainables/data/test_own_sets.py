"""Sets from users' own files: every set has its examples, and no text is in two sets."""

import itertools

import pytest

from tests.trainables.files import own_cache, pairs, write_rows
from trainables.config import DataConfig
from trainables.data import SetSizes, StoredExamples, build_datasets, sizes_of
from trainables.errors import DataWarning, UnlearningError

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def files(tmp_path):
    """A file for each set, each of another format."""
    names = {"forget": "forget.jsonl", "population": "others.csv", "retain": "retain.parquet", "heldout": "heldout"}
    sizes = {"forget": 6, "population": 9, "retain": 30, "heldout": 5}
    return {part: str(write_rows(tmp_path / name, pairs(sizes[part], part))) for part, name in names.items()}


def config(files, retain=None, **of_set):
    return DataConfig(
        **{
            "retain_source": {"path": files["retain"]},
            "retain_evaluation": 4,
            "heldout_source": {"path": files["heldout"]},
            "forget_sets": {
                "secrets": {
                    "distribution": "in",
                    "source": {"path": files["forget"]},
                    "population_source": {"path": files["population"]},
                    **of_set,
                }
            },
            **(retain or {}),
        }
    )


def texts(examples):
    return {example.text for example in examples}


def test_every_set_comes_from_the_file_that_it_names(files):
    datasets = build_datasets(config(files, repetitions=[1, 3]))
    secrets = datasets.forget_sets["secrets"]
    for part, examples, count in (
        ("forget", secrets.forget, 6),
        ("population", secrets.population, 9),
        ("retain", datasets.retain, 30),
        ("heldout", datasets.heldout, 5),
    ):
        assert texts(examples) == {row["prompt"] + row["completion"] for row in pairs(count, part)}
    assert secrets.repetitions == (1, 1, 1, 3, 3, 3)
    assert {example.example_id for example in secrets.forget} == {f"forget.jsonl:{i}" for i in range(1, 7)}
    assert sizes_of(config(files)).forget_sets == {"secrets": SetSizes(forget=6, population=9, distractors=0)}
    assert (sizes_of(config(files)).retain, sizes_of(config(files)).heldout) == (30, 5)


def test_sets_are_drawn_at_random_and_follow_the_seed(files):
    drawn = [
        build_datasets(config(files, size=3, population=4, retain={"retain": 10, "heldout": 3, "seed": seed}))
        for seed in (0, 0, 1)
    ]
    for datasets in drawn:
        secrets = datasets.forget_sets["secrets"]
        sizes = [len(part) for part in (secrets.forget, secrets.population, datasets.retain, datasets.heldout)]
        assert sizes == [3, 4, 10, 3]
    hashes = [datasets.content_hash() for datasets in drawn]
    assert hashes[0] == hashes[1] != hashes[2]
    assert texts(drawn[0].retain) != texts(drawn[2].retain)


def test_the_retain_set_is_not_in_memory_and_keeps_its_order_where_all_of_it_is_taken(files):
    datasets = build_datasets(config(files))
    assert isinstance(datasets.retain, StoredExamples)
    assert [example.example_id for example in datasets.retain] == [f"retain.parquet:{i}" for i in range(1, 31)]
    measured = [example.example_id for example in datasets.retain_sample(4)]
    assert measured == [f"retain.parquet:{i}" for i in (1, 8, 15, 22)]  # spread evenly: a file may be sorted
    with pytest.raises(UnlearningError, match="31 retain examples are to be measured, and there are 30"):
        datasets.retain_sample(31)


def test_sets_that_name_one_source_divide_it_among_themselves(files):
    everything = {"path": files["retain"]}
    shared = DataConfig(
        retain_source=everything,
        retain_evaluation=4,
        heldout_source=everything,
        heldout=5,
        forget_sets={
            "a": {"distribution": "in", "source": everything, "size": 4, "population": 3},
            "b": {"distribution": "out", "source": everything, "size": 2, "population": 3, "distractors": 2},
        },
    )
    datasets = build_datasets(shared)
    sets = [datasets.retain, datasets.heldout]
    for s in datasets.forget_sets.values():
        sets += [s.forget, s.population, s.distractors]
    assert [len(part) for part in sets] == [11, 5, 4, 3, 0, 2, 3, 2]
    assert sum(len(texts(part)) for part in sets) == len(set().union(*map(texts, sets))) == 30
    assert sizes_of(shared).retain == 11
    both = shared.model_copy(update={"heldout": None})
    said = r"data\.heldout_source and data\.retain_source are all .*no example can be in two sets.*\(data\.retain: "
    with pytest.raises(UnlearningError, match=said):
        build_datasets(both)


def test_a_file_as_corpus_is_drawn_from_as_scripture_is(files):
    corpus = {"source": {"path": files["retain"]}, "max_words": 4}
    verses = {"distribution": "in", "size": 4, "population": 3}
    datasets = build_datasets(
        DataConfig(corpus=corpus, retain=10, retain_evaluation=4, heldout=5, forget_sets={"own": verses})
    )
    own = datasets.forget_sets["own"]
    sets = [datasets.retain, datasets.heldout, own.forget, own.population]
    assert [len(part) for part in sets] == [10, 5, 4, 3]
    assert len(set().union(*map(texts, sets))) == 22
    few = DataConfig(
        corpus={**corpus, "max_words": 3}, retain=10, retain_evaluation=4, heldout=5, forget_sets={"own": verses}
    )
    with pytest.raises(UnlearningError, match="need 22 examples, but the corpus has 0 of 0 to 3 words"):
        build_datasets(few)


def test_a_source_that_has_too_few_says_who_wants_how_many(files):
    with pytest.raises(
        UnlearningError, match=r"data.forget_sets.secrets.source: secrets.forget need 7 examples, but '.*' has 6 to use"
    ):
        build_datasets(config(files, size=7))


PLACES = ("retain", "heldout", "population")


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(("forget", *PLACES), 2)))
def test_a_text_in_two_sets_is_refused_naming_both_lines(files, tmp_path, one, other):
    """Texts that differ only in white space count as equal."""
    rows = pairs(5, "new")
    rows[3] = {"prompt": "", "completion": f"  {one}  2 says the {one}\tword 2 "}
    write_rows(tmp_path / "twice.jsonl", rows)
    with pytest.raises(UnlearningError) as error:
        build_datasets(config({**files, other: str(tmp_path / "twice.jsonl")}))
    message = str(error.value)
    names = {"forget": "secrets.forget", "population": "secrets.population"}
    for name in (one, other):
        assert f"'{names.get(name, name)}'" in message
    assert "twice.jsonl:4" in message
    line = {"others.csv": 4}.get(files[one].rpartition("/")[2], 3)  # below a header
    assert f"{files[one].rpartition('/')[2]}:{line}" in message


def test_of_a_stored_retain_set_only_texts_that_are_in_other_sets_are_read(files, monkeypatch):
    datasets = build_datasets(config(files))
    read = []
    real = type(datasets.retain)._example
    monkeypatch.setattr(type(datasets.retain), "_example", lambda self, row: read.append(row) or real(self, row))
    build_datasets(config(files))
    assert len(read) == 6 + 9 + 5


def test_an_alternate_column_goes_before_the_sets_own(files, tmp_path):
    rows = [{**row, "idk": "" if i else " Who knows?"} for i, row in enumerate(pairs(3))]
    path = str(write_rows(tmp_path / "with.csv", rows))
    source = {"path": path, "columns": {"alternate": "idk"}}
    forget = build_datasets(config(files, source=source, alternate=" No.")).forget_sets["secrets"].forget
    assert {(e.example_id, e.alternate) for e in forget} == {
        ("with.csv:2", " Who knows?"), ("with.csv:3", " No."), ("with.csv:4", " No.")
    }  # fmt: skip


def test_rows_left_out_count_for_nothing(files, tmp_path):
    path = str(write_rows(tmp_path / "some.jsonl", [*pairs(3), {"prompt": "p", "completion": ""}]))
    with pytest.warns(DataWarning, match="some.jsonl:4: the target is empty"):
        datasets = build_datasets(config(files, source={"path": path, "on_bad": "skip"}))
    assert len(datasets.forget_sets["secrets"].forget) == 3


def test_hashes_follow_what_the_files_say_and_what_is_drawn(files, tmp_path):
    first = build_datasets(config(files)).content_hash()
    assert build_datasets(config(files)).content_hash() == first
    assert build_datasets(config(files, retain={"retain": 30})).content_hash() != first  # another order
    rows = pairs(30, "retain")
    rows[17]["completion"] += "!"
    write_rows(tmp_path / "retain.parquet", rows)
    assert build_datasets(config(files)).content_hash() != first


def test_an_encoder_decoder_needs_sources_and_gets_them_where_they_are_made(files, tmp_path):
    canaries = {"distribution": "out", "canary": "random_words", "size": 2, "population": 3}
    given = config(files, retain={"forget_sets": {"noise": canaries}})
    noise = build_datasets(given, encoder_decoder=True).forget_sets["noise"]
    assert all(example.prompt for example in (*noise.forget, *noise.population))
    path = str(write_rows(tmp_path / "bare.jsonl", [{"text": "no source"}]))
    with pytest.raises(UnlearningError, match=r"retain_source: .*\n  bare.jsonl:1: it has no prompt \(source\)"):
        build_datasets(config({**files, "retain": path}), encoder_decoder=True)


def test_scripture_for_an_encoder_decoder_is_one_version_into_the_other():
    verses = {"distribution": "in", "size": 4, "population": 3}
    given = DataConfig(retain=20, retain_evaluation=4, heldout=5, forget_sets={"verses": verses})
    for encoder_decoder in (False, True):
        datasets = build_datasets(given, encoder_decoder=encoder_decoder)
        assert all(bool(example.prompt) == encoder_decoder for example in datasets.retain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retain_source": None}, "'retain' is needed where there is no 'retain_source'"),
        ({"heldout_source": None}, "'heldout' is needed where there is no 'heldout_source'"),
        ({"retain_source": {"path": "a", "dataset": "b/c"}}, "exactly one of 'path'"),
        ({"retain_source": {"path": "a", "revision": "b"}}, "'name' and 'revision' belong to a 'dataset'"),
        ({"retain_source": {"dataset": "a/b", "format": "csv"}}, "'format' belongs to a 'path'"),
        (
            {"retain_source": {"path": "a", "columns": {"text": "t", "target": "u"}}},
            "columns: give prompt and completion",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(files, fields, message):
    with pytest.raises(ValueError, match=message):
        config(files, retain=fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": None}, "'size' is needed where there is no 'source'"),
        ({"population_source": None}, "'population' is needed where there is no 'population_source'"),
        ({"distribution": "out", "canary": "random_words"}, "'canary', .* or a 'source', not both"),
        ({"template": {"completion": "x"}}, "'template' goes with canary: template"),
        ({"distribution": "out", "source": None, "canary": "random_words"}, "a canary makes its own population"),
        ({"repetitions": []}, "repetitions"),
        ({"repetitions": [1, 0]}, "repetitions.1"),
    ],
)
def test_settings_of_a_forget_set_that_contradict_each_other_are_refused(files, fields, message):
    with pytest.raises(ValueError, match=message):
        config(files, **fields)
