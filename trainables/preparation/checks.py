"""What can be wrong with data, a model, settings, or all together: one list of checks, made before anything is trained.

A check looks at a ``Subject`` and yields a ``Problem`` for each thing that would fail later, or give numbers that mean
nothing. A new one is a function in ``CHECKS``. One that needs neither texts nor a model belongs to ``size_checks``:
``plan --no-estimate`` makes it too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from trainables.config import LoraConfig
from trainables.encoding import EncodedSet
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.models import ModelLimits, limits_of
from trainables.preparation.problems import Problem
from trainables.preparation.size_checks import SIZE_CHECKS, Counted


@dataclass(frozen=True, kw_only=True)
class Subject(Counted):
    """What is checked: what is known before a text is read, and all that is known after it."""

    configuration: Any
    """The model's, of Transformers."""
    limits: ModelLimits
    tokenizer: Any
    encoded: Mapping[str, EncodedSet]
    """By where it comes from: a spec key, and which part of it."""
    model_key: str = "model.pretrained"
    """The spec key that says which model it is."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Of a pretrained model on this machine, by their names within it."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Names of the model's modules that can have adapters, to their class; empty: they are not known."""
    lora: LoraConfig | None = None


Lengths = npt.NDArray[np.int64]
Check = Callable[[Subject], Iterator[Problem]]


def lengths(subject: Subject) -> Iterator[Problem]:
    """Sequences longer than the positions that the model has learned."""
    for where, encoded in _sets(subject):
        starts, full_tensor = encoded.target_starts_N, np.diff(encoded.offsets)
        parts: list[tuple[str, Lengths, int | None]] = [("", full_tensor, subject.limits.positions)]
        if encoded.encoder_decoder:
            parts = [
                ("source of ", starts, subject.limits.positions),
                ("target of ", full_tensor - starts, subject.limits.target_positions),
            ]
        for part, lengths_N, limit in parts:
            if limit is not None and lengths_N.max() > limit:
                longest, count = int(lengths_N.argmax()), int((lengths_N > limit).sum())
                yield Problem(
                    where=f"{where}: {part}example '{encoded.example_ids[longest]}'",
                    found=f"{lengths_N[longest]} tokens, special tokens included ({count} such examples)",
                    allowed=f"the model has {limit} positions ({subject.model_key})",
                    advice=f"take out or shorten what is longer (data.max_tokens: {limit} names each such example), or "
                    f"use a model of more positions",
                )


def token_ids(subject: Subject) -> Iterator[Problem]:
    """Token ids that the model has no embedding, or no output, for."""
    for where, encoded in _sets(subject):
        row = np.repeat(np.arange(len(encoded)), np.diff(encoded.offsets))
        is_target = np.arange(len(encoded.tokens)) >= (encoded.offsets[:-1] + encoded.target_starts_N)[row]
        read = ~is_target if encoded.encoder_decoder else np.full(len(row), True)
        for chosen, limit in ((read, subject.limits.ids), (is_target, subject.limits.target_ids)):
            if limit is not None and len(beyond := np.flatnonzero(chosen & (encoded.tokens >= limit))):
                first = int(beyond[0])
                token = int(encoded.tokens[first])
                yield Problem(
                    where=f"{where}: example '{encoded.example_ids[row[first]]}'",
                    found=f"token id {token} ({_token(subject.tokenizer, token)}), one of {len(beyond)} beyond the "
                    f"model's embeddings",
                    allowed=f"the model has {limit} of them, ids 0 to {limit - 1} ({subject.model_key})",
                    advice="use the tokenizer that belongs to the model; where tokens were added to it, give the model "
                    "embeddings for them (resize_token_embeddings) and save it again",
                )
                break


