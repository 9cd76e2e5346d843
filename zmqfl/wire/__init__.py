"""The wire floor: values to frames and back."""
