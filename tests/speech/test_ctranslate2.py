"""The reader on files that are written here byte by byte, and the conversion on a random model written in that form."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from orthograd.speech.conversion import convert_weights
from orthograd.speech.ctranslate2 import ModelFile, read_model_file

CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _variable(name: str, value: np.ndarray, code: int | None = None, size: int | None = None) -> bytes:
    head = _text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
    code = CODES[value.dtype.name] if code is None else code
    return head + struct.pack("<BI", code, value.nbytes if size is None else size) + value.tobytes()


def _file(*variables: bytes, aliases: dict[str, str] | None = None, form: int = 6) -> bytes:
    pairs = [_text(alias) + _text(name) for alias, name in (aliases or {}).items()]
    head = struct.pack("<I", form) + _text("TestSpec") + struct.pack("<II", 3, len(variables))
    return head + b"".join(variables) + struct.pack("<I", len(pairs)) + b"".join(pairs)


def _read(tmp_path: Path, content: bytes) -> ModelFile:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return read_model_file(path)


SMALL = _variable("x", np.zeros(2, np.float32))


def test_every_type_and_shape(tmp_path: Path) -> None:
    values = {
        "matrix": np.arange(6, dtype=np.float16).reshape(2, 3) / 4,
        "vector": np.array([1.5, -2.25], np.float32),
        "flag": np.array(1, np.int8),
        "heads": np.array(-6, np.int16),
        "many/sizes": np.arange(-4, 4, dtype=np.int32).reshape(2, 2, 2),
    }
    content = _file(*(_variable(name, value) for name, value in values.items()), aliases={"tied": "matrix"})
    found = _read(tmp_path, content)
    assert (found.specification, found.revision, found.aliases) == ("TestSpec", 3, {"tied": "matrix"})
    assert list(found.variables) == list(values)
    for name, value in values.items():
        assert found.variables[name].dtype == value.dtype
        np.testing.assert_array_equal(found.variables[name], value)


def test_bytes_written_by_hand(tmp_path: Path) -> None:
    content = bytes.fromhex(
        "06000000 0200 5300 01000000 01000000"  # format 6, "S", revision 1, one variable:
        "0200 6100 02 01000000 02000000 04 04000000 003c 00c0"  # "a", 1 × 2, float16, 4 bytes: 1 and -2
        "00000000"
    )
    np.testing.assert_array_equal(_read(tmp_path, content).variables["a"], [[1.0, -2.0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_file(SMALL, form=5), "format 5, but only format 6"),
        (_file(SMALL)[:-5], "breaks off at byte"),
        (_file(SMALL)[:20], "breaks off at byte 20"),
        (_file(SMALL) + b"\0\0", "goes on for 2 bytes"),
        (_file(_variable("x", np.zeros(2, np.float32), code=9)), "unknown data type 9"),
        (_file(_variable("x", np.zeros(2, np.float32), size=4)), "has 4 bytes"),
        (_file(SMALL, SMALL), "variable 'x' twice"),
        (_file(SMALL, aliases={"y": "z"}), r"does not have: \['z'\]"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, content)


def _as_ctranslate2(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The weights of the `tiny` model with CTranslate2's names and joint matrices."""
    left = dict(state)
    found: dict[str, torch.Tensor] = {}

    def move(target: str, *sources: str) -> None:
        for kind in ("weight", "bias"):
            parts = []
            for source in sources:
                zero = (
                    torch.zeros(8, dtype=torch.float64)
                    if source.endswith("k_proj") and kind == "bias"
                    else None
                )
                parts.append(left.pop(f"{source}.{kind}") if zero is None else zero)
            found[f"{target}/{kind}"] = torch.cat(parts)

    def norm(target: str, source: str) -> None:
        found[f"{target}/layer_norm/gamma"] = left.pop(f"{source}.weight")
        found[f"{target}/layer_norm/beta"] = left.pop(f"{source}.bias")

    for part in ("encoder", "decoder"):
        for number in range(2):
            hf, ct = f"model.{part}.layers.{number}", f"{part}/layer_{number}"
            attention = f"{hf}.self_attn"
            names = [f"{attention}.{name}_proj" for name in "qkv"]
            move(f"{ct}/self_attention/linear_0", *names)
            move(f"{ct}/self_attention/linear_1", f"{attention}.out_proj")
            norm(f"{ct}/self_attention", f"{attention}_layer_norm")
            if part == "decoder":
                attention = f"{hf}.encoder_attn"
                move(f"{ct}/attention/linear_0", f"{attention}.q_proj")
                move(f"{ct}/attention/linear_1", f"{attention}.k_proj", f"{attention}.v_proj")
                move(f"{ct}/attention/linear_2", f"{attention}.out_proj")
                norm(f"{ct}/attention", f"{attention}_layer_norm")
            norm(f"{ct}/ffn", f"{hf}.final_layer_norm")
            move(f"{ct}/ffn/linear_0", f"{hf}.fc1")
            move(f"{ct}/ffn/linear_1", f"{hf}.fc2")
        norm(part, f"model.{part}.layer_norm")
        found[f"{part}/position_encodings/encodings"] = left.pop(f"model.{part}.embed_positions.weight")
    move("encoder/conv1", "model.encoder.conv1")
    move("encoder/conv2", "model.encoder.conv2")
    found["decoder/embeddings/weight"] = left.pop("model.decoder.embed_tokens.weight")
    assert set(left) == {"proj_out.weight"}
    values = {name: value.detach().numpy().astype(np.float32) for name, value in found.items()}
    scalars = {
        "activation": 3,
        "alibi": 0,
        "pre_norm": 1,
        "scale_embeddings": 0,
        "start_from_zero_embedding": 0,
    }
    values |= {f"decoder/{name}": np.array(value, np.int8) for name, value in scalars.items()}
    values |= {f"{part}/num_heads": np.array(2, np.int16) for part in ("encoder", "decoder")}
    return values | {
        "decoder/alignment_heads": np.array(1, np.int16),
        "decoder/alignment_layer": np.array(-1, np.int16),
    }


