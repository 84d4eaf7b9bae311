"""A process that publishes a growing trial for ever, one line of output each time; tests kill it. Not a test."""

import itertools
import sys
from pathlib import Path

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial


def main(folder: str) -> None:
    ledger = Ledger(storage=LocalStorage(Path(folder)), sweep="killed")
    driver, worker = DriverWriter(ledger), TrialWriter(ledger)
    for number in itertools.count():
        trial = make_trial(seed=number)
        driver.propose(trial, number=number, distribution="in", proposal=PROPOSAL)
        for count in range(1, 5):
            evaluations = [evaluation_record(step) for step in range(count)]
            examples = [
                example_record(step, f"verses-{i:06d}", nll=i / 7) for step in range(count) for i in range(1500)
            ]
            worker.publish(trial.trial_id, evaluations, examples, None)
            print(number, count, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
