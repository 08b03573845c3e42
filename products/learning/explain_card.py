"""The lines of a card about what a model looks at: features that were kept, what each counts, and where a network looks."""

from collections.abc import Mapping, Sequence
from typing import Any

from products.learning.honest_card import percent


def looks_lines(looks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where a network looks, in the patches of the hold-out that it is surest of."""
    told = [f"- {each['class']}, {percent(each['probability'])}, at {each['x']:.0f}, {each['y']:.0f}" for each in looks]
    return [
        "",
        "## What it looks at",
        "",
        "Grad-CAM of the deepest features of the encoder, for the class in the middle of a patch of the hold-out; of each class the pixel that it is "
        "rightly surest of. Bright is where the network looks to say the class; it says nothing of why. Below it, the feature maps of each stage of the "
        "encoder in the first patch, the channels that vary most.",
        "",
        *told,
        "",
        "![Grad-CAM](gradcam.png) ![feature maps](feature_maps.png)",
    ]


def importance_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What agreement each feature costs where it is shuffled, and of a forest its share in the impurity taken away."""
    found = metrics["permutation"]
    costly = [(name, lost) for name, lost in found["lost"].items() if lost["mean"] > 0][:10]
    told = [f"- {name}: {lost['mean']:.3f} (± {lost['std']:.3f})" for name, lost in costly]
    lines = [
        "## What it looks at",
        "",
        f"Agreement lost on {found['pixels']} pixels of the hold-out where one feature is shuffled, {found['repeats']} times; "
        "features that say the same cover for each other.",
        "",
        *(told or ["- No feature costs any: the others cover for each."]),
        "",
    ]
    if "importance" in metrics:
        top = ", ".join(f"{name} {value:.3f}" for name, value in list(metrics["importance"].items())[:10])
        lines += [
            f"Share of each feature in the impurity that the forest's splits take away from the training pixels: {top}.",
            "",
        ]
    return [*lines, "![importance](importance.png)"]


def shap_lines(found: Mapping[str, Any]) -> list[str]:
    """How far each feature moves each class."""
    top = list(found["mean_absolute"].items())[:10]
    told = [f"- {name}: " + ", ".join(f"{each} {value:.3f}" for each, value in of.items()) for name, of in top]
    return [
        "",
        f"Shapley values of {found['pixels']} pixels of the hold-out beside {found['background']} trained ones: how far a feature moves the "
        f"{found['unit']} of each class, mean of the absolute values.",
        "",
        *told,
        "",
        "![shap](shap.png)",
    ]


def selection_lines(found: Mapping[str, Any]) -> list[str]:
    """Which features were kept and which left out, and by what."""
    told = [f"- {name}: {value:.3f}" for name, value in found.get("scores", {}).items()]
    told += [
        f"- {number} features: {percent(share)} on the folds" for number, share in found.get("by_number", {}).items()
    ]
    kept, total = found["kept"], len(found["kept"]) + len(found["left_out"])
    title = f"## Features kept: {len(kept)} of {total}, by {found['method'].replace('_', ' ')}"
    return [
        "",
        title,
        "",
        f"Kept: {', '.join(kept)}.",
        f"Left out: {', '.join(found['left_out']) or 'none'}.",
        "",
        *told,
    ]
