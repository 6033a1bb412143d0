"""Self-supervised models: architectures, layers, pretrained weights."""
