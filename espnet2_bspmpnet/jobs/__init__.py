"""The same N jobs on this machine or as a Slurm array, and the state of earlier runs."""
