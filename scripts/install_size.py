"""What `pip install vqcodec` puts on a machine: every package that it needs, and the megabytes of its files.

python scripts/install_size.py
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The package and all that it requires here, extras left out."""
    if name.lower() in found:
        return found
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return found
    found[name.lower()] = package
    for text in package.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, found)
    return found


def megabytes(package: Distribution) -> float:
    """Size of a package's installed files."""
    paths = [Path(str(package.locate_file(file))) for file in package.files or []]
    return sum(path.stat().st_size for path in paths if path.exists()) / 1e6


def main() -> None:
    sizes = {name: megabytes(package) for name, package in needed("vqcodec", {}).items()}
    for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        print(f"{name:<20} {size:7.1f} MB")
    print(f"{'together':<20} {sum(sizes.values()):7.1f} MB")


if __name__ == "__main__":
    main()
