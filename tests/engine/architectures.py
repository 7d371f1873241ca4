"""Models, losses and data on which the engine is held against the oracle."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Case:
    """A model with a loss function and a maker of batches of n samples, and how many fallbacks are
    expected."""

    model: nn.Module
    loss_fn: Callable
    batch: Callable[[int], object]
    has_fallback: bool = False


def sum_loss(model, batch):
    """A loss that is not linear in the output, for any output shape and any inputs."""
    out = model(*batch)
    return out.flatten(1).sin().sum(1) + out.flatten(1).square().mean(1)


def classifier_loss(model, batch):
    inputs, labels = batch
    return F.cross_entropy(model(inputs), labels, reduction="none")


def spread(model):
    """Parameters of order one and away from special values such as zero biases, and norms with statistics."""
    for name, p in model.named_parameters():
        scale = 1 / math.sqrt(p[0].numel()) if p.dim() > 1 and p.numel() else 0.3
        nn.init.normal_(p, mean=1.0 if p.dim() == 1 and "weight" in name else 0.0, std=scale)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer)
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return model.double().eval()


def floats(*shape):
    return lambda n: (torch.randn(n, *shape, dtype=torch.float64),)


def tokens(length, vocabulary):
    return lambda n: (torch.randint(0, vocabulary, (n, length)),)


def images(channels, size, classes):
    return lambda n: (
        torch.randn(n, channels, size, size, dtype=torch.float64),
        torch.randint(0, classes, (n,)),
    )


class Twice(nn.Module):
    """One layer called twice, on different numbers of positions."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.conv = nn.Conv1d(3, 3, 2, padding="same")

    def forward(self, x):
        x = self.layer(torch.tanh(self.layer(x)))
        return self.conv(torch.tanh(self.conv(x)))


class Tied(nn.Module):
    """A language model whose head is the embedding, as a function or as a layer with the same weight."""

    def __init__(self, functional):
        super().__init__()
        self.embed = nn.Embedding(11, 5, padding_idx=2)
        self.body = nn.Linear(5, 5)
        self.functional = functional
        if not functional:
            self.head = nn.Linear(5, 11, bias=False)
            self.head.weight = self.embed.weight

    def forward(self, x):
        hidden = torch.tanh(self.body(self.embed(x)))
        return F.linear(hidden, self.embed.weight) if self.functional else self.head(hidden)


class Scale(nn.Module):
    """A layer that no formula knows."""

    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))
        self.mix = nn.Parameter(torch.ones(size, size))

    def forward(self, x):
        return torch.sin(x * self.scale) @ self.mix


class LooksAtValues(Scale):
    """The same with control flow that vmap cannot run."""

    def forward(self, x):
        return super().forward(x) if bool((x.sum() < 1e9).item()) else x


class Positions(nn.Module):
    """Parameters that are broadcast over the samples: a class token and a table of positions; and one that is
    not."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.table = nn.Parameter(torch.ones(7, 4))
        self.shift = nn.Parameter(torch.ones(4))
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return self.layer(torch.tanh(x + self.table) + self.shift)


class Attention(nn.Module):
    """nn.MultiheadAttention, with the samples in dimension 0 or 1."""

    def __init__(self, batch_first):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.batch_first = batch_first
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.attention(x, x, x)[0]
        return self.head(x if self.batch_first else x.transpose(0, 1))


class Functional(nn.Module):
    """A parameter that the model itself reads, on which nothing but the whole model depends."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.ones(3, 4))

    def forward(self, x):
        return F.linear(torch.tanh(self.layer(x)), self.weight)


class Scalars(nn.Module):
    """Parameters without a dimension, one as a factor and one that is added."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.scale, self.shift = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return torch.tanh(self.layer(x) * self.scale) + self.shift


class ByKeyword(nn.Module):
    """Layers that are called with names for their arguments."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.RMSNorm(4)

    def forward(self, x):
        return self.norm(x=self.layer(input=x))


