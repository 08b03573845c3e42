"""Scenes and rasters into the index: admission, quarantine, the cursor of a harvest, and what the pixels say of the metadata."""
