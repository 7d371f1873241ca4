"""What a report shows of each experiment; the names are parts of file names."""

TABLE_NAMES = ("accuracy", "membership", "closeness", "per_class", "paired", "cost")
FIGURE_NAMES = ("equal_forgetting", "choices", "tradeoff", "trajectories", "g_effect", "orthogonality")

# Notebooks that the DAG runs, with their titles.
NOTEBOOKS = {
    "geometry": "The geometry of mean and of per-sample projection",
    "cell": "One table cell, down to its gradients",
}

# The audit page, its tables, and the experiment that switches on the deviations of the public code copy one by one.
AUDIT = "audit"
AUDIT_PAGE = f"{AUDIT}.html"
AUDIT_TABLE_NAMES = ("checks", "claims", "ledger", "substitutes", "first_step")
DEVIATIONS = "T-DEV"
