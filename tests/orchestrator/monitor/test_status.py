"""What the status of a sweep says of the speed of its trials."""

import json
from dataclasses import replace

from orchestrator.ledger import TrialWriter
from orchestrator.monitor import status_text, sweep_status
from tests.orchestrator.helpers import evaluation_record, make_spec, outcome, write_sweep
from trainables.records import TIMES


def test_the_times_of_trials_are_added_up_and_steps_counted_by_second_of_ascent(tmp_path):
    ledger = write_sweep(tmp_path, make_spec())
    times = dict(zip(TIMES, (1.0, 4.0, 3.0, 1.5, 0.5), strict=True))
    rows = ledger.trials()
    for row in rows:
        TrialWriter(ledger).publish(
            row["trial_id"],
            [evaluation_record(0), evaluation_record(6)],
            [],
            replace(outcome(), last_step=6, times=times),
        )
    status = sweep_status(ledger)
    assert status["times"] == {name: seconds * len(rows) for name, seconds in times.items()}
    assert status["steps_per_s"] == 1.5
    json.dumps(status)
    line = status_text(status).splitlines()[-1]
    assert line == "time of trials: step 40% (1.5 steps/s), evaluate 30%, commit 15%, reset 10%, checkpoint 5%"
