"""Print the oldest allowed version of each dependency, as constraints for pip."""

from __future__ import annotations

from importlib.metadata import requires

from packaging.requirements import Requirement


def floors() -> list[str]:
    found: list[str] = []
    for text in requires("tidemill") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and "extra" in str(requirement.marker):
            continue
        lowest = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        if len(lowest) != 1:
            raise SystemExit(f"the dependency {text!r} needs exactly one lower bound")
        marker = f" ; {requirement.marker}" if requirement.marker is not None else ""
        found.append(f"{requirement.name}=={lowest[0]}{marker}")
    return found


if __name__ == "__main__":
    print("\n".join(floors()))
