"""Unlabelled samples: how they are read, checked against the model, split and fed in batches.

An array holds one sample per entry of its leading axis:

| model input | array | meaning |
| --- | --- | --- |
| `[B, ...]` rank r | rank r, `(N, ...)` | the leading axis is the model's batch axis |
| any, rank r | rank r + 1, `(N, d0, ...)` | each entry is all the input of one run |
| scalar | `(N,)` or a scalar | one value per sample, or one for all of them |

Entries `(1, ...)` of the second kind are turned into the first when the model has a batch axis.
Floating-point arrays are cast to the input's type; integers are refused for a floating-point
input, since nobody can tell pixels from values. Only image files are scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from autogo_onnx import images, signature
from autogo_onnx.errors import InputError
from autogo_onnx.options import Options
from autogo_onnx.sample_files import read_array, read_labels, read_npz, stack_arrays
from autogo_onnx.samples import Samples as Samples
from autogo_onnx.signature import Dim, TensorSpec

MIN_SAMPLES = 8
"""Fewer leave nothing to hold out: a quarter of them is the two that a deviation needs."""


def load(path: Path, model: onnx.ModelProto, options: Options) -> Samples:
    """Read samples and check that the model can take them.

    Args:
        path: `.npz` (an array per input), `.npy` (one input), or a folder, searched recursively
            and read in the order of relative paths, of images or of `.npy` files, one per sample.
        model: gives names, element types and shapes of the inputs.
        options: mean, std, scale and layout of images, and the labels' file.

    Raises:
        InputError: nothing there, unreadable, not fitting, not finite, or fewer than MIN_SAMPLES.
    """
    specs = _supported(model)
    samples = _arrange(specs, _read(path, specs, options), path)
    if len(samples) < MIN_SAMPLES:
        raise InputError(
            f"{path} holds {len(samples)} samples: at least {MIN_SAMPLES} are needed (512 is good)"
        )
    if options.labels is None:
        return samples
    return replace(samples, labels=read_labels(options.labels, len(samples), _classes(model)))


def arrange(arrays: Mapping[str, np.ndarray], model: onnx.ModelProto, path: Path) -> Samples:
    """Samples from arrays that were read before; `load` does the rest for whole files.

    Args:
        arrays: by input name; a lone array serves a lone input under any name.
        model: gives names, element types and shapes of the inputs.
        path: where they are from, for messages.

    Raises:
        InputError: an array is missing, does not fit or is not finite.
    """
    specs = _supported(model)
    return _arrange(specs, _by_input(arrays, specs, path), path)


def split(samples: Samples, *, seed: int, held_out: float = 0.25) -> tuple[Samples, Samples]:
    """Two parts without a common sample, each in the original order: to fit on, to judge by.

    The second holds the share `held_out`, rounded, and two samples at least.
    """
    count = len(samples)
    kept_back = min(max(round(count * held_out), 2), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return samples.take(np.sort(order[kept_back:])), samples.take(np.sort(order[:kept_back]))


def noise(model: onnx.ModelProto, count: int, *, seed: int) -> Samples:
    """Seeded standard-normal samples (zeros for integers), where nothing better is at hand.

    Unknown dimensions become 1 for the leading axis, 64 for the last two of a picture, else 16;
    nothing promises that the model runs on them.

    Raises:
        InputError: an input that is no numeric tensor, or of unknown rank.
    """
    rng = np.random.default_rng(seed)
    feeds, whole, batch = {}, set(), None
    for spec in signature.inputs(model):
        _check_supported(spec)
        if spec.dims is None:
            raise InputError(f"input {spec.name!r} has no declared rank: give calibration data")
        shape = tuple(_size_of(spec.dims, axis) for axis in range(len(spec.dims)))
        if shape[:1] == (1,):
            shape = shape[1:]
            batch = 1 if spec.dims[0] == 1 else batch
        else:
            whole.add(spec.name)
        values = rng.standard_normal((count, *shape), dtype=np.float32)
        feeds[spec.name] = (values if spec.numpy_dtype.kind == "f" else 0 * values).astype(
            spec.numpy_dtype
        )
    if not feeds:
        raise InputError("the model has no inputs")
    return Samples(feeds, batch=batch, whole=frozenset(whole))


def _supported(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The model's inputs.

    Raises:
        InputError: there are none, or one is of a kind that cannot be read.
    """
    specs = signature.inputs(model)
    for spec in specs:
        _check_supported(spec)
    if not specs:
        raise InputError("the model has no inputs: there is nothing to calibrate with")
    return specs


def _size_of(dims: Sequence[Dim], axis: int) -> int:
    dim = dims[axis]
    if isinstance(dim, int):
        return dim
    if axis == 0:
        return 1
    return 64 if len(dims) == 4 and axis >= 2 else 16


def _check_supported(spec: TensorSpec) -> None:
    if spec.dtype == 0 or spec.numpy_dtype.kind not in "fiub":
        kind = "no tensor" if spec.dtype == 0 else spec.dtype_name
        raise InputError(f"input {spec.name!r} is {kind}: samples of that kind cannot be read")


