"""A trial on several workers gives what it gives on one: whole models and sharded ones, however batches divide."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import safetensors.torch
import torch
from torch.distributed.tensor import DTensor

from tests.limits import HANG_S
from tests.support import (
    FakeClock,
    MemorySink,
    deterministic,
    run_to_end,
    same_tensors,
    tiny_model,
    tiny_trial,
    tiny_workload,
)
from tests.trainables.gloo import GlooGroup
from trainables.config import LoraConfig
from trainables.distributed import current_worker_group
from trainables.errors import ResultsError, UnlearningError
from trainables.models import snapshot
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS
from trainables.records import Status
from trainables.trial import Engine, TrialRun
from trainables.trial import ascent as ascent_module
from trainables.trial.sinks import LeaderSink
from trainables.trial.trial_run import SLICE_S

WIDTHS = [(2, "ddp"), (3, "ddp"), (2, "fsdp"), (3, "fsdp")]
AT_EVERY_WIDTH = ("gradient_ascent", "gradient_difference")
AT_SOME_WIDTHS = [
    *((name, "ddp") for name in OBJECTIVES if name not in AT_EVERY_WIDTH),
    *((name, "fsdp") for name in ("dpo", "task_vector")),  # they differ most in what they do with a model
]
PAIRS = {"npo": {"retain_loss": "kl", "kl_positions": "all"}, "ceu": {"reduction": "sequence"}, "task_vector": {}}
"""Objectives that encoder-decoders are unlearned by here, with settings."""
BATCHES = {
    "divides evenly": {"batch_size": 6, "optimizer": "sgd", "clip_norm": 1.0},
    "uneven micro-batches": {"batch_size": 5, "micro_batch_size": 1, "optimizer": "adamw", "clip_norm": None},
    "smaller than the team": {"batch_size": 1, "optimizer": "sgd", "momentum": 0.9},
}
CLOSE = {"rel": 1e-5, "abs": 1e-6}
NEAR = {"rel": 1e-4, "abs": 1e-4}
"""Where gradients are so small that AdamW, which divides by their size, magnifies their rounding."""


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a team once for all that ask for its size, parallelism and precision, which are those of its processes."""
    teams: dict[tuple[int, str, str], GlooGroup] = {}

    def team_of(size: int, parallelism: str = "ddp", precision: str = "fp32") -> GlooGroup:
        key = (size, parallelism, precision)
        if key not in teams:
            teams[key] = GlooGroup(size, tmp_path_factory.mktemp("team"))
        return teams[key]

    yield team_of
    for started in teams.values():
        started.close()


@cache
def engine_of(parallelism: str, **workload: Any) -> Engine:
    changes = {name: workload.pop(name) for name in ("precision", "gradient_checkpointing") if name in workload}
    made = tiny_workload(**{"every_s": 1e9, **workload})
    return Engine(replace(made, parallelism=parallelism, **changes))


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]], **tolerance: float) -> None:
    for left, right in zip(found, expected, strict=True):
        measured = {name for name, value in right.items() if isinstance(value, float)}
        assert {k: left[k] for k in measured} == pytest.approx({k: right[k] for k in measured}, **(tolerance or CLOSE))
        assert {k: left[k] for k in left.keys() - measured} == {k: right[k] for k in right.keys() - measured}


def whole_trials(parallelism: str, trials: list[Any], workload: dict[str, Any]) -> list[Any]:
    """Run trials to their ends, and give of each its rows, its outcome and what this process published."""
    told = []
    for trial in trials:
        results = MemorySink()
        run = run_to_end(engine_of(parallelism, **workload), trial, results)
        told.append((deterministic(run.evaluations), deterministic(run._examples), run.outcome, results.calls))
    return told


def trials_of(objective: str, weights: dict[str, Any] | None = None) -> list[Any]:
    own = {"objective": objective, "objective_settings": weights or {}}
    return [tiny_trial(steps=(0, 1, 3), **own, **batch) for batch in BATCHES.values()]


