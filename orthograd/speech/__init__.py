"""Speech: corpora in LibriSpeech layout, synthetic speech, Whisper, transcription and its errors.

Importing this package does not import torch.
"""
