"""Training: the skorch net, its steps and state, optimisers, and the rules behind ``"auto"``."""
