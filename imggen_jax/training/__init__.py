"""The life of a run: build, train, save, log, report."""
