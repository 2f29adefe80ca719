"""`radhard train`: train a zoo model and keep its weights in the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from radhard.cli.app import app


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Zoo name: radhard list models.")],
    data: Annotated[str | None, typer.Option(help="Data set; the model's own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and order of images.")] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Passes over the images; the recipe's by default."),
    ] = None,
) -> None:
    """Train a zoo model by its recipe and keep the weights for assess."""
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from radhard.network.data import data_named
    from radhard.network.train import train as fit
    from radhard.network.weights import save_weights
    from radhard.network.zoo import zoo_model
    from radhard.stats.interval import wilson

    entry = zoo_model(model)
    home = data or entry.data
    if entry.recipe is None:
        raise ValueError(f"{model} has no training recipe here: load published weights by path")
    recipe = replace(entry.recipe, epochs=epochs or entry.recipe.epochs)
    entry = replace(entry, recipe=recipe)
    sets = data_named(home, train=True), data_named(home)
    console = Console(stderr=True)
    reached = 0.0
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task(f"{model} on {home}", total=recipe.epochs)

        def epoch(number: int, loss: float, accuracy: float) -> None:
            nonlocal reached
            reached = accuracy
            bar.update(task, completed=number)
            bar.console.print(f"epoch {number}: loss {loss:.4f}, test accuracy {accuracy:.2%}")

        module = fit(entry, sets, seed, epoch)
    path = save_weights(module, entry.name, home)
    n = len(sets[1].labels)
    print(f"test accuracy {wilson(round(reached * n), n)} on {n:,} images")
    print(f"weights: {path}")
