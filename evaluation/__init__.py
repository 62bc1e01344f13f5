import harness  # noqa: F401  (settings of the process)
