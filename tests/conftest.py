"""What all tests share: the data of the development machines, where present, and hypothesis."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from made_up_tables import write_tables

SHARED = Path(__file__).parents[2] / "shared"

# Derandomized: a test run is the same everywhere. No deadline: machines are shared.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout: real models, images, architecture tables."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared here")
    return SHARED


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small published tables with accuracies made up."""
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder)
    return folder
