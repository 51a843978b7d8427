"""Weight files that others published: found on this machine, read without their frameworks, and checked."""
