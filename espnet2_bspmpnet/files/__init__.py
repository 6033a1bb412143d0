"""Files written whole, worker processes, downloads, archives, checkpoints."""
