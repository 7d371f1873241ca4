"""What a report shows of each experiment; the names are parts of file names."""

TABLE_NAMES = ("accuracy", "membership", "closeness", "paired", "cost")
FIGURE_NAMES = ("equal_forgetting", "tradeoff", "trajectories", "orthogonality")
