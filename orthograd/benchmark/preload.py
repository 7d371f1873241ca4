"""Imported by the process that the cells are forked from: what every cell needs, so that none waits for imports."""

import importlib
import importlib.util

for package in ("torch", "torchvision.models", "peft", "opacus", "torchjd.autogram"):
    if importlib.util.find_spec(package.partition(".")[0]):
        importlib.import_module(package)
# transformers imports its models on first use.
importlib.import_module("transformers.models.whisper.modeling_whisper")
importlib.import_module("orthograd.engine")
