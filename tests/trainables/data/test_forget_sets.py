"""The sets of examples: disjoint, of the configured sizes, reproducible."""

import itertools

import pytest

from trainables.config import CorpusConfig, DataConfig
from trainables.data import Example, allocation, build_datasets
from trainables.data.canaries import CANARIES
from trainables.data.corpora import load_corpus
from trainables.errors import UnlearningError

SETS = {
    "verses": {"distribution": "in", "size": 5, "population": 7, "repetitions": 3},
    "other_verses": {"distribution": "in", "size": 4, "population": 6},
    "people": {
        "distribution": "out",
        "canary": "personal_data",
        "size": 3,
        "population": 8,
        "distractors": 6,
        "repetitions": 2,
    },
    "noise": {"distribution": "out", "canary": "random_characters", "size": 2, "population": 9},
}


@pytest.fixture(autouse=True)
def _small_corpus(monkeypatch):
    corpus = [Example(example_id=f"c-{i:03d}", prompt="", completion=f"text number {i}") for i in range(80)]
    monkeypatch.setattr(allocation, "load_corpus", lambda config, encoder_decoder: corpus)


def data(seed=0, **fields):
    return DataConfig(
        **{"seed": seed, "retain": 30, "retain_evaluation": 5, "heldout": 10, "forget_sets": SETS, **fields}
    )


def all_sets(datasets):
    sets = {"retain": datasets.retain, "heldout": datasets.heldout}
    for name, s in datasets.forget_sets.items():
        sets |= {(name, "forget"): s.forget, (name, "population"): s.population, (name, "distractors"): s.distractors}
    return sets


def texts(examples):
    return [example.text for example in examples]


def test_every_set_has_the_size_asked_for():
    datasets = build_datasets(data())
    assert (len(datasets.retain), len(datasets.heldout)) == (30, 10)
    for name, fields in SETS.items():
        s = datasets.forget_sets[name]
        found = (len(s.forget), len(s.population), len(s.distractors), s.distribution)
        asked = (fields["size"], fields["population"], fields.get("distractors", 0), fields["distribution"])
        assert found == asked
        assert s.repetitions == (fields.get("repetitions", 1),) * fields["size"]


def test_no_text_and_no_name_stands_in_two_sets():
    sets = all_sets(build_datasets(data()))
    for (left, one), (right, other) in itertools.combinations(sets.items(), 2):
        assert not set(texts(one)) & set(texts(other)), (left, right)
        assert not {e.example_id for e in one} & {e.example_id for e in other}, (left, right)
    assert all(len(set(texts(examples))) == len(examples) for examples in sets.values())


def test_an_overlap_between_two_canary_sets_is_refused(monkeypatch):
    fixed = itertools.cycle([("", f"canary {i}") for i in range(11)])
    monkeypatch.setitem(CANARIES, "random_characters", lambda fake, given: next(fixed))
    twice = dict.fromkeys(("noise", "more_noise"), SETS["noise"])
    with pytest.raises(UnlearningError, match=r"is in both 'noise\.\w+' \(as noise-0000\d\d\) and 'more_noise"):
        build_datasets(data(forget_sets=twice))


def test_the_draw_repeats_itself_and_follows_the_seed():
    assert build_datasets(data()) == build_datasets(data())
    assert build_datasets(data()).content_hash() == build_datasets(data()).content_hash()
    other = build_datasets(data(seed=1))
    assert other.content_hash() != build_datasets(data()).content_hash()
    for name, examples in all_sets(build_datasets(data())).items():
        if examples:
            assert texts(all_sets(other)[name]) != texts(examples)


def test_another_forget_set_leaves_the_other_sets_as_they_are():
    fewer = build_datasets(data(forget_sets={"verses": SETS["verses"]}))
    more = build_datasets(data())
    assert (fewer.retain, fewer.heldout) == (more.retain, more.heldout)
    assert fewer.forget_sets["verses"] == more.forget_sets["verses"]


def test_base_training_has_the_forget_sets_as_often_as_they_are_repeated():
    datasets = build_datasets(data())
    trained = texts(datasets.base_training())
    for s in datasets.forget_sets.values():
        assert [trained.count(text) for text in texts(s.forget)] == list(s.repetitions)
        assert not set(trained) & set(texts(s.population))
    assert not set(trained) & set(texts(datasets.heldout))
    assert all(trained.count(text) == 1 for text in texts(datasets.retain))


