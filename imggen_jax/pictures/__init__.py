"""Pictures of any size and kind: files in, files out, with all that they had."""
