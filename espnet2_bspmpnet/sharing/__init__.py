"""Packed models: model cards, the Hugging Face hub."""
