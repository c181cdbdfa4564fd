"""The laboratory: from recordings to a bundle that the agent may run."""
