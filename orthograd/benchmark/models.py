"""The workloads: a model in evaluation mode, its per-sample loss, and a maker of random batches.

Weights and data are random: what a step costs does not depend on them. The one exception is the engine's refinement,
which runs where the gradients are ill-conditioned; `run` records whether it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from orthograd.engine.batches import Batch

IMAGE = 32
CLASSES = 10


@dataclass
class Workload:
    """A model and what goes through it.

    Attributes:
        model: in evaluation mode, float32.
        loss_fn: ``loss_fn(model, batch) -> losses`` of shape (n,). It calls `model` and reads nothing else of it.
        batch: n -> a batch of n random samples (torch's global generator).
    """

    model: nn.Module
    loss_fn: Callable[[Any, Batch], Tensor]
    batch: Callable[[int], Batch]

    def to(self, device: torch.device) -> Workload:
        """The same workload on a device; its batches are drawn on the CPU and moved."""
        from orthograd.engine.batches import tree_map

        def batch(count: int) -> Batch:
            return tree_map(lambda leaf: leaf.to(device), self.batch(count))

        return Workload(self.model.to(device), self.loss_fn, batch)


def _classifier_loss(model: Any, batch: Batch) -> Tensor:
    from torch.nn import functional as F

    images, labels = batch
    return F.cross_entropy(model(images), labels, reduction="none")


def _images(count: int) -> Batch:
    import torch

    return torch.randn(count, 3, IMAGE, IMAGE), torch.randint(CLASSES, (count,))


def _classifier(model: nn.Module) -> Workload:
    """Evaluation mode, with the statistics of random images in the BatchNorm layers as training would leave them."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(_images(32)[0])
    return Workload(model.eval(), _classifier_loss, _images)


def _small_resnet() -> Workload:
    from orthograd import models

    return _classifier(models.build("small-resnet", 3, IMAGE, CLASSES))


def _resnet18() -> Workload:
    from orthograd import models

    return _classifier(models.build("resnet18", 3, IMAGE, CLASSES))


def _vit_tiny() -> Workload:
    """ViT of the size called Tiny (Touvron et al. 2021, Table 1), on patches of 4×4: 65 positions."""
    import torch
    from torchvision.models import VisionTransformer

    model = VisionTransformer(
        image_size=IMAGE,
        patch_size=4,
        num_layers=12,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=CLASSES,
    )
    # torchvision starts the head at zero, which would stop the gradient of everything below it.
    torch.nn.init.normal_(model.heads.head.weight, std=192**-0.5)
    return _classifier(model)


TOKENS = 24
"""Tokens of a transcript, as many as a short utterance has."""


def _whisper_lora() -> Workload:
    """Whisper with the published sizes of tiny.en, random weights, and LoRA of rank 8 on the decoder's attention.

    The encoder is frozen, so its output is computed once per utterance and kept, as a user would: a sample is 1500
    states of 384 numbers (30 s of audio) and its tokens. Running the encoder in every step would add the same time to
    every contender and make all ratios look better than they are.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional as F
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=51864,
        num_mel_bins=80,
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        max_source_positions=1500,
        max_target_positions=448,
    )
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=r".*decoder.*(q_proj|k_proj|v_proj|out_proj)")
    model = get_peft_model(WhisperForConditionalGeneration(config), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # PEFT starts it at zero, which would stop the gradient of lora_A
            torch.nn.init.normal_(parameter, std=0.02)

    def loss_fn(model: Any, batch: Batch) -> Tensor:
        states, tokens = batch
        logits = model(encoder_outputs=(states,), decoder_input_ids=tokens[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)

    def batch(count: int) -> Batch:
        return torch.randn(count, 1500, 384), torch.randint(50000, (count, TOKENS))

    return Workload(model.eval(), loss_fn, batch)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "small-resnet": _small_resnet,
    "resnet18": _resnet18,
    "vit-tiny": _vit_tiny,
    "whisper-tiny-lora": _whisper_lora,
}
"""Makers of the workloads by name; torch's global generator draws the weights."""

LABELS = {
    "small-resnet": "Small ResNet",
    "resnet18": "ResNet-18",
    "vit-tiny": "ViT-Tiny",
    "whisper-tiny-lora": "Whisper-Tiny, LoRA",
}
