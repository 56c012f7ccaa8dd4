"""Parameters in one file, `.npz` as NumPy writes it, and no pickles: arrays of numbers, nothing that runs."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_lab.numerics import checks, files
from rlhf_lab.numerics.optim import Params


def save(path: str | os.PathLike[str], params: Params, *, overwrite: bool = False) -> None:
    """Write `params` to `path`, whole or not at all.

    Raises `FileExistsError` if the file is there and `overwrite` is not set, `TypeError` if an array does not hold
    floating-point numbers, and `ValueError` if one of them is NaN or infinite or if the name does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"parameters are saved as .npz; got {path.name}")
    arrays = {name: np.asarray(value) for name, value in params.items()}
    for name, value in arrays.items():
        if not np.issubdtype(value.dtype, np.floating):
            raise TypeError(f"params[{name!r}] must be an array of floating-point numbers; got {value.dtype}")
    checks.finite(arrays)
    with files.whole(path, overwrite) as fresh, fresh.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, value)


def load(path: str | os.PathLike[str], wanted: Mapping[str, Any]) -> Params:
    """Return the parameters that `save` wrote, if they have the names, shapes and precision of `wanted`.

    `wanted` are parameters of the same model, such as `model.init(rng)`; they may be written for another seed, not for
    another size. Raises `ValueError` if the file is damaged, or if an array is missing, too many, or another one.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        except Exception:  # an archive has many ways to be damaged, and each its own error
            raise ValueError(f"{path} is damaged, or no file of parameters: make it again") from None
    for what, names in (("no", set(wanted) - set(found)), ("an extra", set(found) - set(wanted))):
        if names:
            raise ValueError(f"{path} has {what} array {min(names)!r}: it belongs to another model")
    for name, value in wanted.items():
        mine, theirs = np.asarray(value), found[name]
        if (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
            raise ValueError(
                f"{path}: {name!r} is {theirs.dtype} of shape {theirs.shape}, the model wants {mine.dtype} of shape "
                f"{mine.shape}: it belongs to a model of another size or precision"
            )
    checks.finite(found)
    return {name: found[name] for name in wanted}
