"""Several trajectories in one pass: steps of trials that differ in learning rate alone, stacked by ``torch.func``.

    python -m tests.benchmarks.stacked [--lanes 1 2 4 8] [--width 128] [--rounds 5]

An experiment: no sweep does this. Each lane has its own weights and learning rate, all have the same batches. Shown are
milliseconds of a step of one lane, beside the same lanes one after another, in interleaved rounds; and the largest
difference of a weight from its own run after the steps, with a lane that diverges among them.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

BATCH, TOKENS, VOCABULARY, STEPS = 16, 24, 1024, 5
DIVERGES = 1e30
"""A learning rate after which weights are not finite."""
Weights = dict[str, torch.Tensor]


def model_of(width: int, device: str) -> transformers.LlamaForCausalLM:
    """Return a model of two layers, of the demo's shape."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, tie_word_embeddings=True, attn_implementation="eager",
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).to(device).eval()


class Lanes:
    """The weights of several trajectories, by plain SGD on the same batches."""

    def __init__(self, model: transformers.LlamaForCausalLM, rates: list[float]) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._rates = torch.tensor(rates, device=self._device)
        self._batches = torch.randint(
            2, VOCABULARY, (STEPS, BATCH, TOKENS), generator=torch.Generator().manual_seed(1)
        ).to(self._device)
        positions = torch.arange(TOKENS, device=self._device)
        self._mask = torch.where(positions[:, None] >= positions, 0.0, float("-inf"))[None, None]

    def _loss(self, weights: Weights, ids: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": ids, "attention_mask": self._mask, "use_cache": False}
        logits = functional_call(self._model, weights, (), inputs).logits[:, :-1]
        return -F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def stacked(self) -> Weights:
        """Take the steps of all lanes in one pass; return the weights, with a first dimension of lanes."""
        weights, _ = stack_module_state([self._model] * len(self._rates))
        weights = {name: own.detach() for name, own in weights.items()}
        gradient = vmap(grad(self._loss), in_dims=(0, None))
        for ids in self._batches:
            gradients = gradient(weights, ids)
            weights = {
                name: own - gradients[name] * self._rates.view(-1, *[1] * (own.dim() - 1))
                for name, own in weights.items()
            }
        return weights

    def one_after_another(self) -> Weights:
        """Take the steps of one lane after another, as trials do."""
        lanes = []
        for rate in self._rates:
            weights = {name: own.detach().clone().requires_grad_() for name, own in self._model.named_parameters()}
            for ids in self._batches:
                gradients = torch.autograd.grad(self._loss(weights, ids), list(weights.values()))
                with torch.no_grad():
                    for own, gradient in zip(weights.values(), gradients, strict=True):
                        own.sub_(rate * gradient)
            lanes.append(weights)
        return {name: torch.stack([lane[name].detach() for lane in lanes]) for name in lanes[0]}


def step_ms(work: Callable[[], Weights], lanes: int, device: str) -> float:
    """Return the milliseconds of a step of one lane."""
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began) / lanes / STEPS


def largest_difference(lanes: Lanes) -> float:
    """Return the largest difference of a weight of any lane but the last, which diverges, from its own run."""
    together, alone = lanes.stacked(), lanes.one_after_another()
    return max(float((own[:-1] - alone[name][:-1]).abs().max()) for name, own in together.items())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model_of(asked.width, device)
    title = f"width {asked.width}, {BATCH} x {TOKENS} tokens, {device}, {asked.rounds} rounds"
    table = Table("lanes", "one after another, ms", "stacked, ms", "times as fast", "difference", title=title)
    for count in asked.lanes:
        lanes = Lanes(model, [0.01 * 2**lane for lane in range(count)])
        times: dict[str, list[float]] = {"alone": [], "stacked": []}
        for _ in range(asked.rounds + 1):
            times["alone"].append(step_ms(lanes.one_after_another, count, device))
            times["stacked"].append(step_ms(lanes.stacked, count, device))
        medians = {name: statistics.median(measured[1:]) for name, measured in times.items()}  # the first warms up
        shown = [f"{medians[name]:.1f} ({min(times[name]):.1f} to {max(times[name][1:]):.1f})" for name in times]
        difference = largest_difference(Lanes(model, [*(0.01 * 2**lane for lane in range(count)), DIVERGES]))
        table.add_row(str(count), *shown, f"{medians['alone'] / medians['stacked']:.2f}", f"{difference:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
