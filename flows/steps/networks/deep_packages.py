"""Whether the packages of networks are there, which the extra `deep` brings."""

from importlib.util import find_spec

from products.errors import RequestError

PACKAGES = ("torch", "lightning", "segmentation_models_pytorch", "safetensors", "torchvision")


def require_deep(*beside: str) -> None:
    """RequestError unless every package that networks need is installed, and those `beside` them."""
    lacking = [name for name in (*PACKAGES, *beside) if find_spec(name) is None]
    if lacking:
        raise RequestError(
            f"networks need {', '.join(lacking)}: pip install 'neocube[deep]', or choose another estimator"
        )
