"""Why an observation of a pixel is not used: one cause each, by a written precedence."""

from enum import IntEnum


class Cause(IntEnum):
    """The fate of one observation of one pixel. 1 to 9 stand in order of precedence: the first that applies is the cause.

    SLC_GAP stands for NODATA where a Landsat 7 scene has none for want of the scan-line corrector, PERSISTENT_CLOUD for CLOUD of pixels that the mask
    nearly always calls cloud.
    """

    USED = 0
    UNREAD = 1
    NODATA = 2
    CLOUD = 3
    SHADOW = 4
    CIRRUS = 5
    SNOW = 6
    SATURATED = 7
    DILATED = 8
    OUT_OF_RANGE = 9
    SLC_GAP = 10
    PERSISTENT_CLOUD = 11


NOT_EXPECTED = 255  # no scene of the pass covers the pixel, or another scene of the pass gives it
ACCOUNT_NAMES = ("expected", *(cause.name.lower() for cause in Cause))
