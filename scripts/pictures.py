"""Make docs/pictures/report.png from a release, in a headless Chromium. Usage: scripts/pictures.py RELEASE"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "report.png"
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--hide-scrollbars")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    page = parser.parse_args().release.absolute() / "evidence" / "report.html"
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None or not page.is_file():
        print(f"needs chromium, and a report at {page}", file=sys.stderr)
        return 2
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        size = ("--window-size=1200,1250", "--force-device-scale-factor=1")
        target = (f"--user-data-dir={profile}", f"--screenshot={PICTURE}", page.as_uri())
        subprocess.run([browser, *QUIET, *OFFLINE, *size, *target], check=True, capture_output=True, timeout=60)
    print(f"written: {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
