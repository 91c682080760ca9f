"""All benchmarks on one database, one after the other: `DATABASE=postgresql python -m benchmarks`."""

import os
import subprocess
import sys
from pathlib import Path

database = os.environ.get("DATABASE", "sqlite")
scripts = ["enqueue", "claim", "admin", "latency", *(["throughput"] if database != "mariadb" else [])]
for script in scripts:
    print(f"\n{script}", flush=True)
    subprocess.run(
        [sys.executable, Path(__file__).with_name(f"{script}.py"), "--database", database], check=True
    )
