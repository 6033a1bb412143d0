"""An experiment as one page: its data, its figures, the page."""
