"""Checks of data, model and settings together, made before anything is trained: the list of all checks.

A check takes ``CheckInputs`` and yields a ``Problem`` for each thing that would fail later or lead to numbers that mean
nothing. To add one: write a function, and name it in ``CHECKS``. One that needs neither texts nor a model belongs in
``size_checks``: ``plan --no-estimate`` makes it too.
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
from trainables.preparation.size_checks import SIZE_CHECKS, SizeCheckInputs


@dataclass(frozen=True, kw_only=True)
class CheckInputs(SizeCheckInputs):
    """All that is known of a sweep once its texts are read and its model's configuration is loaded."""

    configuration: Any
    """The model's configuration, of Transformers."""
    limits: ModelLimits
    """How many positions and token ids the model has."""
    tokenizer: Any
    """The model's tokenizer."""
    encoded: Mapping[str, EncodedSet]
    """Tokenized sets by spec key, and which part of it."""
    model_key: str = "model.pretrained"
    """The spec key that names the model."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files of a pretrained model on this machine, by relative path; empty for a model of the hub."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """The class of each of the model's modules that can have adapters, by module name; empty: unknown."""
    lora: LoraConfig | None = None
    """The adapters to train; None: all weights are trained."""


Lengths = npt.NDArray[np.int64]
Check = Callable[[CheckInputs], Iterator[Problem]]


def check_lengths(inputs: CheckInputs) -> Iterator[Problem]:
    """Yield sets with sequences longer than the positions that the model has."""
    for where, encoded in _sets(inputs):
        starts_N, total_N = encoded.target_starts_N, np.diff(encoded.offsets)
        parts: list[tuple[str, Lengths, int | None]] = [("", total_N, inputs.limits.positions)]
        if encoded.encoder_decoder:
            parts = [
                ("source of ", starts_N, inputs.limits.positions),
                ("target of ", total_N - starts_N, inputs.limits.target_positions),
            ]
        for part, lengths_N, limit in parts:
            if limit is not None and lengths_N.max() > limit:
                longest, count = int(lengths_N.argmax()), int((lengths_N > limit).sum())
                yield Problem(
                    where=f"{where}: {part}example '{encoded.example_ids[longest]}'",
                    found=f"{lengths_N[longest]} tokens, special tokens included ({count} such examples)",
                    allowed=f"the model has {limit} positions ({inputs.model_key})",
                    advice=f"take out or shorten what is longer (data.max_tokens: {limit} names each such example), or "
                    f"use a model of more positions",
                )


def check_token_ids(inputs: CheckInputs) -> Iterator[Problem]:
    """Yield sets with token ids that the model has no embedding, or no output, for."""
    for where, encoded in _sets(inputs):
        row = np.repeat(np.arange(len(encoded)), np.diff(encoded.offsets))
        is_target = np.arange(len(encoded.tokens)) >= (encoded.offsets[:-1] + encoded.target_starts_N)[row]
        read = ~is_target if encoded.encoder_decoder else np.full(len(row), True)
        for chosen, limit in ((read, inputs.limits.ids), (is_target, inputs.limits.target_ids)):
            if limit is not None and len(beyond := np.flatnonzero(chosen & (encoded.tokens >= limit))):
                first = int(beyond[0])
                token = int(encoded.tokens[first])
                yield Problem(
                    where=f"{where}: example '{encoded.example_ids[row[first]]}'",
                    found=f"token id {token} ({_token(inputs.tokenizer, token)}), one of {len(beyond)} beyond the "
                    f"model's embeddings",
                    allowed=f"the model has {limit} of them, ids 0 to {limit - 1} ({inputs.model_key})",
                    advice="use the tokenizer that belongs to the model; where tokens were added to it, give the model "
                    "embeddings for them (resize_token_embeddings) and save it again",
                )
                break


def check_decoder_start(inputs: CheckInputs) -> Iterator[Problem]:
    """Yield a problem where the configuration of an encoder-decoder names no token to start the decoder with."""
    configuration = inputs.configuration
    if configuration.is_encoder_decoder and getattr(configuration, "decoder_start_token_id", None) is None:
        yield Problem(
            where=inputs.model_key,
            found=f"the configuration of this {configuration.model_type} has no decoder_start_token_id",
            allowed="an encoder-decoder needs one: the decoder reads it first",
            advice="give it one in config.json, often the id of the padding token",
        )


def check_padding(inputs: CheckInputs) -> Iterator[Problem]:
    """Yield a problem where a model generates texts, and its tokenizer has no padding token for the shorter ones."""
    if inputs.generates() and inputs.tokenizer.pad_token_id is None:
        yield Problem(
            where=inputs.model_key,
            found="its tokenizer has no padding token",
            allowed="texts that are generated for BLEU and chrF need one (evaluation.generated)",
            advice="give the tokenizer one (pad_token in tokenizer_config.json), or set evaluation.generated to 0",
        )


