"""Tasks: what is left of the model's abilities, by tasks of lm-evaluation-harness. It imports the harness, an extra."""

import copy
import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from trainables.errors import UnlearningError, nearest_name_hint
from trainables.probes.probe import Finding, ProbedModel
from trainables.probes.settings import TasksSettings
from trainables.seeding import derive_seed
from trainables.torch_seeding import seeded_torch

_NO_METRIC = frozenset({"sample_len", "sample_count"})
"""What the harness reports of a task beside its metrics: how many questions were asked."""


def tasks(probed: ProbedModel, settings: TasksSettings) -> Iterator[Finding]:
    """Yield the scores of each task, and of each group of tasks, as the harness names them.

    The variant is the task. A score is named by its metric (``acc``), and by the harness's filter behind it, where it
    is another than ``none`` (``exact_match,strict-match``). The harness tokenizes by its own rules, and puts nothing
    before a text but what the tokenizer itself does, so its likelihoods are not those of an evaluation.

    Raises:
        UnlearningError: a task is unknown, its questions cannot be loaded, it runs code that only a person may allow,
            or ``include_path`` was not trusted on the command line.
    """
    manager = find_tasks(settings, trusted=probed.config.trust_remote_code)
    try:
        with _quietly_seeded(probed.seed):
            found = simple_evaluate(
                model=HFLM(
                    pretrained=probed.model,
                    tokenizer=copy.deepcopy(probed.tokenizer),  # the harness may give it a padding token
                    batch_size=settings.batch_size or probed.evaluation.batch_size,
                ),
                tasks=list(settings.tasks),
                task_manager=manager,
                num_fewshot=settings.num_fewshot,
                limit=settings.limit,
                apply_chat_template=settings.chat_template,
                bootstrap_iters=settings.bootstrap_iters,
                log_samples=False,
                **_seeds(probed.seed),
            )
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise UnlearningError(
            f"probe 'tasks': {', '.join(settings.tasks)} could not be run: {error}; tasks of the harness load their "
            f"questions from the hub, those under include_path from the files that their YAML names"
        ) from error
    for task, values in found["results"].items():
        yield Finding(variant=task, scores=_scores(values))


def find_tasks(settings: TasksSettings, *, trusted: bool) -> TaskManager:
    """Return what knows the tasks by name; the harness's own, thousands of files, only where they are asked for.

    Raises:
        UnlearningError: a task is unknown, ``include_path`` is no folder, or it was not trusted on the command line.
    """
    path = settings.include_path
    if path is not None:
        if not Path(path).is_dir():
            raise UnlearningError(f"probe 'tasks': include_path: no folder '{path}' on this machine")
        if not trusted:
            raise UnlearningError(
                f"probe 'tasks': the YAML files in '{path}' (include_path) can run code, in functions and templates; "
                f"read them, and allow it by --trust-remote-code on the command line, or leave include_path out"
            )
        manager = TaskManager(include_path=path, include_defaults=False)
        if set(settings.tasks) <= set(manager.all_tasks):
            return manager
    manager = TaskManager(include_path=path)
    for task in settings.tasks:
        if task not in manager.all_tasks:
            near = nearest_name_hint(task, manager.all_tasks).partition("? allowed: ")
            hint = f"{near[0]}? " if near[1] else ""
            raise UnlearningError(
                f"probe 'tasks': unknown task '{task}'; {hint}allowed: the {len(manager.all_tasks)} tasks, groups and "
                f"tags that `lm-eval ls tasks` lists, and those of include_path"
            )
    return manager


def _seeds(seed: int) -> dict[str, int]:
    names = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    return {name: derive_seed(seed, "tasks", name) % 2**32 for name in names}  # NumPy takes 32 bits


@contextmanager
def _quietly_seeded(seed: int) -> Iterator[None]:
    """Keep the harness's seeds and progress bars inside a block: it seeds every generator of the process."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with seeded_torch(seed, "tasks"), redirect_stderr(io.StringIO()):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _scores(values: dict[str, Any]) -> dict[str, float]:
    """Return the metrics among a task's results; a standard error that was not computed is a text."""
    return {
        key.removesuffix(",none"): float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in _NO_METRIC
    }
