"""Print what pip would install for some requirements, as exact versions: a lock file.

pip's own `pip lock` writes the addresses of this machine's package index into its file; a
requirements file with versions alone serves every index, Python and platform that has them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

# torch is installed by itself, in the build that the machine needs; these come with it.
WITH_TORCH = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)$")


def main() -> None:
    """Resolve, and print the lock file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--constraint", action="append", default=[])
    parser.add_argument("requirement", nargs="*")
    arguments = parser.parse_args()
    print("# Made by `make lock` from pyproject.toml. What users install is not affected by it.")
    print("\n".join(resolved(arguments)))


def resolved(arguments: argparse.Namespace) -> list[str]:
    """Return `name==version` of all that pip chooses, sorted."""
    options = [f"--group={each}" for each in arguments.group]
    options += [f"--constraint={each}" for each in arguments.constraint]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--report=-", *options, "-e", ".", *arguments.requirement]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = [each["metadata"] for each in report["install"] if not each["is_direct"]]
    named = {each["name"].lower().replace("_", "-"): each["version"] for each in found}
    return [f"{name}=={named[name]}" for name in sorted(named) if not WITH_TORCH.match(name)]


if __name__ == "__main__":
    main()
