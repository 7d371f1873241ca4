"""The benchmark of the engine: its time and memory beside everything that a user could take instead.

`models` holds the workloads, `contenders` one function for each way to compute the direction, `run` times every pair
of them in its own process, `accuracy` measures precision and alignment, `bars` holds the results against the
project's bars, and `page` shows all of it. `python -m orthograd bench` runs them in this order.
"""
