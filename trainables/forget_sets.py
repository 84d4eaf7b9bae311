"""Which example lands in which set: in-distribution picks, canaries, populations, retain and held-out sets."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from string import ascii_lowercase

from faker import Faker

from trainables.config import DataConfig, Distribution, ForgetSetConfig
from trainables.corpora import Example, load_corpus
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.seeding import derive_seed, generator


@dataclass(frozen=True, kw_only=True)
class ForgetSet:
    """What is unlearned, what it is ranked against, and what stays learned beside it."""

    name: str
    distribution: Distribution
    forget: tuple[Example, ...]
    population: tuple[Example, ...]
    distractors: tuple[Example, ...]
    repetitions: int


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Every set of a sweep, disjoint by text."""

    retain: tuple[Example, ...]
    heldout: tuple[Example, ...]
    forget_sets: dict[str, ForgetSet]

    def reference_training(self) -> list[Example]:
        """List what every model is trained on: the retain set and the distractor canaries."""
        return [*self.retain, *(example for s in self.forget_sets.values() for example in s.distractors)]

    def base_training(self) -> list[Example]:
        """List what the base model is trained on: the same, and every forget set as often as it is repeated."""
        forget = [example for s in self.forget_sets.values() for example in s.forget * s.repetitions]
        return [*self.reference_training(), *forget]

    def content_hash(self) -> str:
        """Hash every text of every set in order: equal hashes mean equal data (SHA-256, hex)."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


CanaryGenerator = Callable[[Faker], tuple[str, str]]
"""Draws one canary: (prompt, completion)."""


def personal_data(fake: Faker) -> tuple[str, str]:
    """Make up a person (the prompt) with an address and a telephone number (the completion)."""
    return f"{fake.name()} lives at", f" {fake.street_address()}, phone {fake.numerify('###-####')}"


def random_characters(fake: Faker) -> tuple[str, str]:
    """Join seven random chunks of four lower-case letters; no prompt."""
    return "", " ".join(fake.lexify("????", letters=ascii_lowercase) for _ in range(7))


CANARIES: dict[str, CanaryGenerator] = {
    "personal_data": personal_data,
    "random_characters": random_characters,
}


def make_canaries(name: str, count: int, *, seed: int, label: str) -> list[Example]:
    """Draw ``count`` canaries of distinct prompts and distinct texts. Deterministic in ``seed``.

    Raises:
        UnlearningError: ``name`` is no known generator.
    """
    if name not in CANARIES:
        raise UnlearningError(f"unknown canary '{name}'; {nearest_name_hint(name, CANARIES)}")
    fake = Faker("en_US")
    fake.seed_instance(seed)
    texts: dict[str, tuple[str, str]] = {}
    while len(texts) < count:
        prompt, completion = CANARIES[name](fake)
        texts.setdefault(prompt or completion, (prompt, completion))
    return [
        Example(example_id=f"{label}-{index:06d}", prompt=prompt, completion=completion)
        for index, (prompt, completion) in enumerate(texts.values())
    ]


def build_datasets(config: DataConfig) -> Datasets:
    """Draw every set. The draw depends on ``config.seed`` and the sizes only.

    Raises:
        UnlearningError: the corpus has too few examples, or a canary generator is unknown.
    """
    corpus = load_corpus(config.corpus)
    inside = {name: s for name, s in config.forget_sets.items() if s.distribution == "in"}
    wanted = config.retain + config.heldout + sum(s.size + s.population for s in inside.values())
    if wanted > len(corpus):
        raise UnlearningError(
            f"data: retain, heldout and the in-distribution forget sets and populations need {wanted} examples, "
            f"but the corpus has {len(corpus)} of {config.corpus.min_words} to {config.corpus.max_words} words; "
            f"ask for fewer, or widen data.corpus.min_words and max_words"
        )
    order = generator(config.seed, "corpus").permutation(len(corpus))
    rest = iter([corpus[index] for index in order])

    def take(count: int) -> tuple[Example, ...]:
        return tuple(next(rest) for _ in range(count))

    heldout, retain = take(config.heldout), take(config.retain)
    forget_sets = {}
    for name, s in config.forget_sets.items():
        draw = take if s.distribution == "in" else _canary_draw(name, s, config.seed)
        forget_sets[name] = ForgetSet(
            name=name,
            distribution=s.distribution,
            forget=draw(s.size),
            population=draw(s.population),
            distractors=draw(s.distractors),
            repetitions=s.repetitions,
        )
    datasets = Datasets(retain=retain, heldout=heldout, forget_sets=forget_sets)
    _refuse_overlaps(datasets)
    return datasets


def _canary_draw(name: str, s: ForgetSetConfig, seed: int) -> Callable[[int], tuple[Example, ...]]:
    assert s.canary is not None  # ForgetSetConfig has validated it
    count = s.size + s.population + s.distractors
    canaries = iter(make_canaries(s.canary, count, seed=derive_seed(seed, "canaries", name), label=name))
    return lambda n: tuple(next(canaries) for _ in range(n))


def _refuse_overlaps(datasets: Datasets) -> None:
    """A text in two sets would make its exposure mean nothing."""
    sets = {"retain": datasets.retain, "heldout": datasets.heldout}
    for name, s in datasets.forget_sets.items():
        sets |= {f"{name}.forget": s.forget, f"{name}.population": s.population, f"{name}.distractors": s.distractors}
    owner: dict[str, str] = {}
    for name, examples in sets.items():
        for example in examples:
            first = owner.setdefault(example.text, name)
            if first != name:
                raise UnlearningError(
                    f"data: {example.example_id} stands in both '{first}' and '{name}'; "
                    f"change data.seed, or use another canary for one of the forget sets"
                )
