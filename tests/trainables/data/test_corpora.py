"""The corpus: distinct texts of the configured length, in a fixed order."""

import pytest

from trainables.config import CorpusConfig
from trainables.data import Example
from trainables.data.corpora import load_corpus


@pytest.fixture(scope="module")
def verses():
    return load_corpus(CorpusConfig(min_words=8, max_words=9))


def test_every_verse_has_the_asked_number_of_words(verses):
    lengths = {len(verse.completion.split()) for verse in verses}
    assert lengths == {8, 9}


def test_texts_and_names_are_distinct_and_in_canonical_order(verses):
    assert len({verse.text for verse in verses}) == len(verses) > 100
    names = [verse.example_id for verse in verses]
    assert names == sorted(set(names))
    assert all(verse.prompt == "" and verse.completion.strip() for verse in verses)


def test_a_known_verse_is_there(verses):
    by_name = {verse.example_id: verse.text for verse in verses}
    assert by_name["kjv-19023001"] == "The LORD [is] my shepherd; I shall not want."


def test_text_is_prompt_and_completion():
    assert Example(example_id="a", prompt="one", completion=" two").text == "one two"


def test_for_an_encoder_decoder_each_verse_is_put_into_newer_english():
    verses = load_corpus(CorpusConfig(min_words=9, max_words=9), encoder_decoder=True)
    by_name = {verse.example_id: (verse.prompt, verse.completion) for verse in verses}
    assert by_name["kjv-web-19023001"] == (
        "The LORD [is] my shepherd; I shall not want.",
        "Yahweh is my shepherd: I shall lack nothing.",
    )
    assert {len(source.split()) for source, _ in by_name.values()} == {9}
    assert all(target.strip() for _, target in by_name.values())
