"""The commands of `bspmpnet`: each calls one function; see `cli.py`."""
