"""Corpora: a corpus on disk, synthesised or the user's own, to data directories."""
