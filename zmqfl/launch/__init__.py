"""The launch floor: from a topology to processes."""
