"""Shared by all tests: tiny models, data and workloads, an in-memory TrialSink, a clock that only tests move.

tiny_texts(count, seed=0)                         -> list[str], distinct
tiny_examples(count, seed=0, prompts=False)       -> list[Example], distinct texts
tiny_tokenizer()                                  -> a byte-level BPE tokenizer of 300 entries (cached)
tiny_model(seed=0, dropout=0.0, tied=True)        -> a random Llama, hidden 16, 1 layer, 2 heads
tiny_seq2seq_model(seed=0, dropout=0.0)           -> a random T5 of the same size
tiny_encoded(count, seed=0, shortest=4, longest=12, label="example", encoder_decoder=False)
                                                  -> EncodedSet of random tokens
tiny_workload(forget=6, references=2, dropout=0.0, max_increase=3.0, encoder_decoder=False, **checkpoint)
                                                  -> Workload, set "forget", with alternate answers
                                                  checkpoints as CheckpointConfig says, after every step by default
tiny_trial(steps=(0, 2, 4), trial_id="trial", seed=7, horizon=None, **config) -> Trial on the set "forget"
MemorySink()                                   -> a TrialSink; copies all it is given
FakeClock(now=0.0, tick=0.0)                      -> a Clock; every call first adds ``tick``
run_to_end(engine, trial, sink, **kwargs)           -> the TrialRun, which has its outcome; kwargs as for TrialRun
deterministic(records)                            -> records as dictionaries without elapsed_s
state_of(model)                                   -> {name: array}, a copy of all weights
same_state(left, right)                           -> True where two such dictionaries are bit-identical
same_tensors(left, right)                         -> True where two safetensors payloads hold the same tensors
PROPERTY                                          -> see tests/limits.py
"""

from collections.abc import Iterable
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import numpy as np
import safetensors.torch
import torch

from tests import limits
from trainables.config import CheckpointConfig, EvaluationConfig, ModelConfig, TrialConfig
from trainables.data import Example
from trainables.encoding import EncodedSet, train_tokenizer
from trainables.metrics import chosen_metrics
from trainables.models import new_model, snapshot
from trainables.models.weights import named_tensors
from trainables.preparation import evaluation_sets
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Trial
from trainables.trial import Engine, TrialRun, TrialSink, Workload

PROPERTY = limits.PROPERTY

VOCAB_SIZE = 300
WORDS = [
    "and",
    "the",
    "lord",
    "said",
    "unto",
    "him",
    "go",
    "forth",
    "river",
    "stone",
    "bread",
    "light",
    "seven",
    "mountain",
    "king",
    "servant",
    "walked",
]


def tiny_texts(count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [f"{index} {' '.join(random.choice(WORDS, size=random.integers(3, 8)))}" for index in range(count)]


def tiny_examples(count: int, seed: int = 0, prompts: bool = False) -> list[Example]:
    return [
        Example(example_id=f"example-{i}", prompt=f"number {i} says" if prompts else "", completion=f" {text}")
        for i, text in enumerate(tiny_texts(count, seed))
    ]


@cache
def tiny_tokenizer() -> Any:
    return train_tokenizer(tiny_texts(50), VOCAB_SIZE)


def tiny_architecture(dropout: float = 0.0, tied: bool = True) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "attention_dropout": dropout,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
    }


def tiny_model(seed: int = 0, dropout: float = 0.0, tied: bool = True) -> Any:
    config = ModelConfig(architecture=tiny_architecture(dropout, tied), vocab_size=VOCAB_SIZE)
    return new_model(config, tokenizer=tiny_tokenizer(), seed=seed)


def tiny_seq2seq_model(seed: int = 0, dropout: float = 0.0) -> Any:
    architecture = {
        "model_type": "t5",
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 1,
        "num_decoder_layers": 1,
        "num_heads": 2,
        "dropout_rate": dropout,
    }
    config = ModelConfig(architecture=architecture, vocab_size=VOCAB_SIZE)
    return new_model(config, tokenizer=tiny_tokenizer(), seed=seed)


def tiny_encoded(
    count: int,
    seed: int = 0,
    shortest: int = 4,
    longest: int = 12,
    label: str = "example",
    encoder_decoder: bool = False,
) -> EncodedSet:
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, size=count)
    starts = np.array([random.integers(1, length - 1) for length in lengths])
    return EncodedSet(
        example_ids=tuple(f"{label}-{index}" for index in range(count)),
        tokens=random.integers(2, VOCAB_SIZE, size=lengths.sum()),
        offsets=np.cumsum([0, *lengths]),
        target_starts_N=starts,
        prefix_ends_N=np.array([random.integers(s, length) for s, length in zip(starts, lengths, strict=True)]),
        encoder_decoder=encoder_decoder,
    )


