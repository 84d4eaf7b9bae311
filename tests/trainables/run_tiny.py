"""Run one tiny trial in a process of its own and print its evaluations: precision and device are fixed per process."""

import dataclasses
import json
import sys

from tests.support import MemorySink, deterministic, run_to_end, tiny_trial, tiny_workload
from trainables.trial import Engine


def main(precision: str) -> None:
    engine = Engine(dataclasses.replace(tiny_workload(), precision=precision))  # type: ignore[arg-type]
    run = run_to_end(engine, tiny_trial(steps=(0, 2, 4)), MemorySink())
    sys.stdout.write(json.dumps({"device": engine.accelerator.device.type, "rows": deterministic(run.evaluations)}))


if __name__ == "__main__":
    main(sys.argv[1])
