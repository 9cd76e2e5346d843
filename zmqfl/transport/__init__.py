"""The transport floor: the only I/O."""