def decoder_start(subject: Subject) -> Iterator[Problem]:
    """An encoder-decoder whose decoder cannot be started."""
    configuration = subject.configuration
    if configuration.is_encoder_decoder and getattr(configuration, "decoder_start_token_id", None) is None:
        yield Problem(
            where=subject.model_key,
            found=f"the configuration of this {configuration.model_type} has no decoder_start_token_id",
            allowed="an encoder-decoder needs one: the decoder reads it first",
            advice="give it one in config.json, often the id of the padding token",
        )


def padding(subject: Subject) -> Iterator[Problem]:
    """A model that writes texts, and no token to fill the shorter ones up with."""
    if subject.generates() and subject.tokenizer.pad_token_id is None:
        yield Problem(
            where=subject.model_key,
            found="its tokenizer has no padding token",
            allowed="texts that are written out for BLEU and chrF need one (evaluation.generated)",
            advice="give the tokenizer one (pad_token in tokenizer_config.json), or set evaluation.generated to 0",
        )


def weights_are_finite(subject: Subject) -> Iterator[Problem]:
    """NaN or infinity among the weights of a model in local safetensors files; what lies in folders is not loaded."""
    for name, path in subject.files.items():
        if path.suffix == ".safetensors" and "/" not in name:
            with safe_open(path, framework="pt") as file:
                for tensor in file.keys():  # noqa: SIM118  # it is no dictionary
                    yield from _not_finite(tensor, file.get_tensor(tensor), f"{subject.model_key} ({name})")


def adapters(subject: Subject) -> Iterator[Problem]:
    """Names of modules to adapt that the model does not have, or whose modules cannot have adapters."""
    if subject.lora is None or isinstance(subject.lora.target_modules, str) or not subject.modules:
        return
    ends = sorted({name.rpartition(".")[2] for name in subject.modules})
    for target in subject.lora.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in subject.modules):
            hint = nearest_name_hint(target, ends)
            yield Problem(
                where="model.lora.target_modules",
                found=f"'{target}', which is no layer of this {subject.configuration.model_type} that can be adapted",
                allowed=hint,
                advice="name one of them, or leave target_modules out: all linear layers",
            )


CHECKS: tuple[Check, ...] = (
    lengths, token_ids, decoder_start, padding, weights_are_finite, adapters, *SIZE_CHECKS,
)  # fmt: skip
"""Every check, in the order in which problems are listed."""


def problems_of(subject: Subject) -> list[Problem]:
    """Run every check and list what is wrong."""
    return [problem for check in CHECKS for problem in check(subject)]


def require_usable(network: Any, tokenizer: Any, encoded: EncodedSet, *, pretrained: bool) -> None:
    """Check a model that was loaded or built, and what it will be trained on, on the machine that trains it.

    Of a model of the hub no file was looked at before, and of a large stored set not every example.

    Raises:
        UnlearningError: with every problem.
    """
    subject = Subject(
        configuration=network.config,
        limits=limits_of(network),
        tokenizer=tokenizer,
        encoded={"training": encoded},
        model_key="model.pretrained" if pretrained else "model.architecture",
    )
    problems = problems_of(subject)
    for name, tensor in network.named_parameters() if pretrained else ():
        problems += _not_finite(name, tensor.detach(), subject.model_key)
    if problems:
        raise UnlearningError("\n".join(map(str, problems)))


def _not_finite(name: str, tensor: torch.Tensor, where: str) -> Iterator[Problem]:
    if "mask" in name or not tensor.is_floating_point():
        return
    finite = torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor)  # of 8 bits: not implemented
    count = int((~finite).sum())
    if not count:
        return
    yield Problem(
        where=where,
        found=f"{count} of {tensor.numel()} weights of '{name}' are NaN or infinite",
        allowed="every weight is a finite number",
        advice="the checkpoint is broken, or its training diverged: use an earlier one",
    )


def _sets(subject: Subject) -> list[tuple[str, EncodedSet]]:
    return [(where, encoded) for where, encoded in subject.encoded.items() if len(encoded)]


def _token(tokenizer: Any, token: int) -> str:
    return repr(tokenizer.convert_ids_to_tokens(token))
