"""A training that ends before it is done."""

from collections.abc import Callable


class Broken(Exception):
    """A training ends here."""


def breaking_off(epoch: int) -> Callable[[str], None]:
    """What a training tells how far it is, and what ends it after an epoch, counted from 1."""

    def hear(said: str) -> None:
        if said.startswith(f"epoch {epoch}, loss "):
            raise Broken

    return hear
