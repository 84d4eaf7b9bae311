"""Other prompts for the same answer, as texts. It loads no PyTorch."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from trainables.data import Example
from trainables.probes.probe import ProbedModel
from trainables.probes.settings import RewordingSettings


@dataclass(frozen=True, kw_only=True)
class Rewording:
    """Examples with their original prompts, and with others: pairs of a forget set, and of its population."""

    variant: str
    forget: Sequence[tuple[Example, Example]]
    population: Sequence[tuple[Example, Example]]


def rewordings(probed: ProbedModel, settings: RewordingSettings) -> Iterator[Rewording]:
    """Yield every rewording that the settings ask for, then those that the data has (``other_prompts``).

    Of the data's, the k-th is of the examples that have so many. A population that has none keeps its own prompts.
    """
    forget, population = (
        [divided for text in texts if (divided := with_prompt(text, settings.prefix)) is not None]
        for texts in (probed.forget, probed.population)
    )
    for variant, reword in _changes(settings).items():
        ours, theirs = ([(e, replace(e, prompt=reword(e.prompt))) for e in texts] for texts in (forget, population))
        yield Rewording(variant=variant, forget=ours, population=theirs)
    for number in range(max((len(example.other_prompts) for example in probed.forget), default=0)):
        ours, theirs = (
            [(e, replace(e, prompt=e.other_prompts[number])) for e in texts if number < len(e.other_prompts)]
            for texts in (probed.forget, probed.population)
        )
        unchanged = [(e, e) for e in probed.population]
        yield Rewording(variant=f"other-prompt-{number + 1}", forget=ours, population=theirs or unchanged)


def _changes(settings: RewordingSettings) -> dict[str, Callable[[str], str]]:
    """Return what the settings do with a prompt, by variant."""
    changes: dict[str, Callable[[str], str]] = {}
    if "dropped-words" in settings.changes:
        changes["dropped-words"] = lambda prompt: without_first_words(prompt, settings.dropped_words)
    if "changed-case" in settings.changes:
        changes["changed-case"] = in_other_case
    if "template" in settings.changes:
        for number, template in enumerate(settings.templates, start=1):
            changes[f"template-{number}"] = partial(in_template, template)
    return changes


def with_prompt(example: Example, share: float) -> Example | None:
    """Return an example with a prompt: its own, or else the first ``share`` of its words; None: it is a single word."""
    if example.prompt:
        return example
    words = re.findall(r"\s*\S+", example.completion)
    if len(words) < 2:
        return None
    prompt = "".join(words[: min(max(1, round(share * len(words))), len(words) - 1)])
    return replace(example, prompt=prompt, completion=example.completion[len(prompt) :])


def without_first_words(prompt: str, count: int) -> str:
    """Return a prompt without its first words, of which at least one stays."""
    return re.sub(rf"^\s*(?:\S+\s+){{1,{count}}}(?=\S)", "", prompt)


def in_template(template: str, prompt: str) -> str:
    """Return a template with a prompt in its place. Braces in either are characters like others."""
    return template.replace("{prompt}", prompt)


def in_other_case(prompt: str) -> str:
    """Return a prompt in lower case, or in upper case if it is in lower case already."""
    lower = prompt.lower()
    return lower if lower != prompt else prompt.upper()
