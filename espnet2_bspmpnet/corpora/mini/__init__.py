"""The synthesised corpus of the demo: voices that read sentences, and noises."""
