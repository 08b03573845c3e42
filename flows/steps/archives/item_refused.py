"""Why a STAC item does not become a scene."""

from reprlib import Repr

BRIEF = Repr()
BRIEF.maxstring = BRIEF.maxother = BRIEF.maxlong = 120


class ItemRefused(ValueError):
    """The item cannot become a scene; the message is the cause that quarantine keeps."""


class NotAScene(ValueError):
    """The item belongs to another item's scene, which is no fault; the message says to which."""


def brief(value: object) -> str:
    """What a message shows of a value of an item, however long or deep it is, in characters that a database takes."""
    return BRIEF.repr(value).encode("utf-8", "backslashreplace").decode("utf-8")
