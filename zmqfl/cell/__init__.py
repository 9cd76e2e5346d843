"""The cell floor: what a user holds."""
