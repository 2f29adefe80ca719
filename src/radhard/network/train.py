"""Training zoo models from scratch, fast enough for two cores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radhard.network.data import DataSet
from radhard.network.zoo import Recipe, ZooModel

#: Called after each epoch with its number (from 1), the mean loss and the test accuracy.
Progress = Callable[[int, float, float], None]


def train(
    model: ZooModel, data: tuple[DataSet, DataSet], seed: int, progress: Progress
) -> nn.Module:
    """Train ``model`` by its recipe on ``data`` (training and test sets); in evaluation mode.

    Raises:
        ValueError: when the model has no recipe or its input doesn't match the images.
    """
    learn, test = data
    recipe = _checked(model, learn)
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = model.build(int(learn.labels.max()) + 1)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images, labels = learn.standardised(model.mean, model.deviation), learn.labels
        steps = -(-len(images) // recipe.batch)
        optimiser = torch.optim.SGD(
            module.parameters(), recipe.rate, 0.9, weight_decay=recipe.decay, nesterov=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.rate, total_steps=recipe.epochs * steps, pct_start=0.25
        )
        for epoch in range(1, recipe.epochs + 1):
            module.train()
            total = 0.0
            for rows in torch.randperm(len(images), generator=random).split(recipe.batch):
                loss = F.cross_entropy(
                    module(_augmented(images[rows], recipe, random)), labels[rows]
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(rows)
            progress(epoch, total / len(images), accuracy(module, model, test))
    module.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return module


def accuracy(module: nn.Module, model: ZooModel, data: DataSet) -> float:
    """Share of ``data`` that ``module`` classifies correctly."""
    module.eval()
    images = data.standardised(model.mean, model.deviation)
    with torch.no_grad():
        guesses = torch.cat([module(part).argmax(1) for part in images.split(500)])
    return float((guesses == data.labels).float().mean())


def _checked(model: ZooModel, data: DataSet) -> Recipe:
    if model.recipe is None:
        raise ValueError(
            f"{model.name} has no training recipe here: load published weights by path"
        )
    shape = tuple(data.images.shape[1:])
    if shape != model.shape:
        raise ValueError(f"{model.name} takes images of {model.shape}, but the data has {shape}")
    return model.recipe


def _augmented(images: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """Mirror half of the images and shift the batch by a few pixels, where the recipe says so."""
    if recipe.mirror:
        flip = torch.rand(len(images), generator=random) < 0.5
        images = torch.where(flip.reshape(-1, 1, 1, 1), images.flip(3), images)
    if recipe.shift:
        rows, columns = images.shape[2:]
        padded = F.pad(images, [recipe.shift] * 4)
        y, x = torch.randint(0, 2 * recipe.shift + 1, (2,), generator=random).tolist()
        images = padded[:, :, y : y + rows, x : x + columns]
    return images.contiguous(memory_format=torch.channels_last)
