"""Synthetic speech: a corpus in LibriSpeech's layout, spoken by the voices of flite and espeak-ng.

Each voice is a speaker. All sentences of the corpus are distinct, so that no sentence is in two splits or spoken
twice. The
same settings and the same versions of the synthesisers give the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from orthograd.data.download import DownloadError, unpack_programs
from orthograd.speech import sentences
from orthograd.speech.corpus import RATE, SPEAKERS, write_audio
from orthograd.speech.specs import Synthesis

NAME = "synthetic speech"
SUBSET = "synthetic-clean"
ORIGIN = "synthesis.json"
PROGRAMS = ("flite", "espeak-ng")  # each comes in the Debian package of its name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voice:
    """A speaker: the program, its voice, and for espeak-ng pitch (0 to 99) and speed (words a minute)."""

    speaker: int
    sex: Literal["F", "M"]
    program: str
    voice: str
    pitch: int | None = None
    speed: int | None = None

    @property
    def name(self) -> str:
        """What SPEAKERS.TXT calls the speaker."""
        return f"{NAME}: {self.program} {self.voice}"

    def command(self, output: Path) -> list[str]:
        """The command that reads a sentence from its input (espeak-ng) or from its last argument (flite)."""
        if self.program == "flite":
            return ["flite", "-voice", self.voice, "-o", str(output), "-t"]
        return [
            "espeak-ng",
            "-v",
            self.voice,
            "-p",
            str(self.pitch),
            "-s",
            str(self.speed),
            "-w",
            str(output),
            "--",
        ]


# Chosen by ear of the recogniser: of 26 voices tried, these are distinct and Whisper-Tiny.en understands most of each.
VOICES = (
    Voice(1, "M", "flite", "awb"),
    Voice(2, "M", "flite", "kal16"),
    Voice(3, "M", "flite", "rms"),
    Voice(4, "F", "flite", "slt"),
    Voice(5, "F", "espeak-ng", "en-us+f2", 55, 150),
    Voice(6, "M", "espeak-ng", "en-gb+m3", 30, 155),
    Voice(7, "M", "espeak-ng", "en-us+m8", 35, 145),
    Voice(8, "M", "espeak-ng", "en-us+klatt4", 50, 150),
    Voice(9, "M", "espeak-ng", "en-us+Diogo", 50, 150),
    Voice(10, "M", "espeak-ng", "en-us+Gene2", 50, 150),
    Voice(11, "F", "espeak-ng", "en-us+f5", 50, 150),
    Voice(12, "F", "espeak-ng", "en-us+steph", 60, 150),
)


@dataclass(frozen=True)
class Programs:
    """The synthesisers, with what their environment needs besides that of this process."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: Sequence[str], success: int = 0) -> str:
        """Run a synthesiser; give what it wrote.

        Raises:
            RuntimeError: the exit status is not `success`.
        """
        environment = os.environ | dict(self.environment)
        place = shutil.which(command[0], path=environment["PATH"])
        assert place is not None, "find_programs has looked for it"
        done = subprocess.run(
            [place, *command[1:]], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != success:
            raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip() or 'no message'}")
        return done.stdout + done.stderr


def find_programs(folder: Path) -> Programs:
    """The synthesisers: those on the PATH, else those that were unpacked below `folder`, else unpacked there now.

    Neither way needs root.

    Raises:
        DownloadError: they are neither here nor to be had; the message has the command that installs them.
    """
    if not (missing := [name for name in PROGRAMS if shutil.which(name) is None]):
        return Programs()
    root = folder / "root"
    if not all((root / "usr/bin" / name).exists() for name in PROGRAMS):
        logger.info("not on this machine: %s", " ".join(missing))
        root = unpack_programs(PROGRAMS, folder)
    root = root.resolve()
    libraries = sorted({str(path.parent) for path in root.rglob("*.so*")})
    # The package's documentation is in a folder of the same name; the table of phonemes is with the voices.
    voices = [path.parent for path in root.rglob("espeak-ng-data/phontab")]
    if not voices or not libraries:
        raise DownloadError(
            f"{root} holds no whole espeak-ng: remove the folder and run the same command again"
        )
    known = os.environ.get("LD_LIBRARY_PATH")
    return Programs(
        {
            "PATH": f"{root / 'usr/bin'}{os.pathsep}{os.environ['PATH']}",
            "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([known] if known else [])]),
            "ESPEAK_DATA_PATH": str(voices[0].parent),
        }
    )


def speak(voice: Voice, text: str, programs: Programs) -> np.ndarray:
    """A sentence as samples (n,), int16 at 16 kHz."""
    from scipy.signal import resample_poly

    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "spoken.wav"
        programs.run([*voice.command(output), text])
        samples, rate = soundfile.read(output, dtype="float64")
    if rate != RATE:
        common = np.gcd(rate, RATE)
        samples = resample_poly(samples, RATE // common, rate // common)
    return np.asarray(np.clip(np.rint(samples * 2**15), -(2**15), 2**15 - 1), dtype=np.int16)


def synthesise(spec: Synthesis, root: Path, programs: Programs, threads: int) -> None:
    """Write the corpus into `root`: SPEAKERS.TXT, the subset ``synthetic-clean``, and ``synthesis.json``.

    Args:
        spec: sentences of each voice, and their seed.
        root: folder to write; must not hold anything yet.
        programs: from `find_programs`.
        threads: synthesisers at work at once; changes no byte.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: there are not that many sentences.
    """
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty: remove it, or choose another folder")
    texts = sentences.draw(spec.sentences * len(VOICES), spec.seed)
    minutes = {}
    with ThreadPoolExecutor(threads) as pool:
        for number, voice in enumerate(VOICES):
            chapter = root / SUBSET / str(voice.speaker) / "1"
            chapter.mkdir(parents=True)
            own = texts[number * spec.sentences : (number + 1) * spec.sentences]
            spoken = pool.map(lambda text, voice=voice: speak(voice, text, programs), own)
            lines, samples = [], 0
            for index, (text, audio) in enumerate(zip(own, spoken, strict=True)):
                name = f"{voice.speaker}-1-{index:04d}"
                write_audio(chapter / f"{name}.flac", audio)
                lines.append(f"{name} {text.upper()}\n")
                samples += len(audio)
            (chapter / f"{voice.speaker}-1.trans.txt").write_text("".join(lines), encoding="utf-8")
            minutes[voice.speaker] = samples / RATE / 60
    rows = [
        f"{voice.speaker} | {voice.sex} | {SUBSET} | {minutes[voice.speaker]:.2f} | {voice.name}\n"
        for voice in VOICES
    ]
    header = (
        f"; {NAME} by flite and espeak-ng: no human being speaks here\n; ID | SEX | SUBSET | MINUTES | NAME\n"
    )
    (root / SPEAKERS).write_text(header + "".join(rows), encoding="utf-8")
    versions = {
        # flite tells its version and fails.
        "flite": programs.run(["flite", "--version"], success=1).split("version:")[-1].strip(),
        "espeak-ng": programs.run(["espeak-ng", "--version"]).split("  ")[0].strip(),
    }
    origin = {"name": NAME, **spec.model_dump(), "programs": versions}
    (root / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
