"""Turn a Whisper model in CTranslate2's format into one of Hugging Face transformers.

CTranslate2 holds the projections of self-attention in one matrix (queries, keys, values) and those of
cross-attention in
two (queries; keys and values). Whisper's keys have no bias, so that its part of the joint bias is zero.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orthograd.speech.ctranslate2 import ModelFile, read_model_file

if TYPE_CHECKING:
    import torch
    from transformers import WhisperForConditionalGeneration

# What the model has to be for the mapping below to be right: value by variable.
_EXPECTED = {
    "decoder/activation": 3,  # GELU, the exact one
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
    # Only for the alignment of words with time.
    "decoder/alignment_heads": 1,
    "decoder/alignment_layer": -1,
}
_TIED = {"decoder/projection/weight": "decoder/embeddings/weight"}


class _Conversion:
    """Takes every variable once, and notes under which name."""

    def __init__(self, source: ModelFile) -> None:
        self.left = dict(source.variables)
        self.state: dict[str, np.ndarray] = {}

    def take(self, name: str) -> np.ndarray:
        try:
            return self.left.pop(name)
        except KeyError:
            raise ValueError(f"the model file has no variable {name!r}: it is not a Whisper model") from None

    def copy(self, source: str, target: str) -> None:
        self.state[target] = self.take(source)

    def norm(self, source: str, target: str) -> None:
        self.copy(f"{source}/layer_norm/gamma", f"{target}.weight")
        self.copy(f"{source}/layer_norm/beta", f"{target}.bias")

    def linear(self, source: str, target: str) -> None:
        self.copy(f"{source}/weight", f"{target}.weight")
        self.copy(f"{source}/bias", f"{target}.bias")

    def split(self, source: str, target: str, parts: list[str]) -> None:
        weights = np.split(self.take(f"{source}/weight"), len(parts))
        biases = np.split(self.take(f"{source}/bias"), len(parts))
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            self.state[f"{target}.{part}.weight"] = weight
            if part != "k_proj":
                self.state[f"{target}.{part}.bias"] = bias
            elif bias.any():
                raise ValueError(f"{source}: the keys have a bias, which a Whisper model has not")

    def layer(self, source: str, target: str, cross: bool) -> None:
        self.norm(f"{source}/self_attention", f"{target}.self_attn_layer_norm")
        self.split(f"{source}/self_attention/linear_0", f"{target}.self_attn", ["q_proj", "k_proj", "v_proj"])
        self.linear(f"{source}/self_attention/linear_1", f"{target}.self_attn.out_proj")
        if cross:
            self.norm(f"{source}/attention", f"{target}.encoder_attn_layer_norm")
            self.linear(f"{source}/attention/linear_0", f"{target}.encoder_attn.q_proj")
            self.split(f"{source}/attention/linear_1", f"{target}.encoder_attn", ["k_proj", "v_proj"])
            self.linear(f"{source}/attention/linear_2", f"{target}.encoder_attn.out_proj")
        self.norm(f"{source}/ffn", f"{target}.final_layer_norm")
        self.linear(f"{source}/ffn/linear_0", f"{target}.fc1")
        self.linear(f"{source}/ffn/linear_1", f"{target}.fc2")


def convert_weights(source: ModelFile) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """The weights under the names of `WhisperForConditionalGeneration`, in float32, and the sizes of its config.

    Raises:
        ValueError: a variable is missing, is not mapped, or has a value that a Whisper model has not.
    """
    import torch

    if (source.specification, source.revision) != ("WhisperSpec", 3):
        raise ValueError(
            f"the model file holds {source.specification} revision {source.revision}, expected WhisperSpec revision 3"
        )
    if source.aliases != _TIED:
        raise ValueError(f"the model file has the aliases {source.aliases}, expected {_TIED}")
    conversion = _Conversion(source)
    for name, expected in _EXPECTED.items():
        if (value := int(conversion.take(name))) != expected:
            raise ValueError(f"the model file has {name} = {value}, expected {expected}")
    sizes: dict[str, int] = {}
    for part in ("encoder", "decoder"):
        sizes[f"{part}_attention_heads"] = int(conversion.take(f"{part}/num_heads"))
        layers = len(
            {name.split("/")[1] for name in conversion.left if name.startswith(f"{part}/layer_")}
            - {"layer_norm"}
        )
        sizes[f"{part}_layers"] = layers
        for number in range(layers):
            conversion.layer(
                f"{part}/layer_{number}", f"model.{part}.layers.{number}", cross=part == "decoder"
            )
        conversion.norm(part, f"model.{part}.layer_norm")
        conversion.copy(f"{part}/position_encodings/encodings", f"model.{part}.embed_positions.weight")
        sizes[f"{part}_ffn_dim"] = len(conversion.state[f"model.{part}.layers.0.fc1.weight"])
    for name in ("conv1", "conv2"):
        conversion.linear(f"encoder/{name}", f"model.encoder.{name}")
    conversion.copy("decoder/embeddings/weight", "model.decoder.embed_tokens.weight")
    if conversion.left:
        raise ValueError(f"the model file has variables of no known use: {sorted(conversion.left)}")
    state = conversion.state
    sizes["vocab_size"], sizes["d_model"] = state["model.decoder.embed_tokens.weight"].shape
    sizes["num_mel_bins"] = state["model.encoder.conv1.weight"].shape[1]
    sizes["max_source_positions"] = len(state["model.encoder.embed_positions.weight"])
    sizes["max_target_positions"] = len(state["model.decoder.embed_positions.weight"])
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in state.items()}
    return tensors, sizes


def convert(folder: Path) -> WhisperForConditionalGeneration:
    """The English-only model of a folder with ``model.bin``, ``config.json`` and ``tokenizer.json``, in float32.

    Raises:
        ValueError: as `convert_weights`; or a key of the Hugging Face model has no counterpart.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    weights, sizes = convert_weights(read_model_file(folder / "model.bin"))
    listed = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = {
        "bos_token_id": tokenizer.token_to_id("<|startoftranscript|>"),
        "decoder_start_token_id": tokenizer.token_to_id("<|startoftranscript|>"),
        "eos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
    }
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **tokens))
    # Tied to the embedding of the tokens.
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if missing or unexpected:
        raise ValueError(f"the weights do not fit the model: missing {missing}, not known {unexpected}")
    model.tie_weights()
    model.generation_config = GenerationConfig(
        **tokens,
        is_multilingual=False,
        no_timestamps_token_id=tokenizer.token_to_id("<|notimestamps|>"),
        return_timestamps=False,
        begin_suppress_tokens=listed["suppress_ids_begin"],
        suppress_tokens=listed["suppress_ids"],
        max_length=sizes["max_target_positions"],
    )
    return model.eval()
