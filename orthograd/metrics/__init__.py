"""The metrics of unlearning, each from its definition. Accuracies are fractions in [0, 1], losses are in nats."""
