"""The published tables of architectures beside the checkout, where present."""

from __future__ import annotations

import csv
import gzip
from itertools import islice
from pathlib import Path

import pytest

TABLES = Path(__file__).parents[2] / "shared" / "nas"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="../shared/nas is absent")


def rows(table: str, every: int = 1) -> list[dict[str, str]]:
    """Every so many rows of a table, named by folder and file."""
    with gzip.open(TABLES / table, "rt", newline="") as file:
        return list(islice(csv.DictReader(file), 0, None, every))