@pytest.fixture(scope="module", params=AT_EVERY_WIDTH)
def narrow(request: pytest.FixtureRequest) -> tuple[str, list[Any]]:
    return request.param, whole_trials("ddp", trials_of(request.param), {})


@pytest.mark.parametrize(("size", "parallelism"), WIDTHS)
def test_a_trial_gives_what_one_worker_gives(group: Any, narrow: Any, size: int, parallelism: str) -> None:
    objective, expected = narrow
    assert_as_alone(group(size, parallelism)(whole_trials, parallelism, trials_of(objective), {}), expected)


@pytest.mark.parametrize(("objective", "parallelism"), AT_SOME_WIDTHS)
def test_every_other_objective_gives_what_one_worker_gives(group: Any, objective: str, parallelism: str) -> None:
    kl = {"retain_loss": "kl"} if "retain_loss" in OBJECTIVES[objective].own_settings else {}
    trials = trials_of(objective, kl)[1:]
    found = group(2, parallelism)(whole_trials, parallelism, trials, {})
    assert_as_alone(found, whole_trials("ddp", trials, {}), **NEAR)


@pytest.mark.parametrize("objective", PAIRS)
def test_an_encoder_decoder_gives_what_one_worker_gives(group: Any, objective: str) -> None:
    trials, workload = trials_of(objective, PAIRS[objective])[1:], {"encoder_decoder": True}
    assert_as_alone(group(2)(whole_trials, "ddp", trials, workload), whole_trials("ddp", trials, workload), **NEAR)


def assert_as_alone(ranks: list[Any], expected: list[Any], **tolerance: float) -> None:
    for told in ranks:
        for (evaluations, examples, outcome, _), alone in zip(told, expected, strict=True):
            assert outcome.status is alone[2].status is Status.COMPLETED
            assert [row["example_id"] for row in examples] == [row["example_id"] for row in alone[1]]
            assert_close(evaluations, alone[0], **tolerance)
            assert_close(examples, alone[1], **tolerance)
    leader, *others = ranks
    for other in others:
        assert [row[:3] for row in other] == [row[:3] for row in leader], "every rank has the same records, bit for bit"
        assert all(calls == [] for *_, calls in other), "the leader alone publishes"
    assert len({str(row) for row in expected[0][0]}) == 3, "the trial went somewhere"


@pytest.mark.parametrize("tied", [True, False])
def test_a_sharded_model_is_in_shards(group: Any, tied: bool) -> None:
    for local, total in group(2, "fsdp")(sizes, tied):
        assert local <= total // 2 + 64


def test_a_model_that_cannot_be_sharded_is_a_users_mistake(group: Any) -> None:
    for message in group(2, "fsdp", "refused")(refused):
        assert message == (
            "resources.parallelism: fsdp, and parts of this T5ForConditionalGeneration share weights that PyTorch "
            "would shard apart (encoder.embed_tokens.weight); set ddp"
        )


def refused() -> str:
    with pytest.raises(UnlearningError) as caught:
        engine_of("fsdp", encoder_decoder=True)
    return str(caught.value)


def sizes(tied: bool) -> tuple[int, int]:
    workload = replace(tiny_workload(), base=snapshot(tiny_model(tied=tied)), parallelism="fsdp")
    ascent = Engine(workload).start(tiny_trial())
    ascent.advance(1)
    parameters = list(ascent._model.parameters())
    assert all(isinstance(parameter, DTensor) for parameter in parameters)
    return sum(p.to_local().numel() for p in parameters), sum(p.numel() for p in parameters)


