"""Where the contenders are installed, and on which machine they run."""

import os
import platform
import subprocess
import sys

from .contenders import DJANGO, ROOT

CACHE = ROOT / ".cache" / "bench"
VENV = ROOT / ".cache" / "bench-venv"
PYTHON = VENV / "bin" / "python"


def install(contenders):
    """Make the environment and install the contenders in it; returns why some of them cannot be installed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    reasons = {}
    if reason := _pip(["Django>=5.2", *DJANGO]):
        raise SystemExit(f"Django cannot be installed in {VENV}: {reason}")
    for contender in contenders:
        if reason := _pip(contender.requirements):
            reasons[contender.name] = f"not installed: {reason}"
    return reasons


def _pip(requirements):
    """The last line of what pip says when it fails."""
    done = subprocess.run(
        [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def machine():
    """What the report says about the machine."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}"
    )