class NoGradient(torch.autograd.Function):
    """Hands nothing back."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None


class Stopped(nn.Module):
    """Parameters of all kinds in a part from which no gradient comes back."""

    def __init__(self):
        super().__init__()
        self.layer, self.stopped, self.unknown = nn.Linear(4, 3), nn.Linear(4, 3), Scale(3)
        self.shift = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return torch.tanh(self.layer(x)) + NoGradient.apply(self.unknown(self.stopped(x) + self.shift))


class Empty(nn.Module):
    """A layer without outputs: its weight has no entries."""

    def __init__(self):
        super().__init__()
        self.layer, self.none = nn.Linear(4, 3), nn.Linear(4, 0)

    def forward(self, x):
        return torch.cat([self.layer(x), self.none(x)], dim=1)


def patched():
    model = spread(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    model[0].forward = MethodType(lambda self, x: F.linear(2 * x, self.weight, self.bias), model[0])
    model[2].register_forward_hook(lambda module, args, output: output + args[0].sum(1, keepdim=True))
    return Case(model, sum_loss, floats(4), has_fallback=True)


class Masked(nn.Module):
    """Attention with a mask of shape (positions, positions), or one for every sample and head."""

    def __init__(self, each):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)
        self.each = each

    def forward(self, x):
        mask = torch.full((x.shape[1], x.shape[1]), -1e9, dtype=x.dtype).triu(1)
        if self.each:
            mask = mask.expand(2 * len(x), -1, -1)
        return self.head(self.attention(x, x, x, attn_mask=mask)[0])


class States(nn.Module):
    """The last state of a recurrent network, which has its samples in dimension 1."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.GRU(3, 2, num_layers=2, batch_first=True), nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.recurrent(x)[1].transpose(0, 1))


class Counting(Scale):
    """Changes a buffer in each call."""

    def __init__(self, size):
        super().__init__(size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return super().forward(x)


class Numbered(nn.Module):
    """A language model with a table of positions that is looked up by number: an input without samples."""

    def __init__(self, positions):
        super().__init__()
        self.embed, self.position = nn.Embedding(7, 4), nn.Embedding(positions, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.embed(x) + self.position(torch.arange(x.shape[1]))))


class SequenceFirst(nn.Module):
    """Layers that have the positions in the leading dimension, and the samples after."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x.transpose(0, 1)))).transpose(0, 1)


class Prototypes(nn.Module):
    """Compares samples with a table of classes that goes through a layer of its own."""

    def __init__(self, classes):
        super().__init__()
        self.embed, self.project = nn.Linear(4, 3), nn.Linear(6, 3)
        self.register_buffer("table", torch.randn(classes, 6))

    def forward(self, x):
        return self.embed(x) @ self.project(self.table).T


def conv(kind, *args, inputs, **kwargs):
    layer = kind(*args, **kwargs)
    return Case(spread(nn.Sequential(layer)), sum_loss, floats(*inputs))


def resnet18():
    import torchvision

    return Case(
        spread(torchvision.models.resnet18(num_classes=4, width_per_group=64)),
        classifier_loss,
        images(3, 8, 4),
    )


def vit():
    import torchvision

    model = torchvision.models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=4
    )
    return Case(spread(model), classifier_loss, images(3, 8, 4), has_fallback=True)


def small_vit():
    from orthograd import models

    model = models.build("small-vit", 1, 28, 10)
    return Case(spread(model), classifier_loss, images(1, 28, 10), has_fallback=True)


def huggingface_vit():
    """The bias of its keys has a zero gradient: attention does not see a shift of all keys."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        image_size=8,
        patch_size=4,
        num_labels=4,
    )

    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]).logits, batch[1], reduction="none")

    return Case(spread(ViTForImageClassification(config)), loss_fn, images(3, 8, 4))


def whisper_model():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=24,
        num_mel_bins=4,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=12,
        decoder_ffn_dim=12,
        max_source_positions=6,
        max_target_positions=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return WhisperForConditionalGeneration(config)


def whisper_loss(model, batch):
    features, labels = batch
    logits = model(input_features=features, decoder_input_ids=labels[:, :-1]).logits
    return F.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none").mean(1)


