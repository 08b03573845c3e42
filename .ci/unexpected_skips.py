"""Fail where a test was skipped for a reason that is not expected."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree


def unexpected_skips(junit: Path, expected: Path) -> list[str]:
    """`test: reason` of each skip in a JUnit report that no line (a regular expression) of `expected` allows."""
    lines = (line.partition("#")[0].strip() for line in expected.read_text(encoding="utf-8").splitlines())
    allowed = [re.compile(line) for line in lines if line]
    found = []
    for case in ElementTree.parse(junit).iter("testcase"):
        for skipped in case.iter("skipped"):
            reason = skipped.get("message") or ""
            if skipped.get("type") != "pytest.xfail" and not any(each.search(reason) for each in allowed):
                found.append(f"{case.get('classname')}.{case.get('name')}: {reason}")
    return found


def main(arguments: list[str]) -> int:
    """Print the unexpected skips; 1 where there are some."""
    found = unexpected_skips(Path(arguments[0]), Path(arguments[1]))
    for each in found:
        sys.stdout.write(f"ci: unexpected skip: {each}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
