"""Folders of recordings scored against clean speech, and the tables of their scores."""

# What speech is compared with: --reference of `bspmpnet score` -> in tables.
REFERENCES = {"clean": "clean speech", "pcs": "PCS of the clean speech"}
BOTH = "both"  # of them, each in a folder of its own
FOLDERS = {name: f"reference_{name}" for name in REFERENCES}
# What the references were called as values of --protocol, also in summary.json and folders.
OLD_REFERENCES = {"standard": "clean", "paper": "pcs"}