@pytest.fixture
def source(tiny) -> ModelFile:
    for name, parameter in tiny.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)  # they start at zero, where a mix-up would not show
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    return ModelFile("WhisperSpec", 3, _as_ctranslate2(tiny.state_dict()), aliases)


def test_conversion_gives_back_the_model_and_its_sizes(tiny, source: ModelFile) -> None:
    weights, sizes = convert_weights(source)
    expected = {name: value.float() for name, value in tiny.state_dict().items() if name != "proj_out.weight"}
    assert set(weights) == set(expected)
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name
    assert sizes == {name: getattr(tiny.config, name) for name in sizes}
    assert len(sizes) == 11


def _without(source: ModelFile) -> None:
    del source.variables["decoder/layer_1/attention/linear_1/bias"]


def _with(source: ModelFile) -> None:
    source.variables["decoder/extra"] = np.zeros(1)


def _key_bias(source: ModelFile) -> None:
    source.variables["encoder/layer_0/self_attention/linear_0/bias"][9] = 1.0


def _activation(source: ModelFile) -> None:
    source.variables["decoder/activation"] = np.array(0, np.int8)


def _not_tied(source: ModelFile) -> None:
    source.aliases.clear()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without, r"no variable 'decoder/layer_1/attention/linear_1/bias'"),
        (_with, r"no known use: \['decoder/extra'\]"),
        (_key_bias, r"encoder/layer_0/self_attention/linear_0: the keys have a bias"),
        (_activation, r"decoder/activation = 0, expected 3"),
        (_not_tied, r"has the aliases \{\}"),
    ],
)
def test_other_models_are_refused(source: ModelFile, spoil, message: str) -> None:
    spoil(source)
    with pytest.raises(ValueError, match=message):
        convert_weights(source)


def test_other_specification_is_refused() -> None:
    with pytest.raises(ValueError, match=r"TransformerSpec revision 7, expected WhisperSpec revision 3"):
        convert_weights(ModelFile("TransformerSpec", 7, {}, {}))


def test_pretrained_model_has_the_published_sizes(pretrained_folder: Path) -> None:
    config = json.loads((pretrained_folder / "config.json").read_text(encoding="utf-8"))
    # Radford et al. 2022, table 1 (tiny), and the vocabulary of the English-only models.
    assert [
        config[key] for key in ("encoder_layers", "decoder_layers", "d_model", "encoder_attention_heads")
    ] == [4, 4, 384, 6]
    assert config["vocab_size"] == 51_864
