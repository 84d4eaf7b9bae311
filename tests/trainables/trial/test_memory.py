"""What a trial takes at its peak is what it really takes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support import tiny_encoded, tiny_trial, tiny_workload
from trainables import objectives
from trainables.encoding import AnswerSets
from trainables.errors import UnlearningError
from trainables.metrics import SetScores
from trainables.trial import engine as engine_module
from trainables.trial import measure_peak, memory
from trainables.trial.ascent import Ascent
from trainables.trial.memory import PROBE_STEPS, DeviceMemory, device_memory

MIB = 2**20
SPENT_MIB = 300
SPENDING = f"""
import sys, numpy as np, trainables.trial.memory as memory
from tests.support import tiny_trial, tiny_workload
workload, real, kept = tiny_workload(), memory.TrialRun.checkpoint, []
shared = np.memmap(sys.argv[1], dtype=float, mode="w+", shape={SPENT_MIB} * 2**17)
def measure(spend):
    memory.TrialRun.checkpoint = lambda run, **how: (spend(), real(run, **how))
    return memory.measure_peak(workload, [tiny_trial().config]).host_bytes
print(measure(lambda: None), measure(lambda: np.ones(shared.shape)), measure(lambda: shared.fill(1)))
"""


def adamw(**settings):
    return tiny_trial(optimizer="adamw", **settings).config


def test_a_probe_scores_the_set_that_takes_most_whichever_it_is():
    workload = tiny_workload()
    own = workload.evaluation_sets["forget"]
    longest = tiny_encoded(7, shortest=30, longest=30, label="long")
    for name in ("population", "distractors"):
        sets = {"forget": replace(own, **{name: longest}), "other": replace(own, distractors=None)}
        probe = memory.heaviest(replace(workload, evaluation_sets=sets), tiny_trial().config)
        (scored,) = probe.evaluation_sets.values()
        assert scored.population is longest, name


def test_a_probe_scores_other_answers_too():
    workload = tiny_workload()
    own = workload.evaluation_sets["forget"]
    longest = tiny_encoded(6, shortest=30, longest=30, label="long")
    answers = {
        "forget": AnswerSets(original=own.forget, perturbed=(longest,)),
        "facts": AnswerSets(original=own.retain),
    }
    sets = {"forget": replace(own, answers=answers)}
    probe = memory.heaviest(replace(workload, evaluation_sets=sets), tiny_trial().config)
    (scored,) = probe.evaluation_sets.values()
    assert scored.population is longest
    assert scored.answers["forget"].original.example_ids == scored.forget.example_ids
    assert scored.answers["facts"] is answers["facts"]


def test_the_peak_on_a_cpu_is_that_of_resident_memory_that_no_other_process_shares(tmp_path):
    command = [sys.executable, "-c", SPENDING, str(tmp_path / "mapped")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frugal, spent, shared = (int(figure) / MIB for figure in done.stdout.split())
    assert 50 < frugal < 1000, "PyTorch alone takes that much"
    assert shared < frugal + 0.2 * SPENT_MIB
    assert 0.9 * SPENT_MIB < spent - frugal < 1.2 * SPENT_MIB


def with_sets(workload, **forget_and_population):
    """Give the workload other forget sets, each of two encoded sets."""
    sets = {}
    for name, (forget, population) in forget_and_population.items():
        known = {"forget": SetScores.of([[0.0]] * len(forget))}
        own = workload.evaluation_sets["forget"]
        sets[name] = replace(own, forget=forget, population=population, base=known, references=(known, known))
    return replace(workload, evaluation_sets=sets)


def lengths(batch):
    return batch["attention_mask"].sum(dim=-1).tolist()


@pytest.mark.parametrize(("micro_batch_size", "passes"), [(None, [4]), (3, [2, 2])])
def test_the_longest_examples_of_all_sets_are_ascended_and_retained(monkeypatch, micro_batch_size, passes):
    short, long = tiny_encoded(30, longest=6), tiny_encoded(4, shortest=20, longest=40)
    few, many = tiny_encoded(10, longest=50), tiny_encoded(70, longest=12)
    workload = with_sets(tiny_workload(), small=(short, many), long=(long, few), other=(short, few))
    workload = replace(workload, retain=tiny_encoded(60, longest=30, seed=1))
    ascended, retained, evaluated = [], [], []
    compute, evaluate = objectives.compute, engine_module.evaluate

    def noting(name, model, batch, **inputs):
        ascended.append(lengths(batch))
        retained.append(lengths(inputs["retain_batch"]))
        return compute(name, model, batch, **inputs)

    monkeypatch.setattr(objectives, "compute", noting)
    monkeypatch.setattr(engine_module, "evaluate", lambda *a, **k: (evaluated.append(a[1]), evaluate(*a, **k))[1])
    measure_peak(workload, [adamw(objective="gradient_difference", batch_size=6, micro_batch_size=micro_batch_size)])
    longest, longest_retained = (int(np.diff(encoded.offsets).max()) for encoded in (long, workload.retain))
    assert ascended == [[longest] * size for size in passes] * PROBE_STEPS
    assert retained == [[longest_retained] * size for size in passes] * PROBE_STEPS
    measured = [sets.population for sets in evaluated]
    assert measured == [few] * 2, "the base model and the last step; 10 examples of 48 tokens are more than 16 of 12"


def test_the_longest_alternates_of_all_sets_stand_for_them_and_a_reference_is_there_from_the_start(monkeypatch):
    forget = tiny_encoded(4, longest=9)
    workload = with_sets(tiny_workload(), one=(forget, forget), other=(forget, forget))
    long = tiny_encoded(4, shortest=20, longest=30, seed=3).select([3, 2, 1, 0])
    assert np.diff(long.offsets).argmax() != 0
    workload = replace(workload, alternates={"one": tiny_encoded(4, seed=2), "other": long})
    passes, compute = [], objectives.compute

    def noting(name, model, batch, **inputs):
        alternates = inputs["alternate_batch"]
        passes.append((name, None if alternates is None else lengths(alternates)))
        return compute(name, model, batch, **inputs)

    monkeypatch.setattr(objectives, "compute", noting)
    measure_peak(workload, [adamw(), adamw(objective="dpo", batch_size=3)])
    longest = int(np.diff(long.offsets).max())
    assert passes == [("dpo", [longest] * 3)] * PROBE_STEPS + [("gradient_ascent", None)] * PROBE_STEPS


def test_what_an_optimizer_does_now_and_then_it_does_in_every_step_that_is_measured(monkeypatch):
    estimated, real = [], Ascent._estimate_curvature
    monkeypatch.setattr(
        Ascent, "_estimate_curvature", lambda self, step, *a: (estimated.append(step), real(self, step, *a))
    )
    measure_peak(tiny_workload(), [tiny_trial(optimizer="sophia", optimizer_settings={"beta1": 0.9}).config])
    assert estimated == list(range(1, PROBE_STEPS + 1))


def test_every_configuration_ascends_is_evaluated_and_packed_with_most_to_evaluate(monkeypatch):
    workload = tiny_workload(every_s=1e9, keep_mib=0)  # such trials would pack nothing by themselves
    forget, small = workload.evaluation_sets["forget"].forget, tiny_encoded(10, seed=2)
    large = tiny_encoded(40, seed=2)
    workload = with_sets(workload, small=(forget, small), large=(forget, large), other=(forget, small))
    did = []
    advance, evaluate, pack = Ascent.advance, engine_module.evaluate, Ascent.pack
    monkeypatch.setattr(Ascent, "advance", lambda self, to: (did.append(("step", to)), advance(self, to))[1])
    monkeypatch.setattr(
        engine_module, "evaluate", lambda *a, **k: (did.append(("evaluate", a[1].population)), evaluate(*a, **k))[1]
    )
    monkeypatch.setattr(Ascent, "pack", lambda self, *s: (did.append(("pack", self.state_bytes)), pack(self, *s))[1])
    configs = [adamw(learning_rate=1e5), adamw(schedule="linear"), tiny_trial().config]
    peak = measure_peak(workload, configs)
    assert peak.device is None
    steps = [("step", step + 1) for step in range(PROBE_STEPS)]
    assert [what for what in did if what[0] == "step"] == steps * 3
    evaluated = [what for what in did if what[0] == "evaluate"]
    assert evaluated == [("evaluate", large)] * (1 + 3), "the base model once, and each trial, even at that rate"
    packed = [size for what, size in did if what == "pack"]
    assert len(packed) == 3
    assert packed[0] > 2.9 * packed[-1], "the state of AdamW was there"


def test_on_a_gpu_it_is_what_pytorch_reserved_and_the_context(monkeypatch):
    told = {
        "mem_get_info": lambda _: (60, 100),
        "memory_reserved": lambda _: 30,
        "max_memory_reserved": lambda _: 35,
        "get_device_name": lambda _: "H100",
    }
    for name, function in told.items():
        monkeypatch.setattr(torch.cuda, name, function)
    assert device_memory(torch.device("cuda", 0)) == DeviceMemory(name="H100", peak_bytes=45, total_bytes=100)
    assert device_memory(torch.device("cpu")) is None


def test_a_trial_that_does_not_fit_alone_says_what_to_lower(monkeypatch):
    def runs_out(self):
        raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")

    monkeypatch.setattr(memory.TrialRun, "advance", runs_out)
    with pytest.raises(UnlearningError, match=r"tried to allocate 2.00 GiB.*batch_size \(up to 6\)"):
        measure_peak(tiny_workload(), [adamw()])
