"""Installs a package of the documentation for the running test only: beside it, by metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Install the folder given on the command line into the folder IREE_DOCS_SITE."""
    site = Path(os.environ["IREE_DOCS_SITE"])
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(site), str(Path(sys.argv[1]).resolve())]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
