"""When a wide trial's group of workers starts, stays and ends. What the workers do is tested in ``integration``."""

import pytest

from tests.support import tiny_trial
from trainables.trial import EVALUATION, FAILURE, OUTCOME
from trainables.tune import TRIAL, WideTrainable, train_group, wide

RUNS, ENDS, FAILS = {EVALUATION: 1}, {OUTCOME: "completed"}, {FAILURE: {"message": "no"}}


class Group:
    """Reports what the test says, as a group does."""

    started: list["Group"]
    reports: list[dict]

    def __init__(self, **options):
        self.options, self.took, self.is_over, self.ended = options, [], False, False
        self.started.append(self)

    def take(self, trial):
        assert not self.ended
        self.took.append(trial)

    def next_report(self):
        return self.reports.pop(0)

    def end(self):
        self.ended = True


@pytest.fixture
def groups(monkeypatch):
    monkeypatch.setattr(wide, "_Group", Group)
    Group.started, Group.reports = [], []
    return Group.started


def trainable(trial):
    made = WideTrainable.__new__(WideTrainable)
    made.setup({TRIAL: trial}, workloads=["w"], sink=None, workers=2, worker_resources={"CPU": 1, "GPU": 0})
    return made


FIRST, SECOND = tiny_trial(learning_rate=0.1), tiny_trial(learning_rate=0.2)


def test_a_group_starts_with_the_first_step_and_stays_for_the_next_trial(groups):
    own = trainable(FIRST)
    assert groups == [], "an actor that Tune starts and does not use takes no workers"
    Group.reports[:] = [RUNS, ENDS, RUNS]
    assert [own.step()["done"] for _ in range(2)] == [False, True]
    assert own.reset_config({TRIAL: SECOND})
    own.step()
    (group,) = groups
    assert group.took == [FIRST, SECOND]
    assert group.options["workers"] == 2
    own.cleanup()
    assert group.ended
    own.cleanup()


def test_a_trial_that_fails_takes_its_group_with_it(groups):
    own = trainable(FIRST)
    Group.reports[:] = [RUNS, FAILS, RUNS]
    own.step()
    assert own.step() == {"done": True, **FAILS}
    assert groups[0].ended
    own.reset_config({TRIAL: SECOND})
    own.step()
    assert [group.took for group in groups] == [[FIRST], [SECOND]]


def test_a_group_that_died_between_two_trials_is_replaced(groups):
    own = trainable(FIRST)
    Group.reports[:] = [ENDS, RUNS, RUNS]
    own.step()
    groups[0].is_over = True
    own.reset_config({TRIAL: SECOND})
    own.step()
    assert [group.took for group in groups] == [[FIRST], [SECOND]]
    groups[1].is_over = True
    own.step()
    assert len(groups) == 2, "within a trial the group itself says that it died"


def test_of_a_group_that_fails_the_first_cause_is_reported_at_its_longest():
    reports = [
        {"message": "A", "details": "short"},
        {"message": "B", "details": "the longest of all, which followed"},
        {"message": "A", "details": "the whole traceback"},
    ]
    assert train_group.most_telling(reports) == reports[2]