def ascend(parallelism: str, payload: bytes | None, to_step: int) -> tuple[bytes, bytes]:
    """Go on from a payload of the leader's to a step; give the payload as it is packed at once, and at the end."""
    ascent = engine_of(parallelism).start(tiny_trial(optimizer="adamw", batch_size=5))
    if payload is not None:
        ascent.unpack(payload if engine_of(parallelism).group.is_leader else b"")
    first = ascent.pack(elapsed_s=1.5)
    ascent.advance(to_step)
    return first, ascent.pack(elapsed_s=1.5)


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_a_checkpoint_of_any_width_goes_on_at_any_other(group: Any, parallelism: str) -> None:
    wide = group(2, parallelism)
    _, unbroken = ascend("ddp", None, 6)
    (_, at_2), other = wide(ascend, parallelism, None, 2)
    assert other == (b"", b"")
    as_read, at_4 = ascend("ddp", at_2, 4)
    (as_read_wide, at_6), _ = wide(ascend, parallelism, at_4, 6)
    assert same_tensors(as_read, at_2), "a wide checkpoint is read on one worker bit for bit"
    assert same_tensors(as_read_wide, at_4), "and the other way round"
    found, expected = safetensors.torch.load(at_6), safetensors.torch.load(unbroken)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


AMPLIFIES_ROUNDING = {"soap"}
"""Eigenvectors of equal eigenvalues, as of a matrix that few gradients went into, are any that rounding picks."""

TOLERANCE = {"sophia": 1e-3}
"""Sophia divides by a curvature that may be next to zero, so one weight may differ by a part of a step (0.01)."""


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_every_optimizer_gives_what_it_gives_on_one_worker_or_says_that_it_cannot(group: Any, parallelism: str) -> None:
    wide = group(2, parallelism)
    found, _ = wide(ascend_by, list(OPTIMIZERS), parallelism)
    expected = ascend_by(list(OPTIMIZERS), "ddp")
    for name, payload in found.items():
        if isinstance(payload, str):
            assert "DTensor" in payload or "placement" in payload
            assert not OPTIMIZERS[name].works_on_shards
            continue
        assert parallelism == "ddp" or OPTIMIZERS[name].works_on_shards
        if name in AMPLIFIES_ROUNDING:
            assert same_tensors(payload, wide(ascend_by, [name], parallelism)[0][name]), "but it is deterministic"
            continue
        together, alone = safetensors.torch.load(payload), safetensors.torch.load(expected[name])
        assert together.keys() == alone.keys()
        tolerance = TOLERANCE.get(name, 1e-4)
        for key, tensor in alone.items():
            torch.testing.assert_close(together[key], tensor, rtol=1e-4, atol=tolerance * float(tensor.abs().max()))


def ascend_by(names: list[str], parallelism: str) -> dict[str, Any]:
    """Where each is after 7 steps with a checkpoint on the way; or what it fails with."""
    payloads: dict[str, Any] = {}
    engine = engine_of(parallelism)
    often = {"sophia": {"hessian_every": 3}, "soap": {"precondition_every": 2}}
    for name in names:
        trial = tiny_trial(optimizer=name, optimizer_settings=often.get(name, {}), batch_size=5, micro_batch_size=2)
        try:
            ascent = engine.start(trial)
            ascent.advance(5)
            payload = ascent.pack(elapsed_s=0.0)
            ascent.advance(6)
            ascent.unpack(payload if engine.group.is_leader else b"")
            ascent.advance(7)
            payloads[name] = ascent.pack(elapsed_s=0.0)
        except RuntimeError as error:
            payloads[name] = str(error)
    return payloads


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_a_loss_that_is_not_finite_on_one_worker_ends_the_trial_on_all(group: Any, parallelism: str) -> None:
    for told, committed in group(2, parallelism)(diverging, parallelism):
        assert told.status is Status.DIVERGED
        assert told.message == "step 2: the loss is nan"
        assert committed in ([0, 1], None)


def diverging(parallelism: str) -> tuple[Any, list[int] | None]:
    engine, results, real = engine_of(parallelism), MemorySink(), ascent_module.objectives.compute
    run = TrialRun(engine, tiny_trial(steps=(0, 1, 3), batch_size=5, micro_batch_size=1), results)

    def spoilt(*args: Any, **kwargs: Any) -> torch.Tensor:
        return real(*args, **kwargs) * (torch.nan if run._ascent.step == 1 and engine.group.rank == 1 else 1)

    ascent_module.objectives.compute = spoilt
    try:
        while run.outcome is None:
            run.advance()
    finally:
        ascent_module.objectives.compute = real
    return run.outcome, [row.step for row in results.rows["trial"][0]] if engine.group.is_leader else None


