"""Copies of scenes near to where they are read."""
