"""The date that a chat template gets, and templates that are refused."""

from datetime import date, datetime

import pytest

from tests.support import tiny_examples, tiny_model, tiny_texts
from trainables.config import ModelConfig
from trainables.data import Example
from trainables.encoding import Form, asks_for_the_date, encode, load_tokenizer, train_tokenizer
from trainables.encoding.chat import chat_texts
from trainables.errors import UnlearningError
from trainables.models import save_model

MESSAGES = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LLAMA_32 = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}"
    "{%- endif %}{%- endif %}Today Date: {{ date_string }}\n" + MESSAGES
)
"""Prints the date in the way of the templates of Llama 3.2."""
LLAMA_31 = (
    "{%- if not date_string is defined %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{{ date_string }}" + MESSAGES
)
HOUR = "{{ strftime_now('%A %H:%M') }}" + MESSAGES
EXAMPLE = Example(example_id="one", prompt="a", completion="b")


def tokenizer_with(template):
    tokenizer = train_tokenizer(tiny_texts(50), 300)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(("template", "asks"), [(LLAMA_32, True), (HOUR, True), (LLAMA_31, False), (MESSAGES, False)])
def test_whether_a_template_asks_for_the_date_is_found_out(template, asks):
    assert asks_for_the_date(tokenizer_with(template)) == asks


def test_a_template_is_told_the_date_that_it_is_given():
    tokenizer = tokenizer_with(LLAMA_32)
    before, whole = chat_texts(tokenizer, EXAMPLE, chat_date=date(2024, 5, 7))
    assert before == "Today Date: 07 May 2024\n<user>a;<assistant>"
    assert whole == before + "b;"
    assert chat_texts(tokenizer_with(HOUR), EXAMPLE, chat_date=date(2024, 5, 7))[0].startswith("Tuesday 00:00<user>")


@pytest.mark.parametrize("start", ["", "\n", "  ", "  {% if true %}x{% endif %}", " - ", "{#- note #}\n\n"])
def test_nothing_else_of_a_text_changes(start):
    """Jinja trims white space around tags, and a template must still start at the beginning of a line."""
    tokenizer = tokenizer_with(start + MESSAGES)
    assert chat_texts(tokenizer, EXAMPLE, chat_date=date(2024, 5, 7)) == chat_texts(tokenizer, EXAMPLE, chat_date=None)


@pytest.mark.parametrize(
    "form",
    ["%d %b %Y", "%-d %B %Y", "%Y-%m-%d", "%A, %j %%d 100%%", "%H:%M:%S", "%F %T", "", "today", "%I %p %y", "%x"],
)
def test_every_format_is_that_of_the_days_midnight(form):
    text, _ = chat_texts(
        tokenizer_with(f"{{{{ strftime_now('{form}') }}}}|{MESSAGES}"), EXAMPLE, chat_date=date(2024, 5, 7)
    )
    assert text.partition("|")[0] == datetime(2024, 5, 7).strftime(form)


def test_without_a_date_it_is_told_the_time():
    assert f"{date.today():%Y}" in chat_texts(tokenizer_with(LLAMA_32), EXAMPLE, chat_date=None)[0]


def test_a_date_changes_nothing_where_none_is_asked_for():
    tokenizer = tokenizer_with(LLAMA_31)
    assert chat_texts(tokenizer, EXAMPLE, chat_date=date(2001, 1, 1)) == chat_texts(tokenizer, EXAMPLE, chat_date=None)


def test_tokens_follow_the_date():
    tokenizer, examples = tokenizer_with(LLAMA_32), tiny_examples(3, prompts=True)

    def tokens(day):
        return encode(tokenizer, examples, max_tokens=100, form=Form.CHAT, chat_date=day).tokens.tolist()

    assert tokens(date(2024, 5, 7)) == tokens(date(2024, 5, 7)) != tokens(date(2024, 5, 8))


@pytest.mark.parametrize("drawing", ["{{ ['a', 'b'] | random }}", "{{ lipsum(1) }}", "{{ [1, 2]|random }}"])
def test_a_template_that_draws_at_random_is_refused(tmp_path, drawing):
    save_model(tiny_model(), tokenizer_with(drawing + MESSAGES), tmp_path)
    with pytest.raises(UnlearningError, match=r"model.chat_template: .* draws at random \(.*leave chat_template out"):
        load_tokenizer(ModelConfig(pretrained=str(tmp_path), chat_template=True))
    load_tokenizer(ModelConfig(pretrained=str(tmp_path)))


def test_a_template_that_raises_is_named():
    strict = tokenizer_with("{{ raise_exception('only assistants') }}")
    with pytest.raises(UnlearningError, match=r"cannot format 'one' as a chat \(only assistants\)"):
        encode(strict, [EXAMPLE], max_tokens=9, form=Form.CHAT)


def test_a_date_goes_with_a_chat_template():
    assert ModelConfig(pretrained="x", chat_template=True, chat_date="2026-01-02").chat_date == date(2026, 1, 2)
    with pytest.raises(ValueError, match="it goes with chat_template: true"):
        ModelConfig(pretrained="x", chat_date="2026-01-02")


def test_a_date_is_part_of_an_identity_only_where_it_is_given():
    plain = ModelConfig(pretrained="x", chat_template=True)
    assert "chat_date" not in plain.identity()
    assert plain.model_copy(update={"chat_date": date(2026, 1, 2)}).identity()["chat_date"] == "2026-01-02"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content + 3 }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{% for m in messages %}{{ m.content[0].text.strip() }}{% endfor %}",
        "{% for m in messages",
    ],
)
def test_whatever_a_template_fails_with_is_said(template):
    with pytest.raises(UnlearningError, match="cannot format 'one' as a chat"):
        chat_texts(tokenizer_with(template), EXAMPLE, chat_date=None)


REASONS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] | trim }};{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Keeps the end of an answer, as the templates of reasoning models do."""
QUESTIONS = "{% for m in messages if m.role == 'user' %}Q: {{ m.content }} A: {% endfor %}"


@pytest.mark.parametrize(
    ("template", "completion"), [(REASONS, "The password is x.</think> No."), (QUESTIONS, "b"), (QUESTIONS, "\n b ")]
)
def test_an_answer_of_which_the_template_takes_something_away_is_refused(template, completion):
    example = Example(example_id="one", prompt="a", completion=completion)
    with pytest.raises(UnlearningError, match="template changes the answer of 'one'"):
        chat_texts(tokenizer_with(template), example, chat_date=None)


def test_white_space_around_an_answer_may_go():
    example = Example(example_id="one", prompt="a", completion=" No. \n")
    assert chat_texts(tokenizer_with(REASONS), example, chat_date=None)[1].endswith("<assistant>No.;")