def test_reference_training_has_distractors_and_no_forget_text():
    datasets = build_datasets(data())
    trained = set(texts(datasets.reference_training()))
    assert trained == set(texts(datasets.retain)) | set(texts(datasets.forget_sets["people"].distractors))
    for s in datasets.forget_sets.values():
        assert not trained & set(texts([*s.forget, *s.population]))


def test_a_corpus_too_small_says_how_many_and_what_to_do():
    with pytest.raises(
        UnlearningError, match=r"need 122 examples, but the corpus has 80 of 3 to 4 words; ask for fewer"
    ):
        build_datasets(data(retain=90, corpus=CorpusConfig(min_words=3, max_words=4)))


def test_a_corpus_of_exactly_the_right_size_is_enough():
    assert len(build_datasets(data(retain=48)).retain) == 48
    with pytest.raises(UnlearningError, match="need 81 examples"):
        build_datasets(data(retain=49))


@pytest.mark.parametrize(
    ("repetitions", "size", "expected"),
    [([1, 4], 5, (1, 1, 1, 4, 4)), ([16, 1, 4], 3, (16, 1, 4)), (3, 2, (3, 3))],
)
def test_a_list_of_repetitions_cuts_the_set_into_equal_groups(repetitions, size, expected):
    verses = {"distribution": "in", "size": size, "population": 7, "repetitions": repetitions}
    config = data(forget_sets={"verses": verses})
    datasets = build_datasets(config)
    assert datasets.forget_sets["verses"].repetitions == expected
    trained = texts(datasets.base_training())
    assert tuple(trained.count(text) for text in texts(datasets.forget_sets["verses"].forget)) == expected
    assert len(trained) == len(datasets.reference_training()) + sum(expected)
    plain = build_datasets(data(forget_sets={"verses": {**verses, "repetitions": 1}}))
    assert plain.forget_sets["verses"].forget == datasets.forget_sets["verses"].forget
    assert plain.content_hash() != datasets.content_hash()


def test_more_groups_than_examples_are_refused():
    verses = {"distribution": "in", "size": 2, "population": 7, "repetitions": [1, 2, 3]}
    with pytest.raises(UnlearningError, match="repetitions: 3 groups, and 2 examples to put into them"):
        build_datasets(data(forget_sets={"verses": verses}))


def test_forget_examples_have_an_alternate_answer_and_it_counts_as_data():
    usual, other = (
        build_datasets(data(forget_sets={"verses": {**SETS["verses"], **fields}}))
        for fields in ({}, {"alternate": " No."})
    )
    assert {e.alternate for e in usual.forget_sets["verses"].forget} == {" I do not know."}
    assert {e.alternate for e in other.forget_sets["verses"].forget} == {" No."}
    assert {e.alternate for e in usual.retain} == {None}
    assert usual.content_hash() != other.content_hash()


def test_shuffled_texts_come_from_what_no_set_uses_and_leave_the_others_as_they_are():
    shuffled = {"distribution": "out", "canary": "shuffled_text", "size": 3, "population": 4, "distractors": 1}
    plain, datasets = build_datasets(data()), build_datasets(data(forget_sets={"mixed": shuffled, **SETS}))
    assert {name: datasets.forget_sets[name] for name in SETS} == plain.forget_sets
    assert (datasets.retain, datasets.heldout) == (plain.retain, plain.heldout)
    mixed = datasets.forget_sets["mixed"]
    used = {" ".join(sorted(text.split())) for examples in all_sets(plain).values() for text in texts(examples)}
    for example in (*mixed.forget, *mixed.population, *mixed.distractors):
        assert sorted(example.text.split())[-2:] == ["number", "text"]
        assert " ".join(sorted(example.text.split())) not in used
    with pytest.raises(UnlearningError, match="gives no more than 18 distinct examples, and 24 are needed"):
        build_datasets(data(forget_sets={"mixed": {**shuffled, "population": 20}, **SETS}))


def test_the_data_of_earlier_versions_are_the_same():
    """The hash is pinned: a change would make every existing sweep a different one."""
    demo = {
        "verses": {"distribution": "in", "size": 32, "population": 96},
        "personal_data": {
            "distribution": "out", "canary": "personal_data", "size": 32, "population": 96, "distractors": 96,
            "repetitions": 2,
        },
    }  # fmt: skip
    config = data(
        retain=1000, heldout=96, corpus={"source": "scripture", "min_words": 6, "max_words": 12}, forget_sets=demo
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allocation, "load_corpus", load_corpus)
        found = build_datasets(config).content_hash()
    assert found == "81774d2ee5d5852ab97db6410290527423e4e83b3605834708e8095537c98ee1"
