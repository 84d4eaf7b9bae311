"""Which example lands in which set: disjoint, of the asked sizes, repeatable."""

import itertools
import re

import pytest

from trainables import forget_sets
from trainables.config import CorpusConfig, DataConfig
from trainables.corpora import Example
from trainables.errors import UnlearningError
from trainables.forget_sets import CANARIES, build_datasets, make_canaries

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
    monkeypatch.setattr(forget_sets, "load_corpus", lambda config: corpus)


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
        found = (len(s.forget), len(s.population), len(s.distractors), s.repetitions, s.distribution)
        asked = (fields["size"], fields["population"], fields.get("distractors", 0), fields.get("repetitions", 1))
        assert found == (*asked, fields["distribution"])


def test_no_text_and_no_name_stands_in_two_sets():
    sets = all_sets(build_datasets(data()))
    for (left, one), (right, other) in itertools.combinations(sets.items(), 2):
        assert not set(texts(one)) & set(texts(other)), (left, right)
        assert not {e.example_id for e in one} & {e.example_id for e in other}, (left, right)
    assert all(len(set(texts(examples))) == len(examples) for examples in sets.values())


def test_an_overlap_between_two_canary_sets_is_refused(monkeypatch):
    fixed = itertools.cycle([("", f"canary {i}") for i in range(11)])
    monkeypatch.setitem(CANARIES, "random_characters", lambda fake: next(fixed))
    twice = dict.fromkeys(("noise", "more_noise"), SETS["noise"])
    with pytest.raises(UnlearningError, match=r"stands in both 'noise\.\w+' and 'more_noise\.\w+'"):
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
        assert all(trained.count(text) == s.repetitions for text in texts(s.forget))
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


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_canaries_are_distinct_named_and_follow_the_seed(name):
    canaries = make_canaries(name, 50, seed=1, label="set")
    assert len({c.text for c in canaries}) == len({c.prompt or c.completion for c in canaries}) == 50
    assert [c.example_id for c in canaries] == [f"set-{i:06d}" for i in range(50)]
    assert canaries == make_canaries(name, 50, seed=1, label="set")
    assert canaries[:20] == make_canaries(name, 20, seed=1, label="set")
    assert not {c.text for c in canaries} & {c.text for c in make_canaries(name, 50, seed=2, label="set")}


def test_canaries_look_as_described():
    person = make_canaries("personal_data", 1, seed=0, label="p")[0]
    assert person.prompt.endswith(" lives at")
    assert re.fullmatch(r" .+, phone \d{3}-\d{4}", person.completion)
    noise = make_canaries("random_characters", 1, seed=0, label="n")[0]
    assert noise.prompt == ""
    assert re.fullmatch(r"([a-z]{4} ){6}[a-z]{4}", noise.completion)


def test_distinct_prompts_even_where_the_generator_repeats_itself(monkeypatch):
    draws = iter([("same", "1"), ("same", "2"), ("other", "3")])
    monkeypatch.setitem(CANARIES, "stutter", lambda fake: next(draws))
    assert [c.text for c in make_canaries("stutter", 2, seed=0, label="x")] == ["same1", "other3"]


def test_an_unknown_canary_suggests_the_nearest():
    with pytest.raises(UnlearningError, match=r"unknown canary 'personal'; did you mean 'personal_data'\?"):
        make_canaries("personal", 1, seed=0, label="x")
