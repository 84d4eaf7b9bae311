"""Tables of sweeps with replicates, invented with known effects, in the form of the ledger's: no model, no ledger.

Shapes: R replicates, 2 forget sets (in, out), K settings, S evaluated steps, N examples.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.claims.reading import SetFacts, SweepTables

STEPS = (0, 1, 2, 4, 6, 8, 10, 13, 16, 20, 25, 30, 40)
SETTINGS = (
    ("adamw", "gradient_ascent · adamw lr=0.0001 · batch 16", 18.0),
    ("adamw", "gradient_ascent · adamw lr=0.0002 · batch 16", 9.0),
    ("sgd", "gradient_ascent · sgd lr=0.02 clip_norm=1 · batch 16", 20.0),
    ("sgd", "gradient_ascent · sgd lr=0.04 · batch 16", 12.0),
)
"""Optimizer, settings, and steps until as never trained."""
SETS = {
    "verses": SetFacts(distribution="in", canary="", repetitions="1"),
    "people": SetFacts(distribution="out", canary="personal_data", repetitions="2"),
}
FLOOR_BITS = -2.0
"""Mean GenEx of a model that never saw the examples."""
TOKENS = (12, 30)
"""Of each example of the two sets."""
START_BITS = 40.0
NONE = {"steps": 0.0, "price": 0.0, "decay": 0.0, "memorization": 0.0, "difficulty": 0.0}
"""No effect at all."""
CLEAR = {"steps": 0.6, "price": 0.15, "decay": 0.3, "memorization": 0.5, "difficulty": -0.3}
"""Effects of a size that a paper would report: out takes 1.5 times as many steps and loses half as much."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true of the replicates that are drawn."""

    steps: float = CLEAR["steps"]
    """log2 of out's steps by in's."""
    price: float = CLEAR["price"]
    """What in loses more than out at as never trained, nats/token, on every kind of data."""
    decay: float = CLEAR["decay"]
    """What in loses there."""
    memorization: float = CLEAR["memorization"]
    """log2 of an example's steps for each unit of memorization."""
    difficulty: float = CLEAR["difficulty"]
    spread_steps: float = 0.25
    """Standard deviation of ``steps`` over replicates, and so on."""
    spread_price: float = 0.06
    spread_slopes: float = 0.15
    noise: float = 0.15
    """The same of a trial beside its replicate, log2 of steps."""
    collapses: float = 0.08
    """Share of trials that collapse at a random step, before or after they get there."""
    examples: int = 16
    by_setting: Sequence[float] = (0.0,) * len(SETTINGS)
    """What is added to ``steps`` at each setting."""
    skewed: bool = False
    """Whether replicates differ by an exponential distribution in place of a normal one, of the same spread."""

    def draw(self, random: np.random.Generator, spread: float) -> float:
        """Draw how far a replicate is from the mean."""
        return spread * (random.exponential() - 1) if self.skewed else random.normal(0, spread)


def invented(world: World, replicates: int, seed: int, *, sweep: str = "invented", draws: str = "a") -> SweepTables:
    """Draw the tables of a sweep; a replicate does not depend on how many there are."""
    parts = [_replicate(world, np.random.default_rng([seed, number]), number) for number in range(replicates)]
    names = parts[0].keys()
    columns = {table: pa.concat_tables([part[table] for part in parts]) for table in names}
    return SweepTables(
        sweep=sweep,
        trials=columns["trials"],
        evaluations=columns["evaluations"],
        examples=columns["examples"],
        baselines=_baselines(columns["examples"], replicates),
        sets=SETS,
        last_step=STEPS[-1],
        performance_floor=3.0,
        draws=draws,
        matched_within=0.1,
        data=draws,
        model="llama 128x2",
    )


def _replicate(world: World, random: np.random.Generator, number: int) -> dict[str, pa.Table]:
    settings = len(SETTINGS)
    shift = world.steps + world.draw(random, world.spread_steps)
    log_2K = np.log2([own[2] for own in SETTINGS]) + random.normal(0, world.noise, (2, settings))
    log_2K += np.array([[-0.5], [0.5]]) * (shift + np.asarray(world.by_setting))
    time_2K = 2.0**log_2K
    steps_S = np.asarray(STEPS, dtype=np.float64)
    progress_2KS = steps_S / time_2K[..., None]
    gen_2KS = START_BITS + (FLOOR_BITS - START_BITS) * progress_2KS
    rel_2KS = 5.0 - 3.5 * progress_2KS * 2.0 ** random.normal(0, 0.2, (2, settings, 1))
    decay = world.decay + world.draw(random, world.spread_price)
    losses = {}
    for kind in ("performance", "population_nll", "retained"):
        gap = world.price + world.draw(random, world.spread_price)
        price_2K = decay - np.array([[0.0], [1.0]]) * gap + random.normal(0, world.spread_price / 3, (2, settings))
        losses[kind] = 3.0 + price_2K[..., None] * progress_2KS
    collapses_2K = random.random((2, settings)) < world.collapses
    last_2K = np.where(collapses_2K, random.integers(2, len(STEPS), (2, settings)), len(STEPS) - 1)
    ids_2K = np.array([[f"{number:03}{own}{k:02}" for k in range(settings)] for own in range(2)])
    kept_2KS = np.arange(len(STEPS)) <= last_2K[..., None]
    fallen_2KS = collapses_2K[..., None] & (np.arange(len(STEPS)) == last_2K[..., None])
    losses["performance"] = np.where(fallen_2KS, 9.0, losses["performance"])
    evaluations = _evaluations(ids_2K, steps_S, number, losses, gen_2KS, rel_2KS, fallen_2KS)
    trials = evaluations.filter(pa.array((np.broadcast_to(np.arange(len(STEPS)), kept_2KS.shape) == 0).ravel()))
    status = pa.array(np.where(collapses_2K, "collapsed", "completed").ravel().tolist())
    trials = trials.set_column(trials.column_names.index("status"), "status", status)
    return {
        "trials": trials,
        "evaluations": evaluations.filter(pa.array(kept_2KS.ravel())),
        "examples": _examples(world, random, number, ids_2K, time_2K, kept_2KS),
    }


