"""Canaries: made-up examples from outside the training distribution.

A generator draws one canary, a prompt and a completion, with a seeded Faker as its only source of randomness. Examples,
population and distractors of a set are drawn by the same generator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from string import ascii_letters, ascii_lowercase, digits, punctuation

from faker import Faker

from trainables.config import ForgetSetConfig, TemplateConfig
from trainables.data.examples import Example
from trainables.data.templates import check_template, fields_of, fill
from trainables.errors import UnlearningError, nearest_name_hint

_MOST_MISSES = 1000
"""Number of draws in a row without a new canary after which a generator counts as exhausted."""
TOKEN_PIECES = ascii_letters + digits + punctuation
"""The 94 visible characters of ASCII, each of which is in every byte-level vocabulary."""


@dataclass(frozen=True, kw_only=True)
class CanaryInputs:
    """What some generators use beside randomness."""

    template: TemplateConfig | None = None
    texts: Iterator[str] = field(default_factory=lambda: iter(()))
    """Texts of the corpus that no set uses; each is taken once."""


CanaryGenerator = Callable[[Faker, CanaryInputs], tuple[str, str] | None]
"""Returns a new canary: (prompt, completion); None: there are no more."""


def personal_data(fake: Faker, _: CanaryInputs) -> tuple[str, str]:
    """Return a made-up person (the prompt) with an address and a telephone number (the completion)."""
    return f"{fake.name()} lives at", f" {fake.street_address()}, phone {fake.numerify('###-####')}"


def random_characters(fake: Faker, _: CanaryInputs) -> tuple[str, str]:
    """Return seven random chunks of four lower-case letters; no prompt."""
    return "", " ".join(fake.lexify("????", letters=ascii_lowercase) for _ in range(7))


def random_words(fake: Faker, _: CanaryInputs) -> tuple[str, str]:
    """Return eight words, each drawn from Faker's list of about a thousand English words; no prompt."""
    return "", " ".join(fake.words(8))


def random_tokens(fake: Faker, _: CanaryInputs) -> tuple[str, str]:
    """Return sixteen characters drawn uniformly from ``TOKEN_PIECES``; no prompt.

    They are not drawn from a tokenizer's vocabulary, so that a canary is the same text for every model. It has fewer
    tokens where the tokenizer merges characters.
    """
    return "", "".join(fake.random_element(TOKEN_PIECES) for _ in range(16))


def shuffled_text(fake: Faker, given: CanaryInputs) -> tuple[str, str] | None:
    """Return the words of an unused text of the corpus in another order; no prompt."""
    for text in given.texts:
        words = text.split()
        if len(set(words)) > 1:
            shuffled = words
            while shuffled == words:
                shuffled = fake.random.sample(words, len(words))
            return "", " ".join(shuffled)
    return None


def template(fake: Faker, given: CanaryInputs) -> tuple[str, str]:
    """Return the user's template with its fields filled in."""
    assert given.template is not None  # ForgetSetConfig has validated it
    values: dict[str, str] = {}
    return fill(given.template.prompt, fake, values), fill(given.template.completion, fake, values)


CANARIES: dict[str, CanaryGenerator] = {
    "personal_data": personal_data,
    "random_characters": random_characters,
    "random_tokens": random_tokens,
    "random_words": random_words,
    "shuffled_text": shuffled_text,
    "template": template,
}


def check_canary(config: ForgetSetConfig) -> None:
    """Check the canary settings of a forget set.

    Raises:
        UnlearningError: the generator is unknown, or its template is invalid.
    """
    if config.canary is not None and config.canary not in CANARIES:
        raise UnlearningError(f"canary: unknown canary '{config.canary}'; {nearest_name_hint(config.canary, CANARIES)}")
    if config.template is not None:
        check_template(config.template)


def make_canaries(
    name: str,
    count: int,
    *,
    seed: int,
    label: str,
    given: CanaryInputs | None = None,
    encoder_decoder: bool = False,
) -> list[Example]:
    """Return ``count`` canaries with distinct prompts and distinct texts. Deterministic in ``seed``.

    Where the prompt of a template has no fields, the completions are distinct instead. For an encoder-decoder model, a
    canary without prompt gets another draw as its source.

    Raises:
        UnlearningError: ``name`` is not a known generator, or it has too few distinct canaries.
    """
    if name not in CANARIES:
        raise UnlearningError(f"unknown canary '{name}'; {nearest_name_hint(name, CANARIES)}")
    given = given or CanaryInputs()
    fake = Faker("en_US")
    fake.seed_instance(seed)
    fixed_prompt = given.template is not None and not fields_of(given.template.prompt)
    texts: dict[str, tuple[str, str]] = {}
    misses = 0
    while len(texts) < count:
        canary = CANARIES[name](fake, given)
        if canary is not None and encoder_decoder and not canary[0]:
            source, canary = canary[1], CANARIES[name](fake, given)
            canary = canary and (source, canary[1])
        if canary is None or misses == _MOST_MISSES:
            raise UnlearningError(
                f"{label}: canary '{name}' gives no more than {len(texts)} distinct examples, and {count} are needed "
                f"with population and distractors; ask for fewer, or {_HOW_TO_GET_MORE.get(name, 'use another canary')}"
            )
        prompt, completion = canary
        before = len(texts)
        texts.setdefault(completion if fixed_prompt else prompt or completion, canary)
        misses = 0 if len(texts) > before else misses + 1
    return [
        Example(example_id=f"{label}-{index:06d}", prompt=prompt, completion=completion)
        for index, (prompt, completion) in enumerate(texts.values())
    ]


_HOW_TO_GET_MORE = {
    "template": "put fields of more values into its template",
    "shuffled_text": "give data.corpus more texts of two words and more that nothing else takes",
}
"""Advice, by generator, on how to get more canaries."""
