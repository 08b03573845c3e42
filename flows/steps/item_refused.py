"""Why a STAC item does not become a scene."""


class ItemRefused(ValueError):
    """The item cannot become a scene; the message is the cause that quarantine keeps."""


class NotAScene(ValueError):
    """The item belongs to another item's scene, which is no fault; the message says to which."""