def test_a_failing_storage_of_the_leader_stops_all(group: Any) -> None:
    assert group(2)(failing) == ["no room", "no room"]


class FullResults(MemorySink):
    def publish(self, *args: Any) -> None:
        raise ResultsError("no room")


def failing() -> str:
    engine = engine_of("ddp")
    run = TrialRun(engine, tiny_trial(), FullResults() if engine.group.is_leader else MemorySink())
    with pytest.raises(ResultsError) as caught:
        run.advance()
    return str(caught.value)


def test_the_leaders_clock_storage_and_driver_decide(group: Any) -> None:
    (leader, saves), (other, nothing) = group(2)(deciding)
    assert leader == other
    assert leader == [0, None, None, "stopped"], (
        "an evaluation, two looks at the clock, then the leader was asked to stop"
    )
    assert saves >= 1
    assert nothing == 0


def deciding() -> tuple[list[Any], int]:
    """The leader's clock jumps and its driver asks it to stop; the other worker's are never looked at."""
    engine, results = engine_of("ddp"), MemorySink()
    if not engine.group.is_leader:
        results.stop = True
        results.checkpoints["trial"] = b"of another trial"
    clock = FakeClock(tick=SLICE_S) if engine.group.is_leader else None
    run = TrialRun(engine, tiny_trial(steps=(0, 50)), results, clock=clock)  # type: ignore[arg-type]
    seen: list[Any] = []
    while run.outcome is None:
        evaluation = run.advance()
        seen.append(run.outcome.status.value if run.outcome else evaluation and evaluation.step)
        if engine.group.is_leader:
            results.stop = len(seen) == 3
    return seen, sum(call == "save" for call, _ in results.calls)


def test_all_workers_go_on_while_the_leader_writes_and_stop_at_the_same_step(group: Any) -> None:
    (leader, written), (other, nothing) = group(2)(working_meanwhile)
    assert leader == other >= 3
    assert (written, nothing) == (1, 0)


def working_meanwhile() -> tuple[int, int]:
    """Return how often ``meanwhile`` was called while rows were written, and the publications of this process."""
    three, calls = threading.Event(), []

    class Slow(MemorySink):
        def publish(self, *rows: Any) -> None:
            assert three.wait(HANG_S)
            super().publish(*rows)

    def meanwhile() -> bool:
        calls.append(len(calls))
        if len(calls) == 3:
            three.set()
        return True

    sink = Slow()
    LeaderSink(sink, current_worker_group()).publish("trial", [], [], None, meanwhile=meanwhile)
    return len(calls), len(sink.calls)


def test_workers_make_equally_many_passes_of_at_most_a_micro_batch_each_example_once(group: Any) -> None:
    ranks = group(3)(passes)
    assert len({len(training) for training, _ in ranks}) == len({len(scoring) for _, scoring in ranks}) == 1
    assert max(size for training, scoring in ranks for size, _ in training) == 1
    assert max(size for _, scoring in ranks for size, _ in scoring) <= 16
    for index, count in ((0, 5), (1, 6 + 10 + 4 + 4 + 5)):
        assert sum(real for rank in ranks for _, real in rank[index]) == count


def passes() -> tuple[list[Any], list[Any]]:
    """The rows of every forward pass, and how many of them are examples, of a step of 5 and of an evaluation."""
    engine, seen = engine_of("ddp"), []
    hook = engine.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(
            (len(kwargs["input_ids"]), sum(map(bool, kwargs["input_ids"].sum(dim=-1).tolist())))
        ),
        with_kwargs=True,
    )
    run = TrialRun(engine, tiny_trial(steps=(1,), batch_size=5, micro_batch_size=1), MemorySink())
    seen.clear()  # of the base model's evaluation
    run._ascent.advance(1)
    training, seen[:] = list(seen), []
    run.advance()
    hook.remove()
    return training, list(seen)