def _evaluations(ids_2K, steps_S, number, losses, gen_2KS, rel_2KS, fallen_2KS) -> pa.Table:
    shape = gen_2KS.shape

    def spread(values, axes) -> list:
        return np.broadcast_to(np.asarray(values).reshape(axes), shape).ravel().tolist()

    names, settings = list(SETS), [own[1] for own in SETTINGS]
    by_set, by_setting = (2, 1, 1), (1, len(SETTINGS), 1)
    return pa.table({
        "trial_id": spread(ids_2K, (*ids_2K.shape, 1)),
        "forget_set": spread(names, by_set),
        "distribution": spread([own.distribution for own in SETS.values()], by_set),
        "seed": spread(0, (1, 1, 1)),
        "replicate": spread(number, (1, 1, 1)),
        "objective": spread("gradient_ascent", (1, 1, 1)),
        "optimizer": spread([own[0] for own in SETTINGS], by_setting),
        "learning_rate": spread([0.1] * len(SETTINGS), by_setting),
        "batch_size": spread(16, (1, 1, 1)),
        "settings": spread(settings, by_setting),
        "setting_id": spread([f"s{index}" for index in range(len(settings))], by_setting),
        "step": spread(steps_S.astype(np.int64), (1, 1, len(steps_S))),
        "status": np.where(fallen_2KS, "collapsed", "completed").ravel().tolist(),
        "gen_ex": gen_2KS.ravel(),
        "rel_ex": rel_2KS.ravel(),
        "performance": losses["performance"].ravel(),
        "heldout_nll": losses["performance"].ravel(),
        "population_nll": losses["population_nll"].ravel(),
        "distractor_nll": losses["retained"].ravel(),
        "retain_nll": losses["retained"].ravel(),
    })  # fmt: skip


def _examples(world: World, random, number, ids_2K, time_2K, kept_2KS) -> pa.Table:
    count, settings = world.examples, len(SETTINGS)
    slopes = random.normal((world.memorization, world.difficulty), world.spread_slopes)
    traits_2N2 = random.normal(0, 1, (2, count, 2))
    log_2KN = (traits_2N2 @ slopes)[:, None] + random.normal(0, 0.6, (2, settings, count))
    time_2KN = time_2K[..., None] * 2.0**log_2KN
    start_2N = START_BITS * 2.0 ** random.normal(0, 0.3, (2, count))
    left_2KSN = 1 - np.asarray(STEPS)[:, None] / time_2KN[:, :, None]
    gen_2KSN = start_2N[:, None, None] * left_2KSN
    rel_2KSN = 1.5 + 4 * left_2KSN + random.normal(0, 0.5, left_2KSN.shape)
    shape = left_2KSN.shape
    kept = kept_2KS.repeat(count)

    def spread(values, axes):
        return np.broadcast_to(np.asarray(values).reshape(axes), shape).ravel()[kept]

    return pa.table({
        "trial_id": spread(ids_2K, (*ids_2K.shape, 1, 1)).tolist(),
        "forget_set": spread(list(SETS), (2, 1, 1, 1)).tolist(),
        "replicate": spread(number, (1, 1, 1, 1)),
        "example_id": spread([f"x{index:03}" for index in range(count)], (1, 1, 1, count)).tolist(),
        "step": spread(STEPS, (1, 1, len(STEPS), 1)),
        "num_tokens": spread(TOKENS, (2, 1, 1, 1)),
        "gen_ex": gen_2KSN.ravel()[kept],
        "rel_ex": rel_2KSN.ravel()[kept],
        "memorization": spread(traits_2N2[..., 0], (2, 1, 1, count)),
        "difficulty": spread(traits_2N2[..., 1], (2, 1, 1, count)),
    })  # fmt: skip


def _baselines(examples: pa.Table, replicates: int) -> list[dict]:
    """Return what models know; the mean log p of the references is ``FLOOR_BITS`` from their log-mean likelihood."""
    rows = []
    difficulties: dict[tuple, dict] = {}
    for own in examples.filter(pc.equal(examples["step"], 0)).to_pylist():
        difficulties.setdefault((own["replicate"], own["forget_set"]), {})[own["example_id"]] = own["difficulty"]
    for number, (name, tokens) in itertools.product(range(replicates), zip(SETS, TOKENS, strict=True)):
        nll = np.mean(list(difficulties[number, name].values())) - FLOOR_BITS * math.log(2) / tokens
        for model, gen_ex, rel_ex, more in (
            ("base", START_BITS, 5.0, 0.0), ("reference-0", -1.0, 1.5, -0.1), ("reference-1", 1.0, 1.5, 0.1),
        ):  # fmt: skip
            own = {"replicate": number, "model": model, "forget_set": name, "forget_nll": nll + more}
            rows.append({**own, "gen_ex": gen_ex, "rel_ex": rel_ex})
    return rows


def null(world: World) -> World:
    """Return a world in which there is nothing to find."""
    return replace(world, **NONE)
