#!/usr/bin/env python3
"""Pictures of README and docs from those that the browser's tests left: target/screenshots → docs/images.

  scripts/test conformance -k test_ingress && tests/tools/screenshots.py

Each becomes a PNG no wider than 1280 and below 150 kB, of fewer colours if it has to be. Look at them before you commit.
"""
import sys
from pathlib import Path

import python_env

try:
    from PIL import Image
except ImportError:  # started by hand with another Python
    python_env.start_again_there()
    raise

FROM, TO = python_env.ROOT / "target/screenshots", python_env.ROOT / "docs/images"
NAMES = ("now-light", "now-dark", "phone-now", "setup", "energy", "readers")
MOST = 150_000


def main():
    for name in NAMES:
        picture = Image.open(FROM / f"{name}.png").convert("RGB")
        if picture.width > 1280:
            picture = picture.resize((1280, picture.height * 1280 // picture.width), Image.Resampling.LANCZOS)
        file = TO / f"{name}.png"
        for colours in (None, 256, 128):
            (picture.quantize(colours, dither=Image.Dither.NONE) if colours else picture).save(file, optimize=True)
            if file.stat().st_size <= MOST:
                break
        else:
            sys.exit(f"{file.name} has {file.stat().st_size} bytes, more than {MOST}")
        print(f"{file.name}: {picture.width} x {picture.height}, {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
