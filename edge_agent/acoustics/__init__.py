"""The meter's arithmetic, by standard and clause."""
