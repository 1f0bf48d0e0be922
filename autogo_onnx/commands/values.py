"""Kinds of option values, and the options that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from autogo_onnx.options import DEVICE, Options

DEFAULTS = Options()
FILE = click.Path(path_type=Path, dir_okay=False)
ANY_PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", re.IGNORECASE)
_LEAST_BYTES = 1_000_000

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Invocation:
    """What the process boundary must know of a call, whichever command it was for."""

    debug: bool = False


class Finite(click.FloatRange):
    """A number within bounds, which NaN and infinity are not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse what no bound keeps out."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is no finite number.", param, ctx)
        return number


def duration(text: str | float) -> float:
    """Seconds, written as `90`, `90s`, `10m` or `1h30m`; more than 0.

    >>> duration("1h30m"), duration("1.5s")
    (5400.0, 1.5)
    """
    match = _DURATION.fullmatch(str(text).strip())
    hours, minutes, seconds = (float(g or 0) for g in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise click.BadParameter(f"{text!r} is no duration; write 90s, 10m or 1h30m")
    return total


def size(text: str | int) -> int:
    """Bytes, written as `2G`, `500M` or `1.5GB`, in powers of 1,000; a million at least.

    >>> size("2G"), size("1.5 MB")
    (2000000000, 1500000)
    """
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise click.BadParameter(f"{text!r} is no size; write 2G or 500M")
    number, prefix = match.groups()
    total = int(float(number) * 1000 ** " kmgt".index(prefix.lower() or " "))
    if total < _LEAST_BYTES:
        raise click.BadParameter(f"{text!r} is {total} bytes: too few; write 2G or 500M")
    return total


def numbers(text: str | tuple[float, ...]) -> tuple[float, ...]:
    """One number, or several with commas.

    >>> numbers("0.485,0.456,-1")
    (0.485, 0.456, -1.0)
    """
    if isinstance(text, tuple):
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        hint = "write 0.5 or 0.485,0.456,0.406"
        raise click.BadParameter(f"{text!r} is no list of numbers; {hint}") from None


def target(text: str) -> str:
    """What to minimize; whether there is such a device the predictor knows.

    >>> target("device:raspi4")
    'device:raspi4'
    """
    if text in ("cpu", "macs", "params") or text.removeprefix(DEVICE) not in ("", text):
        return text
    raise click.BadParameter(f"{text!r} is not one of 'cpu', 'macs', 'params', '{DEVICE}NAME'")


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Invocation).debug |= value


debug_option = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show the traceback of an error.",
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")


def sample_options(command: Command) -> Command:
    """The options that say what the calibration samples are and how images become the input."""
    options = (
        click.option(
            "--calibration",
            type=ANY_PATH,
            help="Unlabelled samples: .npz (an array per input), .npy, or a folder of images or "
            "arrays.",
        ),
        click.option(
            "--mean", type=numbers, default=DEFAULTS.mean, help="Of each image channel, scaled."
        ),
        click.option(
            "--std", type=numbers, default=DEFAULTS.std, help="Of each image channel, scaled."
        ),
        click.option(
            "--scale",
            type=float,
            default=DEFAULTS.scale,
            help="Factor of pixel values.  [default: 1/255]",
        ),
        click.option(
            "--layout",
            type=click.Choice(["auto", "nchw", "nhwc"]),
            default=DEFAULTS.layout,
            help="Of image inputs.  [default: from the model]",
        ),
        click.option(
            "--labels",
            type=FILE,
            help="Class indices in calibration order (.npy, .csv): top-1 accuracy gates.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


evaluate_option = click.option(
    "--evaluate",
    metavar="FILE.py:FN",
    help="FN(path of a model) -> float, higher is better, or an array with one per sample: gates "
    "instead.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=DEFAULTS.threads,
    show_default=True,
    help="Intra-op threads of ONNX Runtime in measurements.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=DEFAULTS.seed, show_default=True
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), help="Processes of this machine.  [default: 1]"
)
scheduler_option = click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="Have the workers of this dask cluster do the work instead.",
)
database_option = click.option(
    "--segment-db", type=FILE, help="A segment database instead of the shipped one."
)
predictor_option = click.option(
    "--predictor", type=FILE, help="A predictor instead of the shipped one."
)


def check_workers(jobs: int | None, scheduler: str | None) -> None:
    """Either of `jobs_option` and `scheduler_option` at most.

    Raises:
        click.UsageError: both were given.
    """
    if jobs and scheduler:
        raise click.UsageError("the work is done by --jobs or by --scheduler, not by both")
