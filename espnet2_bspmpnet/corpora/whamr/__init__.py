"""WHAMR!, generated from WSJ0 and the WHAM! noise, or found on disk."""
