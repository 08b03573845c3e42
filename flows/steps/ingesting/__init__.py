"""Scenes and rasters into the index: admission, quarantine, the thread of a harvest, and what the pixels say of the metadata."""
