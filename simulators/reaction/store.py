"""A store: courses of more members than memory holds, written to Zarr block by block while they are computed.

A block of members is computed on all threads while the one before it is compressed and written, so two blocks are in memory at any
time, however many members there are. Every block is one Zarr chunk of every variable, written once, by one thread. The
store appears under its name when it is whole; a run that fails, is interrupted or killed leaves nothing there.

Legend: `M` members, `T` times.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final

from hpc.publication import draft, publish, tidy
from twin.errors import InputError

if TYPE_CHECKING:
    import xarray

Progress = Callable[[int, int], None]
"""Told after every block: members done, members in all."""

BLOCK_BYTES: Final = 48 * 2**20
"""Most bytes of values that a block holds."""
_FEWEST, _MOST = 64, 16_384
"""Members of a block: enough for the lanes of some cores, few enough for the blocks of small models to tell progress."""


def block_members(values_per_member: int) -> int:
    """How many members a block has. It does not depend on the machine, so that stores of one run are equal."""
    fit = BLOCK_BYTES // (8 * max(1, values_per_member))
    return max(_FEWEST, min(_MOST, fit - fit % 16))


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken, or where nothing can be put, before anything runs.

    Raises:
        InputError: something else than a Zarr store is there, or a store that may not be replaced.
    """
    if path.exists() and not (path / "zarr.json").is_file():
        raise InputError(f"store: {path} is there and is no Zarr store; choose another path.")
    if path.exists() and not overwrite:
        raise InputError(f"store: {path} is there already; choose another path, or replace it with overwrite=True.")
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"store: {path.parent} is no directory; choose another path.")


def streamed(
    part: Callable[[int, int], xarray.Dataset],
    *,
    members: int,
    values_per_member: int,
    path: Path,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Write the courses of all members to a Zarr store, and open it lazily.

    Args:
        part: members first … last - 1 → their dataset, whose variables have `member` as their first dim or are the
            same in every part. Called for one part after the other.
        members: how many there are.
        values_per_member: numbers that a member adds, which say how large a block may be.
        path: of the store; its parent is made if need be.
        overwrite: whether a store that is there may be replaced: it stays until the new one is whole.

    Raises:
        InputError: see `refuse_taken`; a folder that cannot be written to.
    """
    refuse_taken(path, overwrite=overwrite)
    path = path.absolute()
    place = draft(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tidy(path)
        place.mkdir()
    except OSError as error:
        raise InputError(f"store: {path} cannot be written ({error.strerror}); choose another path.") from error
    size = block_members(values_per_member)
    try:
        with ThreadPoolExecutor(1) as writer:
            arrays: dict[str, Any] = {}
            pending: Future[None] | None = None
            for first in range(0, max(members, 1), size):
                last = min(first + size, members)
                block = part(first, last)
                if pending is not None:
                    pending.result()
                else:
                    arrays = _created(place, block, members, size)
                pending = writer.submit(_write, arrays, block, first, last)
                del block
                if progress is not None:
                    progress(last, members)
            if pending is not None:
                pending.result()
        with _quiet():
            _close(place)
        publish(place, path, overwrite=overwrite)
    finally:
        if place.exists():
            rmtree(place, ignore_errors=True)
    return opened(path)


def opened(path: Path) -> xarray.Dataset:
    """A store, lazily: a variable is read when its values are asked for, and only as far as they are."""
    import xarray

    with _quiet():  # times stay numbers in the model's units, as in memory
        return xarray.open_zarr(path, chunks=None, consolidated=True, decode_times=False, decode_timedelta=False)


def _created(place: Path, block: xarray.Dataset, members: int, size: int) -> dict[str, Any]:
    """Arrays of all members, laid out as the first block is; what has no members is written at once."""
    import zarr
    from zarr.codecs import BloscCodec

    group = zarr.create_group(store=str(place), zarr_format=3, attributes=dict(block.attrs))
    arrays: dict[str, Any] = {}
    for name, variable in block.variables.items():
        many = variable.dims[:1] == ("member",)
        shape = (members, *variable.shape[1:]) if many else variable.shape
        chunks = (max(1, min(size, members)), *(max(1, n) for n in variable.shape[1:])) if many else None
        array = group.create_array(
            str(name), shape=shape, dtype=variable.dtype, chunks=chunks or tuple(max(1, n) for n in shape),
            fill_value=float("nan") if variable.dtype.kind == "f" else 0, attributes=dict(variable.attrs),
            dimension_names=[str(dim) for dim in variable.dims],
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        )  # fmt: skip
        if many:
            arrays[str(name)] = array
        else:
            array[...] = variable.values
    return arrays


def _write(arrays: dict[str, Any], block: xarray.Dataset, first: int, last: int) -> None:
    for name, array in arrays.items():
        array[first:last] = block.variables[name].values


def _close(place: Path) -> None:
    import zarr

    zarr.consolidate_metadata(str(place), zarr_format=3)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(Consolidated metadata|Zarr V3 specification|ZarrV3).*")
        yield
