"""A fleet in one folder: layers, inventory, checks and rendered configurations; office only."""
