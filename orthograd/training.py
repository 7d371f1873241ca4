"""Training from scratch: the original model on the training set, the retrained ones without the forget set."""

from __future__ import annotations

import torch
from torch import nn
from tqdm import tqdm

from orthograd.data.samples import Samples
from orthograd.methods.base import loss as mean_loss
from orthograd.specs import Training


def train(model: nn.Module, samples: Samples, spec: Training, generator: torch.Generator) -> list[float]:
    """Train in place, and leave the model in evaluation mode.

    SGD with Nesterov momentum under a one-cycle learning rate (cosine, from 1/25 of the peak to 1e-4 of that); the
    last partial batch of an epoch is left out, so that batch normalisation never sees a handful of images.

    Args:
        model: maps images (n, C, H, W) to logits (n, classes).
        samples: the training images.
        spec: epochs, batch size and optimizer settings.
        generator: the order of the samples.

    Returns:
        The mean training loss of each epoch, in nats.

    Raises:
        ValueError: fewer samples than one batch.
        FloatingPointError: the loss is not finite.
    """
    steps = len(samples) // spec.batch_size
    if steps == 0:
        raise ValueError(
            f"{len(samples)} samples are less than one batch of {spec.batch_size}: lower batch_size"
        )
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        nesterov=spec.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        spec.learning_rate,
        total_steps=spec.epochs * steps,
        pct_start=spec.warmup,
        cycle_momentum=False,
    )
    batches = samples.batches(spec.batch_size, generator)
    history = []
    model.train()
    for epoch in tqdm(range(spec.epochs), desc="training", unit="epoch", mininterval=5):
        total = 0.0
        for _ in range(steps):
            images, labels = next(batches)
            optimizer.zero_grad()
            loss = mean_loss(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        history.append(total / steps)
        if not total < float("inf"):
            raise FloatingPointError(
                f"the training loss is {total / steps} in epoch {epoch + 1}: lower the model's learning_rate"
            )
    model.eval()
    return history
