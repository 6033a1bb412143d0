"""ESPnet's seam: the separator and its loss."""