def texts_of(encoded: EncodedSet) -> list[Example]:
    """The examples of a made-up set, whose texts are what its tokens spell."""
    rows = np.split(encoded.tokens, encoded.offsets[1:-1])
    texts = [tiny_tokenizer().decode(row[start:]) for row, start in zip(rows, encoded.target_starts_N, strict=True)]
    return [
        Example(example_id=name, prompt="", completion=text)
        for name, text in zip(encoded.example_ids, texts, strict=True)
    ]


def tiny_workload(
    forget: int = 6,
    references: int = 2,
    dropout: float = 0.0,
    max_increase: float = 3.0,
    encoder_decoder: bool = False,
    metrics: Any = (),
    **checkpoint: Any,
) -> Workload:
    model = tiny_seq2seq_model if encoder_decoder else tiny_model
    encode = partial(tiny_encoded, encoder_decoder=encoder_decoder)
    base = model(seed=0, dropout=dropout)
    encoded = {
        "forget": encode(forget, seed=1, label="forget"),
        "population": encode(10, seed=2, label="population"),
        "heldout": encode(4, seed=3, label="heldout"),
        "retain": encode(4, seed=4, label="retain"),
        "distractors": encode(5, seed=7, label="distractor"),
    }
    evaluation = EvaluationConfig(batch_size=16, metrics=metrics)
    sets = evaluation_sets(
        {"forget": encoded},
        models=[base.eval(), *(model(seed=100 + index).eval() for index in range(references))],
        batch_size=16,
        max_increase=max_increase,
        metrics=chosen_metrics(evaluation),
        examples={"forget": {name: texts_of(own) for name, own in encoded.items()}},
        tokenizer=tiny_tokenizer(),
    )
    return Workload(
        base=snapshot(base),
        evaluation_sets=sets,
        retain=encode(8, seed=5, label="retain"),
        alternates={"forget": encode(forget, seed=6, label="alternate")},
        evaluation=evaluation,
        checkpoint=CheckpointConfig(**{"every_s": 0.0, **checkpoint}),
        precision="fp32",
        threads=1,
    )


def tiny_trial(
    steps: tuple[int, ...] = (0, 2, 4),
    trial_id: str = "trial",
    seed: int = 7,
    horizon: int | None = None,
    **config: Any,
) -> Trial:
    settings_of_trial = {"optimizer": "sgd", "learning_rate": 0.01, "clip_norm": 1.0, "batch_size": 6, **config}
    return Trial(
        trial_id=trial_id,
        forget_set="forget",
        seed=seed,
        config=TrialConfig(**settings_of_trial),
        steps=steps,
        horizon=horizon,
    )


class MemorySink:
    """Keeps rows and checkpoints in dictionaries, and a log of every call in ``calls``."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[list[EvaluationRecord], list[ExampleRecord]]] = {}
        self.outcomes: dict[str, Outcome | None] = {}
        self.checkpoints: dict[str, bytes] = {}
        self.traces: dict[str, bytes] = {}
        self.stop = False
        self.verdicts: list[str | None] = []
        """What ``verdict`` answers, one after another; when there is none left, that the trial goes on."""
        self.judged: list[tuple[str, list[int]]] = []
        """What it was asked: of which trial, and the steps that were published then."""
        self.calls: list[tuple[str, Any]] = []
        """("publish", (evaluations, outcome)), ("save", payload) and ("discard", None), in order."""

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        self.rows[trial_id] = (list(evaluations), list(examples))
        self.outcomes[trial_id] = outcome
        self.calls.append(("publish", (list(evaluations), outcome)))

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        evaluations, examples = self.rows.get(trial_id, ([], []))
        return list(evaluations), list(examples)

    def save_checkpoint(self, trial_id: str, payload: bytes) -> None:
        self.checkpoints[trial_id] = payload
        self.calls.append(("save", payload))

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        return self.checkpoints.get(trial_id)

    def discard_checkpoint(self, trial_id: str) -> None:
        self.checkpoints.pop(trial_id, None)
        self.calls.append(("discard", None))

    def save_trace(self, trial_id: str, trace: bytes) -> None:
        self.traces[trial_id] = trace

    def stopping(self) -> bool:
        return self.stop

    def verdict(self, trial_id: str) -> str | None:
        self.judged.append((trial_id, [evaluation.step for evaluation in self.published(trial_id)[0]]))
        return self.verdicts.pop(0) if self.verdicts else None


class FakeClock:
    """Seconds that only the test moves."""

    def __init__(self, now: float = 0.0, tick: float = 0.0) -> None:
        self.now = now
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def deterministic(records: Iterable[EvaluationRecord | ExampleRecord]) -> list[dict[str, Any]]:
    return [{key: value for key, value in asdict(record).items() if key != "elapsed_s"} for record in records]


def state_of(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named_tensors(model).items()}


def same_state(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def same_tensors(left: bytes, right: bytes) -> bool:
    found, expected = safetensors.torch.load(left), safetensors.torch.load(right)
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def run_to_end(engine: Engine, trial: Trial, sink: TrialSink, **kwargs: Any) -> TrialRun:
    run = TrialRun(engine, trial, sink, **kwargs)
    while run.outcome is None:
        run.advance()
    return run
