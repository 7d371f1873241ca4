"""Read the model file of CTranslate2 (``model.bin``), without CTranslate2.

The file, in little-endian order (format 6 of https://github.com/OpenNMT/CTranslate2): u32 format; text: name of the
specification; u32 its revision; u32 number of variables, and for each: text name, u8 rank, u32 of each dimension,
u8 data type, u32 bytes, data; u32 number of aliases, and for each: text alias, text variable. A text is its length
with a closing zero byte as u16, then its bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORMAT = 6
_DTYPES: Mapping[int, np.dtype] = {
    0: np.dtype("<f4"),
    1: np.dtype("i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}


@dataclass(frozen=True)
class ModelFile:
    """A model file: arrays by variable name, and the variable that each alias stands for."""

    specification: str
    revision: int
    variables: dict[str, np.ndarray]
    aliases: dict[str, str]


class _Reader:
    def __init__(self, content: bytes, name: str) -> None:
        self._content, self._name, self._at = content, name, 0

    def take(self, size: int) -> bytes:
        taken = self._content[self._at : self._at + size]
        if len(taken) < size:
            raise ValueError(f"{self._name} breaks off at byte {len(self._content)}: fetch the file again")
        self._at += size
        return taken

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode("utf-8")

    @property
    def left(self) -> int:
        return len(self._content) - self._at


def read_model_file(path: Path) -> ModelFile:
    """Read all variables of a model file.

    Raises:
        ValueError: the file breaks off, goes on after its end, or has another format, an unknown data type, or sizes
            that do not agree.
    """
    reader = _Reader(path.read_bytes(), str(path))
    if (found := reader.number("I")) != FORMAT:
        raise ValueError(
            f"{path} has format {found}, but only format {FORMAT} of CTranslate2's files is known here"
        )
    specification, revision = reader.text(), reader.number("I")
    variables: dict[str, np.ndarray] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = tuple(reader.number("I") for _ in range(reader.number("B")))
        code, size = reader.number("B"), reader.number("I")
        if code not in _DTYPES:
            raise ValueError(
                f"{path}: variable {name!r} has the unknown data type {code}; known: {sorted(_DTYPES)}"
            )
        dtype = _DTYPES[code]
        if size != math.prod(shape) * dtype.itemsize:
            raise ValueError(
                f"{path}: variable {name!r} has {size} bytes for {shape} values of {dtype.itemsize} bytes"
            )
        if name in variables:
            raise ValueError(f"{path} has the variable {name!r} twice")
        variables[name] = np.frombuffer(reader.take(size), dtype).reshape(shape)
    aliases = {reader.text(): reader.text() for _ in range(reader.number("I"))}
    if reader.left:
        raise ValueError(f"{path} goes on for {reader.left} bytes after its end: fetch the file again")
    unknown = sorted(set(aliases.values()) - set(variables))
    if unknown:
        raise ValueError(f"{path} has aliases of variables that it does not have: {unknown}")
    return ModelFile(specification, revision, variables, aliases)
