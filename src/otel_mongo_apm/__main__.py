"""``python -m otel_mongo_apm``."""

from __future__ import annotations

import sys

from otel_mongo_apm._doctor.cli import main

if __name__ == "__main__":
    sys.exit(main())