def whisper_batch(n):
    return torch.randn(n, 4, 12, dtype=torch.float64), torch.randint(4, 24, (n, 6))


def whisper():
    return Case(spread(whisper_model()), whisper_loss, whisper_batch, has_fallback=True)


def lora(model, targets):
    from peft import LoraConfig, get_peft_model

    return spread(get_peft_model(model, LoraConfig(r=2, target_modules=targets, lora_dropout=0.0)))


def whisper_lora():
    return Case(lora(whisper_model(), ["q_proj", "v_proj", "fc1"]), whisper_loss, whisper_batch)


def resnet18_lora():
    import torchvision

    model = torchvision.models.resnet18(num_classes=4)
    return Case(lora(model, ["conv1", "fc"]), classifier_loss, images(3, 8, 4))


def vit_lora():
    import torchvision

    model = torchvision.models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=4
    )
    return Case(lora(model, ["mlp.0", "mlp.3", "heads.head"]), classifier_loss, images(3, 8, 4))


def norm(layer, *inputs):
    return Case(spread(nn.Sequential(layer)), sum_loss, floats(*inputs))


def frozen_part():
    model = spread(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return Case(model, sum_loss, floats(5))


class InPlace(nn.Module):
    """Activations and sums in place, as in torchvision's residual blocks."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 3)
        self.skip = nn.Conv2d(2, 3, 1)

    def forward(self, x):
        out = self.norm(self.conv(x))
        out += self.skip(x)
        return self.head(F.relu(out, inplace=True).mean((2, 3)))


CASES = {
    "linear": lambda: Case(spread(nn.Sequential(nn.Linear(5, 4))), sum_loss, floats(5)),
    "linear 4d": lambda: Case(spread(nn.Sequential(nn.Linear(5, 4, bias=False))), sum_loss, floats(2, 3, 5)),
    "conv1d": lambda: conv(nn.Conv1d, 3, 4, 3, stride=2, padding=1, dilation=2, inputs=(3, 11)),
    "conv1d circular": lambda: conv(nn.Conv1d, 3, 4, 3, padding=1, padding_mode="circular", inputs=(3, 7)),
    "conv1d same": lambda: conv(nn.Conv1d, 4, 4, 4, padding="same", groups=2, inputs=(4, 7)),
    "conv2d": lambda: conv(
        nn.Conv2d, 3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), inputs=(3, 6, 7)
    ),
    "conv2d same": lambda: conv(nn.Conv2d, 3, 4, (4, 3), padding="same", dilation=(1, 2), inputs=(3, 6, 7)),
    "conv2d valid": lambda: conv(nn.Conv2d, 3, 4, 2, padding="valid", bias=False, inputs=(3, 4, 4)),
    "conv2d reflect": lambda: conv(
        nn.Conv2d, 2, 3, 3, padding=(2, 1), padding_mode="reflect", inputs=(2, 5, 4)
    ),
    "conv2d groups": lambda: conv(nn.Conv2d, 6, 9, 3, groups=3, padding=1, inputs=(6, 4, 4)),
    "conv2d depthwise": lambda: conv(nn.Conv2d, 4, 8, 3, groups=4, inputs=(4, 5, 5)),
    "conv3d": lambda: conv(
        nn.Conv3d, 2, 4, (2, 3, 2), stride=(1, 2, 1), padding=1, groups=2, inputs=(2, 3, 4, 3)
    ),
    "conv3d same": lambda: conv(nn.Conv3d, 2, 3, 2, padding="same", inputs=(2, 3, 3, 3)),
    "embedding": lambda: Case(
        spread(nn.Sequential(nn.Embedding(9, 4, padding_idx=3), nn.Linear(4, 2))), sum_loss, tokens(5, 9)
    ),
    "layer norm": lambda: norm(nn.LayerNorm(5), 3, 5),
    "layer norm 2d": lambda: norm(nn.LayerNorm((3, 5)), 2, 3, 5),
    "rms norm": lambda: norm(nn.RMSNorm(5), 3, 5),
    "group norm": lambda: norm(nn.GroupNorm(2, 4), 4, 3, 3),
    "instance norm": lambda: norm(nn.InstanceNorm2d(3, affine=True), 3, 4, 4),
    "instance norm with statistics": lambda: norm(
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True), 3, 6
    ),
    "batch norm": lambda: norm(nn.BatchNorm2d(3), 3, 4, 4),
    "batch norm 1d": lambda: norm(nn.BatchNorm1d(5), 5),
    "bias without effect": lambda: Case(
        spread(nn.Sequential(nn.Conv2d(2, 3, 2), nn.InstanceNorm2d(3), nn.Tanh(), nn.Conv2d(3, 2, 1))),
        sum_loss,
        floats(2, 4, 4),
    ),
    "in place": lambda: Case(spread(InPlace()), sum_loss, floats(2, 4, 4)),
    "frozen part": frozen_part,
    "called twice": lambda: Case(spread(Twice()), sum_loss, floats(3, 4)),
    "tied layers": lambda: Case(spread(Tied(functional=False)), sum_loss, tokens(4, 11)),
    "tied by function": lambda: Case(
        spread(Tied(functional=True)), sum_loss, tokens(4, 11), has_fallback=True
    ),
    "unknown layer": lambda: Case(
        spread(nn.Sequential(nn.Linear(4, 3), Scale(3), nn.Linear(3, 2))),
        sum_loss,
        floats(4),
        has_fallback=True,
    ),
    "unknown layer twice": lambda: Case(
        spread(nn.Sequential(nn.Linear(4, 3), *[Scale(3)] * 2)), sum_loss, floats(2, 4), has_fallback=True
    ),
    "control flow": lambda: Case(spread(LooksAtValues(3)), sum_loss, floats(3), has_fallback=True),
    "scalar parameters": lambda: Case(spread(Scalars()), sum_loss, floats(4), has_fallback=True),
    "prelu": lambda: Case(
        spread(nn.Sequential(nn.Linear(4, 3), nn.PReLU(), nn.Linear(3, 2))),
        sum_loss,
        floats(4),
        has_fallback=True,
    ),
    "by keyword": lambda: Case(spread(ByKeyword()), sum_loss, floats(4)),
    "no gradient": lambda: Case(spread(Stopped()), sum_loss, floats(4), has_fallback=True),
    "empty parameters": lambda: Case(spread(Empty()), sum_loss, floats(4)),
    "patched forward and hooks": patched,
    "recurrent states": lambda: Case(spread(States()), sum_loss, floats(4, 3), has_fallback=True),
    "changing buffer": lambda: Case(spread(Counting(3)), sum_loss, floats(3), has_fallback=True),
    "numbered positions": lambda: Case(spread(Numbered(5)), sum_loss, tokens(5, 7), has_fallback=True),
    "sequence first": lambda: Case(spread(SequenceFirst()), sum_loss, floats(6, 4), has_fallback=True),
    "prototypes": lambda: Case(spread(Prototypes(5)), sum_loss, floats(4), has_fallback=True),
    "positions": lambda: Case(spread(Positions()), sum_loss, floats(6, 4)),
    "attention": lambda: Case(spread(Attention(batch_first=True)), sum_loss, floats(3, 4), has_fallback=True),
    "attention, samples second": lambda: Case(
        spread(Attention(batch_first=False)), sum_loss, floats(3, 4), has_fallback=True
    ),
    "masked attention": lambda: Case(spread(Masked(False)), sum_loss, floats(3, 4), has_fallback=True),
    "attention, mask by head": lambda: Case(spread(Masked(True)), sum_loss, floats(3, 4), has_fallback=True),
    "read by the model": lambda: Case(spread(Functional()), sum_loss, floats(2, 4), has_fallback=True),
    "resnet18": resnet18,
    "resnet18 lora": resnet18_lora,
    "vit": vit,
    "vit lora": vit_lora,
    "small vit": small_vit,
    "huggingface vit": huggingface_vit,
    "whisper": whisper,
    "whisper lora": whisper_lora,
}
