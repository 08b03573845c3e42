"""Pictures of what a network looks at: where Grad-CAM points, and the feature maps of its encoder."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from flows.steps.pictures.learning import png
from products.learning.maps import class_colours
from products.learning.patch_look import PatchLook, strongest

CHANNELS = 6  # of each stage that are shown


def attention_picture(looks: Sequence[PatchLook], class_names: Sequence[str], feature: str) -> bytes:
    """A row for each patch: its first feature, what the network says, and where it looks to say the class of its middle."""
    colours = [tuple(np.array(colour) / 255) for colour in class_colours(class_names).values()]
    figure = Figure(figsize=(7.5, 0.6 + 2.4 * len(looks)), layout="constrained")
    for row, look in zip(figure.subplots(len(looks), 3, squeeze=False), looks, strict=True):
        grey = np.ma.masked_invalid(look.background)
        row[0].imshow(grey, cmap="gray")
        row[0].set_title(feature, fontsize="small")
        row[1].imshow(
            look.codes, cmap=ListedColormap(colours), vmin=0.5, vmax=len(colours) + 0.5, interpolation="nearest"
        )
        row[1].set_title(f"says {look.class_name} in the middle, {100 * look.probability:.0f} %", fontsize="small")
        row[2].imshow(grey, cmap="gray")
        row[2].imshow(look.attention, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        row[2].set_title(f"Grad-CAM for {look.class_name}", fontsize="small")
        for axes in row:
            axes.set_axis_off()
    return png(figure)


def stages_picture(look: PatchLook) -> bytes:
    """A row for each stage of the encoder: the channels that vary most over the patch."""
    figure = Figure(figsize=(1.4 * CHANNELS, 0.4 + 1.5 * len(look.stages)), layout="constrained")
    rows = figure.subplots(len(look.stages), CHANNELS, squeeze=False)
    for number, (row, maps) in enumerate(zip(rows, look.stages, strict=True), start=1):
        shown = strongest(maps, CHANNELS)
        for axes in row:
            axes.set_axis_off()
        for axes, channel in zip(row, shown, strict=False):
            axes.imshow(channel, cmap="viridis")
        row[0].set_title(f"stage {number}: {shown.shape[1]} x {shown.shape[2]} px", fontsize="small", loc="left")
    return png(figure)