def _read(path: Path, specs: Sequence[TensorSpec], options: Options) -> Mapping[str, np.ndarray]:
    if not path.exists():
        raise InputError(f"calibration data {path} does not exist")
    if path.suffix == ".npz" and path.is_file():
        return _by_input(read_npz(path), specs, path)
    if len(specs) > 1:
        names = ", ".join(s.name for s in specs)
        raise InputError(f"{path} feeds one input, the model has {names}: use .npz with all")
    if path.is_dir():
        return {specs[0].name: _read_folder(path, specs[0], options)}
    if path.suffix == ".npy":
        return {specs[0].name: read_array(path)}
    raise InputError(f"calibration data {path} is neither .npz, .npy nor a folder")


def _by_input(
    arrays: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], path: Path
) -> Mapping[str, np.ndarray]:
    """One array per input; a lone array serves a lone input under any name."""
    if len(specs) == 1 and len(arrays) == 1:
        return {specs[0].name: next(iter(arrays.values()))}
    for spec in specs:
        if spec.name not in arrays:
            found = ", ".join(arrays) or "nothing"
            raise InputError(f"{path} has no array for input {spec.name!r}, only {found}")
    return {spec.name: arrays[spec.name] for spec in specs}


def _read_folder(path: Path, spec: TensorSpec, options: Options) -> np.ndarray:
    files = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path))
    arrays = [p for p in files if p.suffix == ".npy"]
    pictures = [p for p in files if p.suffix.lower() in images.SUFFIXES]
    if arrays and pictures:
        raise InputError(f"{path} mixes images and arrays ({pictures[0]}, {arrays[0]}): keep one")
    if arrays:
        return stack_arrays(arrays)
    if not pictures:
        raise InputError(f"{path} holds no images ({', '.join(images.SUFFIXES)}) and no .npy files")
    return images.read(pictures, images.plan(spec, options), options)


def _arrange(specs: Sequence[TensorSpec], arrays: Mapping[str, np.ndarray], path: Path) -> Samples:
    """Cast, check against the declared shapes, and settle on one batching for all inputs."""
    cast = {spec.name: _cast(spec, arrays[spec.name], path) for spec in specs}
    count = max((len(a) for a in cast.values() if a.ndim), default=1)
    feeds, whole, batches = {}, set(), set()
    for spec in specs:
        array = cast[spec.name]
        if array.ndim == 0:
            array = np.repeat(array, count)
        if len(array) != count:
            raise InputError(
                f"{path}: input {spec.name!r} has {len(array)} samples, another has {count}"
            )
        array, batch = _fit(spec, array, path)
        feeds[spec.name] = array
        if batch is None:
            whole.add(spec.name)
        else:
            batches.add(batch)
    fixed = batches - {0}
    if len(fixed) > 1 or (whole and fixed - {1}):
        raise InputError(
            f"{path}: the inputs have different batch sizes: use entries of whole runs"
        )
    return Samples(feeds, None, fixed.pop() if fixed else None, frozenset(whole))


def _cast(spec: TensorSpec, array: np.ndarray, path: Path) -> np.ndarray:
    wanted = spec.numpy_dtype
    kinds = {"f": "f", "i": "iu", "u": "iu", "b": "b"}[wanted.kind]
    where = f"{path}: array for input {spec.name!r}"
    if array.dtype.kind not in kinds:
        raise InputError(f"{where} is {array.dtype}, the model takes {wanted}: save that type")
    with np.errstate(over="ignore"):
        cast = array.astype(wanted, copy=False)
    if wanted.kind in "iu" and not np.array_equal(cast, array):
        raise InputError(f"{where} has values that do not fit into {wanted}")
    if wanted.kind == "f":
        finite = np.isfinite(cast)
        if not finite.all():
            place = [int(i[0]) for i in np.nonzero(~finite)]
            raise InputError(f"{where} holds NaN or infinity, first at {place}: remove that sample")
    return cast


def _fit(spec: TensorSpec, array: np.ndarray, path: Path) -> tuple[np.ndarray, int | None]:
    """The array in its final form, and its batch size: 0 for any, None for whole entries."""
    dims = spec.dims
    if dims is None:
        return array, 0
    single = bool(dims) and (dims[0] == 1 or not isinstance(dims[0], int))
    if single and array.ndim == len(dims) + 1 and array.shape[1] == 1:
        array = array[:, 0]
    expected: tuple[Dim, ...]
    batch: int | None
    if dims and array.ndim == len(dims):
        expected, batch = dims[1:], dims[0] if isinstance(dims[0], int) else 0
    elif array.ndim == len(dims) + 1:
        expected, batch = dims, None
    else:
        raise InputError(_misfit(spec, array, path))
    for found, wanted in zip(array.shape[1:], expected, strict=True):
        if isinstance(wanted, int) and found != wanted:
            raise InputError(_misfit(spec, array, path))
    return array, batch


def _misfit(spec: TensorSpec, array: np.ndarray, path: Path) -> str:
    dims = list(spec.dims or ())
    wanted = ["N", *dims[1:]] if dims else ["N"]
    shown = ", ".join("?" if d is None else str(d) for d in wanted)
    return (
        f"{path}: array for input {spec.name!r} is {list(array.shape)}, the model needs [{shown}]"
    )


def _classes(model: onnx.ModelProto) -> int | None:
    """Number of classes that the first output declares, if it looks like class scores."""
    first = signature.outputs(model)[0].dims
    last = first[1] if first is not None and len(first) == 2 else None
    return last if isinstance(last, int) else None
