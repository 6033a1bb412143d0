"""What happens while ESPnet trains: trainer, fine-tuning, configuration."""
