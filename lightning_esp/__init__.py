"""lightning_esp: from a PyTorch Lightning training run to a verified streaming model on an ESP32."""
