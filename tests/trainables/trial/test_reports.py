"""What a worker reports of a trial: each evaluation once, a warning once, the outcome last."""

from tests.support import MemorySink, tiny_trial, tiny_workload
from trainables.trial import EVALUATION, OUTCOME, WARNING, Engine, TrialRun
from trainables.trial.reports import next_report


def test_a_report_tells_each_evaluation_and_warning_once_and_the_outcome_last():
    results = MemorySink()
    results.checkpoints["trial"] = b"damaged"
    run = TrialRun(Engine(tiny_workload(every_s=1e9)), tiny_trial(steps=(0, 2)), results)
    told = []
    while run.outcome is None:
        told.append(next_report(run))
    assert [sorted(result) for result in told] == [[EVALUATION, WARNING], [EVALUATION, OUTCOME]]
    assert [result[EVALUATION].step for result in told] == [0, 2]
    assert [result[EVALUATION].feasible for result in told] == [True, True]
    assert "its checkpoint is damaged" in told[0][WARNING]
    assert told[1][OUTCOME] == "completed"
