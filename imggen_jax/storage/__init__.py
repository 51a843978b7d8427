"""What a run and a cache keep on disk: checkpoints, locks, files that are written whole, and cache folders."""
