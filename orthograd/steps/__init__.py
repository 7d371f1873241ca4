"""The steps of the pipeline: each module has `add_arguments(parser)` and `run(arguments)`."""
