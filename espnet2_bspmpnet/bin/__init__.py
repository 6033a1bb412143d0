"""ESPnet's own commands with BSP-MPNet registered: ``python -m espnet2_bspmpnet.bin.…``.

The package registers when it is imported, so a process that multi-GPU training spawns
registers too: it imports the main module again.
"""
