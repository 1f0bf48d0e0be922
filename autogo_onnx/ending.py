"""How long the end of a run takes, so that the search leaves it free.

The end measures the result against the original, twice where the first choice is dropped, and runs
both on a few samples.
"""

from __future__ import annotations

MEASURED_S = 3.0
MEASURED_SHARE = 0.04
PATIENCE = 2.0
"""A measurement of a slow model may take so many times as long as it should."""
MOST_CHECKED, CHECKED_S = 8, 0.5

_MEASUREMENTS = 2
_SESSIONS = 3
_ROUNDS = 30  # enough, and
_FEWEST_RUNS = 5  # of a session: the first one, warming up, rounds
_REST_S = 0.5
_REST_SHARE = 0.01


def measured_s(budget_s: float) -> float:
    """Seconds for a measurement that a choice depends on.

    >>> measured_s(20.0), measured_s(600.0)
    (0.8, 3.0)
    """
    return min(MEASURED_S, MEASURED_SHARE * budget_s)


def checked_samples(run_s: float) -> int:
    """Samples that the result is run on in the end.

    >>> checked_samples(0.001), checked_samples(0.2), checked_samples(2.0)
    (8, 2, 1)
    """
    return max(1, min(MOST_CHECKED, int(CHECKED_S / max(1e-9, run_s))))


def measurement_s(budget_s: float, open_s: float, run_s: float) -> float:
    """Seconds that a measurement of two models takes at most, as fast as they are."""
    seconds = measured_s(budget_s)
    rounds = min(PATIENCE * seconds, max(seconds, _ROUNDS * _SESSIONS * run_s))
    return _SESSIONS * open_s + max(rounds, _FEWEST_RUNS * _SESSIONS * run_s)


def ending_s(budget_s: float, open_s: float, run_s: float, *, is_measured: bool = True) -> float:
    """Seconds from the end of the search to the end of the run.

    Args:
        budget_s: of the run.
        open_s: to open a session of the model.
        run_s: for one run of one batch.
        is_measured: whether the latency of the result is.

    >>> round(ending_s(600.0, 0.02, 0.001), 1), ending_s(20.0, 0.0, 0.0, is_measured=False)
    (12.7, 0.7)
    """
    checks = 2 * (open_s + checked_samples(run_s) * run_s) + _REST_S + _REST_SHARE * budget_s
    if not is_measured:
        return checks
    return _MEASUREMENTS * measurement_s(budget_s, open_s, run_s) + checks
