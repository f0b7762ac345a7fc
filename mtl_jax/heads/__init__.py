"""Heads: features ─► features or predictions."""
