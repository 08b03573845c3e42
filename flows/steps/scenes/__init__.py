"""From a STAC item to a scene: what it is a picture of, where it lies, and its EO3 document."""
