"""How ESPnet comes to know the model: the only wing that touches its class tables."""
