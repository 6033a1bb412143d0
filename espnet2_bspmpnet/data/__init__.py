"""Audio files, Kaldi-style data directories, and what stages 2 to 5 make of them."""
