"""Canaries: distinct, of the same kind as their population, and the same on every day."""

import re
import sys
from collections import Counter
from datetime import date, datetime, timedelta

import pytest
from faker import Faker

from trainables.config import ForgetSetConfig, TemplateConfig
from trainables.data import check_canary, templates
from trainables.data.canaries import CANARIES, TOKEN_PIECES, CanaryInputs, make_canaries
from trainables.errors import UnlearningError

PEOPLE = TemplateConfig(prompt="{name} was born on", completion=" {date} in {city}")


def inputs():
    return CanaryInputs(template=PEOPLE, texts=iter([f"a b c d e f g h {i}" for i in range(200)]))


def make(name, count=50, seed=1, **more):
    return make_canaries(name, count, seed=seed, label="set", **{"given": inputs(), **more})


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_canaries_are_distinct_named_and_follow_the_seed(name):
    canaries = make(name)
    assert len({c.text for c in canaries}) == len({c.prompt or c.completion for c in canaries}) == 50
    assert [c.example_id for c in canaries] == [f"set-{i:06d}" for i in range(50)]
    assert canaries == make(name)
    assert canaries[:20] == make(name, 20)
    assert not {c.text for c in canaries} & {c.text for c in make(name, seed=2)}


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_for_an_encoder_every_canary_has_a_source_of_its_own(name):
    canaries = make(name, encoder_decoder=True)
    assert all(c.prompt and c.completion for c in canaries)
    assert len({c.prompt for c in canaries}) == len({c.completion for c in canaries}) == 50
    assert canaries == make(name, encoder_decoder=True)


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_examples_and_population_are_of_one_kind(name):
    """The mean lengths of the first and the last half are equal up to sampling."""
    canaries = make(name, 100)
    first, last = (sum(len(c.text) for c in half) / 50 for half in (canaries[:50], canaries[50:]))
    assert first == pytest.approx(last, rel=0.1)


def test_canaries_look_as_described():
    person = make("personal_data", 1, seed=0)[0]
    assert person.prompt.endswith(" lives at")
    assert re.fullmatch(r" .+, phone \d{3}-\d{4}", person.completion)
    patterns = {
        "random_characters": r"([a-z]{4} ){6}[a-z]{4}",
        "random_words": r"([A-Za-z]+ ){7}[A-Za-z]+",
        "random_tokens": r"[!-~]{16}",
    }
    for name, pattern in patterns.items():
        noise = make(name, 1, seed=0)[0]
        assert noise.prompt == ""
        assert re.fullmatch(pattern, noise.completion)
    shuffled = make("shuffled_text", 1)[0].completion
    assert shuffled != "a b c d e f g h 0"
    assert sorted(shuffled) == sorted("a b c d e f g h 0")
    born = make("template", 1)[0]
    assert re.fullmatch(r".+ was born on", born.prompt)
    assert re.fullmatch(r" \d{4}-\d\d-\d\d in .+", born.completion)


def test_random_tokens_are_uniform_over_their_pieces():
    counts = Counter("".join(c.completion for c in make("random_tokens", 600)))
    assert set(counts) == set(TOKEN_PIECES)
    assert max(counts.values()) < 2 * min(counts.values())


def test_distinct_prompts_even_where_the_generator_repeats_itself(monkeypatch):
    draws = iter([("same", "1"), ("same", "2"), ("other", "3")])
    monkeypatch.setitem(CANARIES, "stutter", lambda fake, given: next(draws))
    assert [c.text for c in make("stutter", 2, seed=0)] == ["same1", "other3"]


def test_an_unknown_canary_suggests_the_nearest():
    with pytest.raises(UnlearningError, match=r"unknown canary 'personal'; did you mean 'personal_data'\?"):
        make("personal", 1)


def test_a_generator_that_has_no_more_says_how_many_it_has():
    week = CanaryInputs(template=TemplateConfig(completion=" {random_digit}"))
    with pytest.raises(
        UnlearningError, match=r"set: canary 'template' gives no more than 10 distinct .* 11 are needed"
    ):
        make("template", 11, given=week)
    assert len(make("template", 10, given=week)) == 10
    with pytest.raises(UnlearningError, match=r"no more than 200 .*give data.corpus more texts of two words and more"):
        make("shuffled_text", 201)
    assert make("shuffled_text", 1, given=CanaryInputs(texts=iter(["same same", "a b"])))[0].text == "b a"


def test_a_field_has_one_value_in_a_canary_and_a_numbered_one_another():
    two = TemplateConfig(prompt="{{{name} and {name:2}}}", completion=" {name}, {name:2}")
    for canary in make("template", 5, given=CanaryInputs(template=two)):
        one, other = canary.completion.strip().split(", ")
        assert canary.prompt == f"{{{one} and {other}}}"
        assert one != other


def test_where_the_prompt_is_fixed_completions_are_distinct():
    given = CanaryInputs(template=TemplateConfig(prompt="The code is", completion=" {pyint}"))
    assert len({c.completion for c in make("template", given=given)}) == 50


@pytest.mark.parametrize(
    ("completion", "message"),
    [
        (" {naem}", r"Faker has no 'naem' for \{naem\}; did you mean 'name'"),
        (" {name.__class__}", "Faker has no 'name.__class__'"),
        (" {pydict}", "Faker has no 'pydict'"),
        (" {date_of_birth}", "'date_of_birth' gives other values on another day"),
        (" {name", "expected '}' before end of string in ' {name'"),
        (" no field", "the completion has no field"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(completion, message):
    config = ForgetSetConfig(
        distribution="out", canary="template", size=1, population=2, template=TemplateConfig(completion=completion)
    )
    with pytest.raises(UnlearningError, match=message):
        check_canary(config)


def test_no_field_that_is_allowed_gives_other_values_tomorrow(monkeypatch):
    """Faker's clock is moved by years, which must not change the values of providers that are allowed."""
    fake = Faker("en_US")
    names = sorted(templates._providers(fake) - templates._DATE_DEPENDENT)
    assert len(names) > 150

    def values():
        found = {}
        for name in names:
            fake.seed_instance(1)
            found[name] = [templates._value(fake, name) for _ in range(3)]
        return found

    class LaterTime(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=3000)

    class LaterDate(date):
        @classmethod
        def today(cls):
            return date.today() + timedelta(days=3000)

    today = values()
    for module in [module for name, module in sys.modules.items() if name.startswith("faker.")]:
        for name, value in list(vars(module).items()):
            if value in (date, datetime):
                monkeypatch.setattr(module, name, LaterTime if value is datetime else LaterDate)
    later = values()
    assert [name for name in names if later[name] != today[name]] == []
