"""The paper, block by block: torch modules that import nothing of ours from outside."""
