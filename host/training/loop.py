# SPDX-License-Identifier: Apache-2.0
"""Training loop: AdamW with warm-up and a cosine schedule, averaged weights, checkpoints, metrics."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from golden.files.errors import UnsupportedModel
from golden.model.params import FloatModel
from golden.spec.model import ModelConfig
from host.training import checkpoint
from host.training.data import Source, batch_of
from host.training.export import exported, initialised
from host.training.losses import balanced, class_weights, normalised
from host.training.measure import measured
from host.training.network import Outputs, TrainingNetwork
from host.training.parallel import Group, workers
from host.training.recipe import Recipe

CHECKPOINT_SECONDS = 120.0
MEASURE_SECONDS = 420.0
COUNTED = 200
"""Pictures whose labels are counted to weigh the classes."""

Report = Callable[[int, int, str], None]


def train(config: ModelConfig, recipe: Recipe, source: Source, validation: Source | None, folder: Path, *,
          init: FloatModel | None = None, resume: bool = False, processes: int = 1,
          report: Report = lambda done, total, what: None, note: Callable[[str], None] = lambda line: None,
          until: int | None = None) -> tuple[FloatModel, dict]:
    """Train a network; returns its float model and the figures of the run.

    ``folder`` receives the checkpoint; ``resume`` goes on from there, to the same bits as an uninterrupted run with
    as many ``processes``, which share each batch. ``init`` gives start values. ``until`` ends the run after that
    step, as an interruption would.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = min(until or recipe.steps, recipe.steps)
    run = Run(config, recipe, folder, init)
    if resume:
        run.restore()
    with workers(processes, _share, config, recipe, source, folder, init, resume, end) as group:
        run.go(source, validation, report, note, end, group)
    return exported(config, run.average, recipe.depth_unit), run.figures()


def _share(group: Group, config, recipe, source, folder, init, resume, end) -> None:
    """What the other workers do: the same steps on their shares of the batches."""
    run = Run(config, recipe, folder, init)
    if resume:
        run.restore()
    while run.step < end:
        run.one(source, group)