def test_every_worker_has_a_dropout_of_its_own_and_the_leaders_is_that_of_one_worker(group: Any) -> None:
    (alone,) = group(1)(dropout_seeds)
    leader, other = group(2)(dropout_seeds)
    assert leader == alone
    assert not set(leader) & set(other)


def dropout_seeds() -> list[int]:
    engine, seen = engine_of("ddp"), []
    ascent = engine.start(tiny_trial())
    hook = engine.model.register_forward_pre_hook(
        lambda model, _: seen.append(torch.initial_seed()) if model.training else None
    )
    ascent.advance(3)
    hook.remove()
    return seen


@pytest.mark.parametrize(("size", "parallelism"), [(1, "ddp"), (2, "ddp"), (2, "fsdp")])
def test_gradient_checkpointing_computes_twice_and_changes_nothing(group: Any, size: int, parallelism: str) -> None:
    keeping, recomputing = (
        group(size, parallelism)(layer_calls, parallelism, {"gradient_checkpointing": on}) for on in (False, True)
    )
    for (rows, calls), (expected, expected_calls) in zip(recomputing, keeping, strict=True):
        assert_close(rows, expected, rel=1e-6)
        assert calls > expected_calls


def layer_calls(parallelism: str, workload: dict[str, Any]) -> tuple[list[Any], int]:
    engine, calls = engine_of(parallelism, **workload), []
    run = TrialRun(engine, tiny_trial(steps=(0, 2), objective="gradient_difference", batch_size=3), MemorySink())
    unwrap_model = engine.accelerator.unwrap_model(engine.model)
    hook = unwrap_model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    while run.outcome is None:
        run.advance()
    hook.remove()
    return deterministic(run.evaluations), len(calls)


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_mixed_precision_is_near_that_of_one_worker(group: Any, parallelism: str) -> None:
    trial, precision = [tiny_trial(steps=(1, 2))], {"precision": "bf16", "every_s": 0.0}
    ((alone, *_),) = group(1, "ddp", "bf16")(whole_trials, "ddp", trial, precision)[0]
    ((together, _, _, calls),) = group(2, parallelism, "bf16")(whole_trials, parallelism, trial, precision)[0]
    for found, expected in zip(together, alone, strict=True):
        assert found["heldout_nll"] == pytest.approx(expected["heldout_nll"], rel=1e-2)
        assert found["forget_nll"] == pytest.approx(expected["forget_nll"], rel=1e-2)
    payloads = [safetensors.torch.load(content) for call, content in calls if call == "save"]
    assert len(payloads) == 2
    assert {tensor.dtype for payload in payloads for tensor in payload.values()} == {torch.float32}


@cache
def engine_of_adapters(parallelism: str) -> Engine:
    base = snapshot(tiny_model(), lora=LoraConfig(rank=2, alpha=4))
    return Engine(replace(tiny_workload(every_s=1e9), base=base, parallelism=parallelism))


def ascend_adapters(parallelism: str) -> Any:
    results = MemorySink()
    trial = tiny_trial(
        steps=(0, 1, 3), batch_size=5, micro_batch_size=2, learning_rate=0.3, objective="npo",
        objective_settings={"retain_loss": "kl"},
    )  # fmt: skip
    run = run_to_end(engine_of_adapters(parallelism), trial, results)
    return deterministic(run.evaluations), len(results.checkpoints.get(trial.trial_id, b""))


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_adapters_are_trained_together_and_they_alone_are_kept(group: Any, parallelism: str) -> None:
    alone, kept = ascend_adapters("ddp")
    (evaluations, kept_of_leader), (others, _) = group(2, parallelism)(ascend_adapters, parallelism)
    assert_close(evaluations, alone)
    assert others == evaluations
    assert abs(kept_of_leader - kept) < 200, "the same payload but for its header"
    assert len({row["heldout_nll"] for row in alone}) == 3
