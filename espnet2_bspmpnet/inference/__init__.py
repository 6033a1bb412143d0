"""Enhancing recordings with a trained model."""
