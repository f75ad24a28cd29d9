"""The networks: one autoencoder, or several side by side."""
