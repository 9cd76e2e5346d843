"""The protocol floor: machines without I/O."""
