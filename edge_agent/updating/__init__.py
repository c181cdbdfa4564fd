"""Updates of a device: its own short process, never part of the running agent."""