class Run:
    """A network in training with its optimiser, averaged weights and history."""

    def __init__(self, config: ModelConfig, recipe: Recipe, folder: Path, init: FloatModel | None):
        self.config, self.recipe, self.folder = config, recipe, folder
        torch.manual_seed(recipe.seed)
        self.network = TrainingNetwork(config, batch_norm=init is None)
        if init is not None:
            initialised(self.network, init, recipe.depth_unit)
        self.network.train()
        self.optimiser = torch.optim.AdamW(_groups(self.network, recipe), lr=recipe.rate, betas=(0.9, 0.98), fused=True)
        self.average = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.step, self.seconds, self.history = 0, 0.0, []
        self.kinds = {head.task: head.kind for head in config.task_heads}
        self.weights: Tensor | None = None

    def restore(self) -> None:
        """Go on from the folder's checkpoint; a recipe with more or fewer steps is allowed."""
        progress, config, recipe = checkpoint.load(self.folder)
        if config != self.config or recipe.seed != self.recipe.seed:
            raise UnsupportedModel(f"The checkpoint in {self.folder} is of another run ({config.name}, seed "
                                   f"{recipe.seed}) than this one ({self.config.name}, seed {self.recipe.seed}).")
        self.network.load_state_dict(progress.network)
        self.optimiser.load_state_dict(progress.optimiser)
        self.average, self.step = progress.average, progress.step
        self.seconds, self.history = progress.seconds, progress.history

    def save(self) -> None:
        progress = checkpoint.Progress(self.step, self.network.state_dict(), self.optimiser.state_dict(), self.average,
                                       self.seconds, self.history)
        checkpoint.save(self.folder, progress, self.config, self.recipe)

    def go(self, source: Source, validation: Source | None, report: Report, note, end: int,
           group: Group) -> None:
        """Steps up to ``end``, with a checkpoint and metrics now and then, and at the end."""
        saved = measured_at = began = time.monotonic()
        before = self.seconds
        while self.step < end:
            losses, outputs = self.one(source, group)
            self.seconds = before + time.monotonic() - began
            report(self.step, self.recipe.steps, self._status(losses))
            now = time.monotonic()
            if validation is not None and (now - measured_at > MEASURE_SECONDS or self.step == self.recipe.steps):
                self.measure(validation, losses, outputs, note)
                measured_at = time.monotonic()
            if now - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()

    def one(self, source: Source, group: Group) -> tuple[dict[str, float], Outputs]:
        """One step; losses by task, of this worker's share of the batch."""
        recipe, config = self.recipe, self.config
        if self.weights is None:
            classes = max((head.classes for head in config.task_heads if head.kind == "semseg"), default=0)
            self.weights = weights_of(source, recipe, classes)
        torch.manual_seed((recipe.seed * 1_000_003 + self.step) * group.size + group.rank)  # the gates' noise
        for settings in self.optimiser.param_groups:
            settings["lr"] = rate_at(recipe, self.step)
        batch = batch_of(source, recipe, self.step, group.rank, group.size)
        with autocast(recipe)():
            pixels = normalised(batch.pixels, config.pixel_mean, config.pixel_std, config.pixel_scale)
            outputs = self.network(pixels, batch.left)
        losses = balanced(outputs.maps, batch.labels, batch.depth, self.kinds, recipe.depth_unit, recipe.stride,
                          self.weights)
        total = sum(losses.values()) + recipe.balance * outputs.imbalance
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        group.average(self.network)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimiser.step()
        self.step += 1
        if group.rank == 0:
            self._average()
        return {task: float(loss.detach()) for task, loss in losses.items()}, outputs

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the present ones; faster in the beginning."""
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def measure(self, validation: Source, losses: dict, outputs: Outputs, note) -> None:
        """Metrics of the averaged weights into the history and, as a line, to ``note``."""
        averaged = TrainingNetwork(self.config, any(".batch_norm_" in name for name in self.average))
        averaged.load_state_dict(self.average)
        facts = measured(averaged, validation, self.recipe.depth_unit, self.recipe.batch, autocast(self.recipe))
        busy = {f"block {i}, {task}": count.tolist() for (i, task), count in outputs.tokens.items()}
        self.history.append({"step": self.step, "seconds": round(self.seconds), "losses": losses, "tokens": busy})
        self.history[-1] |= facts
        note(f"step {self.step}: " + ", ".join(f"{key} {value:.4f}" for key, value in facts.items() if key != "ious"))
        if "ious" in facts:
            note(f"step {self.step}: IoU of each class {facts['ious']}")
        note(f"step {self.step}: tokens of each expert {busy}")

    def _status(self, losses: dict[str, float]) -> str:
        latest = self.history[-1] if self.history else {}
        parts = [f"{task} {loss:.3f}" for task, loss in losses.items()]
        parts += [f"{key} {latest[key]:.3f}" for key in ("miou", "rmse") if key in latest]
        return ", ".join(parts + [f"{self.step * self.recipe.batch / max(self.seconds, 1e-9):.1f} pictures/s"])

    def figures(self) -> dict:
        return {"steps": self.step, "seconds": round(self.seconds), "history": self.history}


def weights_of(source: Source, recipe: Recipe, classes: int) -> Tensor | None:
    """Weights of the classes in the first pictures of ``source``; None where it has no labels."""
    counts = torch.zeros(256, dtype=torch.long)
    for index in range(min(len(source), COUNTED)):
        label = source.item(index)[1]
        if label is None:
            return None
        counts += torch.bincount(label.reshape(-1).long(), minlength=256)
    return class_weights(counts[:classes], recipe.class_power)


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate: linear to ``rate`` over ``warmup`` steps, constant, half a cosine to ``final_rate`` at the end.

    >>> recipe = Recipe(steps=100, warmup=10, rate=1.0, final_rate=0.0, decay=0.5)
    >>> [round(rate_at(recipe, step), 3) for step in (0, 9, 50, 75, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    share = max(0.0, 1 - (recipe.steps - step) / (recipe.decay * recipe.steps))
    return recipe.final_rate + (recipe.rate - recipe.final_rate) * 0.5 * (1 + math.cos(math.pi * share))


def autocast(recipe: Recipe) -> Callable[[], AbstractContextManager]:
    """Context in which products are bfloat16 where the recipe says so, or where the processor is fast at them."""
    fast = recipe.precision == "bfloat16" or recipe.precision == "auto" and torch.cpu._is_amx_tile_supported()
    return (lambda: torch.autocast("cpu", torch.bfloat16)) if fast else nullcontext


def _groups(network: TrainingNetwork, recipe: Recipe) -> list[dict]:
    """Parameters with weight decay (matrices and filters) and without (vectors, positions)."""
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in network.named_parameters():
        matrix = name.endswith(".weight") and parameter.ndim > 1
        (decayed if matrix else plain).append(parameter)
    return [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
