"""Data: registry, verified download, preparation, splits. Importing this package does not import torch."""
