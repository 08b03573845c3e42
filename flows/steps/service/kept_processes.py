"""Processes that are started again when they end by themselves, and not for ever."""

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

MOST_STARTS, WITHIN_S = 5, 600.0
FIRST_PAUSE_S, LOOK_EVERY_S = 0.5, 0.5

Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class KeptProcess:
    """What is run, the process that does it now, and when it was started again."""

    what: str
    start: Callable[[], AbstractContextManager[Process]]
    process: Process
    started_at: list[float] = field(default_factory=list)

    def start_again(self, stack: ExitStack, now: float) -> bool:
        """Start it after a pause that doubles, to be ended with the stack; False if that was done too often of late."""
        self.started_at = [*(each for each in self.started_at if now - each < WITHIN_S), now]
        if len(self.started_at) > MOST_STARTS:
            return False
        time.sleep(FIRST_PAUSE_S * 2 ** (len(self.started_at) - 1))
        self.process = stack.enter_context(self.start())
        return True


def kept(stack: ExitStack, what: str, start: Callable[[], AbstractContextManager[Process]]) -> KeptProcess:
    """A process that was started now, to be ended with the stack."""
    return KeptProcess(what, start, stack.enter_context(start()))


def keep_running(
    processes: Sequence[KeptProcess],
    stack: ExitStack,
    tell: Callable[[str], None],
    revive: Callable[[], bool],
    revive_every_s: float,
) -> str:
    """Start again what ends and, every few seconds, the server that `revive` looks after; returns what ends too often, with its exit code."""
    looked = time.monotonic()
    while True:
        for each in processes:
            code = each.process.poll()
            if code is None:
                continue
            if not each.start_again(stack, time.monotonic()):
                return (
                    f"{each.what} ended {MOST_STARTS + 1} times in {WITHIN_S / 60:.0f} minutes, with exit code {code}"
                )
            tell(f"{each.what} ended with exit code {code}: started again")
        if time.monotonic() - looked > revive_every_s:
            looked = time.monotonic()
            if revive():
                tell("the embedded index ended: started again")
        time.sleep(LOOK_EVERY_S)
