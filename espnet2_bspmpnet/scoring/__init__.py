"""Folders of recordings in, scores and tables out."""