def check_weights(inputs: CheckInputs) -> Iterator[Problem]:
    """Yield tensors with NaN or infinity in a model's local safetensors files; those in subfolders are not loaded."""
    for name, path in inputs.files.items():
        if path.suffix == ".safetensors" and "/" not in name:
            with safe_open(path, framework="pt") as file:
                for tensor in file.keys():  # noqa: SIM118  # it is not a dictionary
                    yield from _not_finite(tensor, file.get_tensor(tensor), f"{inputs.model_key} ({name})")


def check_adapters(inputs: CheckInputs) -> Iterator[Problem]:
    """Yield names of ``lora.target_modules`` that no module of the model that can have adapters has."""
    if inputs.lora is None or isinstance(inputs.lora.target_modules, str) or not inputs.modules:
        return
    ends = sorted({name.rpartition(".")[2] for name in inputs.modules})
    for target in inputs.lora.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in inputs.modules):
            hint = nearest_name_hint(target, ends)
            yield Problem(
                where="model.lora.target_modules",
                found=f"'{target}', which is no layer of this {inputs.configuration.model_type} that can be adapted",
                allowed=hint,
                advice="name one of them, or leave target_modules out: all linear layers",
            )


CHECKS: tuple[Check, ...] = (
    check_lengths, check_token_ids, check_decoder_start, check_padding, check_weights, check_adapters, *SIZE_CHECKS,
)  # fmt: skip
"""Every check, in the order in which problems are listed."""
REFERENCE_CHECKS: tuple[Check, ...] = (check_lengths, check_token_ids, check_weights)
"""The checks that a reference model that is trained already must pass too."""


def find_problems(inputs: CheckInputs) -> list[Problem]:
    """Return what all checks find wrong."""
    return [problem for check in CHECKS for problem in check(inputs)]


def find_reference_problems(reference: CheckInputs, base: CheckInputs) -> list[Problem]:
    """Return what is wrong with a reference model that is trained already, besides the sets and settings.

    Args:
        reference: what is known of the sweep, with the reference model as its model.
        base: the same, with the base model.
    """
    if reference.configuration.is_encoder_decoder != base.configuration.is_encoder_decoder:
        kinds = {True: "an encoder-decoder", False: "a causal model"}
        return [
            Problem(
                where=reference.model_key,
                found=f"this is {kinds[reference.configuration.is_encoder_decoder]}",
                allowed=f"a reference is what {base.model_key} is, {kinds[base.configuration.is_encoder_decoder]}",
                advice="give a reference of the same kind, trained without the forget sets",
            )
        ]
    problems = []
    if reference.tokenizer.get_vocab() != base.tokenizer.get_vocab():
        problems.append(
            Problem(
                where=reference.model_key,
                found="its tokenizer has another vocabulary",
                allowed=f"it is that of {base.model_key}, since the same tokens are scored under both",
                advice="give a reference that was trained from the same pretrained model",
            )
        )
    return problems + [problem for check in REFERENCE_CHECKS for problem in check(reference)]


def require_usable(network: Any, tokenizer: Any, encoded: EncodedSet, *, pretrained: bool) -> None:
    """Check a model that is loaded or built, and its training examples, on the machine that trains it.

    Before, no file of a hub model was checked, and not every example of a large stored set.

    Args:
        network: the model.
        tokenizer: the model's tokenizer.
        encoded: training examples.
        pretrained: whether the model was loaded; then its weights are checked too.

    Raises:
        UnlearningError: it lists every problem.
    """
    inputs = CheckInputs(
        configuration=network.config,
        limits=limits_of(network),
        tokenizer=tokenizer,
        encoded={"training": encoded},
        model_key="model.pretrained" if pretrained else "model.architecture",
    )
    problems = find_problems(inputs)
    for name, tensor in network.named_parameters() if pretrained else ():
        problems += _not_finite(name, tensor.detach(), inputs.model_key)
    if problems:
        raise UnlearningError("\n".join(map(str, problems)))


def _not_finite(name: str, tensor: torch.Tensor, where: str) -> Iterator[Problem]:
    if "mask" in name or not tensor.is_floating_point():
        return
    finite = torch.isfinite(
        tensor.float() if tensor.element_size() == 1 else tensor
    )  # isfinite is not implemented for 8 bits
    count = int((~finite).sum())
    if not count:
        return
    yield Problem(
        where=where,
        found=f"{count} of {tensor.numel()} weights of '{name}' are NaN or infinite",
        allowed="every weight is a finite number",
        advice="the checkpoint is broken, or its training diverged: use an earlier one",
    )


def _sets(inputs: CheckInputs) -> list[tuple[str, EncodedSet]]:
    return [(where, encoded) for where, encoded in inputs.encoded.items() if len(encoded)]


def _token(tokenizer: Any, token: int) -> str:
    return repr(tokenizer.convert_ids_to_tokens(token))
