"""The networks: one autoencoder, several side by side, and the blueprint that each is built from."""
