"""How the files of a validation folder become items of a model: as executors prepare queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from executors.processing import prepare
from registry import dataset_folder
from registry.dataset import BadDataset
from registry.dataset_folder import Preparing
from registry.records import Accuracy, Model, Step
from registry.registration import Registration


def preparing(own: Registration) -> Preparing:
    """What the registration says of its items, before its artifacts were looked at.

    Raises: BadDataset if it does not say their shape; BadSettings on an unknown step or parameter.
    """
    side = own.preprocess.params.get("size")
    shape = own.input.shape
    if not shape and isinstance(side, int) and own.preprocess.name.startswith("image-"):
        shape = (3, side, side)
    if not shape:
        raise BadDataset(
            "a folder as the validation set needs the shape that its files are prepared to: input.shape, or the "
            "parameter size of an image step"
        )
    model = Model(
        name=own.name, task=own.task, version=own.version, input_name=own.input.name, input_shape=shape,
        input_dtype=own.input.dtype or "float32", output_name=own.output.name, preprocess=own.preprocess,
        postprocess=Step(name="tensor"), accuracy=Accuracy(value=0.0, provenance="published"),
    )  # fmt: skip
    return of_model(model)


def of_model(model: Model) -> Preparing:
    """As its executors would. Raises: BadSettings on an unknown step or parameter."""
    preparation = prepare(model.preprocess, model)
    return Preparing(shape=model.input_shape, dtype=model.input_dtype, item=lambda data: preparation(data, None))


@contextmanager
def packed(validation: Path | None, model: Model) -> Iterator[Path | None]:
    """The validation set as a file, where it is a folder: packed for as long as the block lasts.

    Raises: BadDataset, BadSettings.
    """
    if validation is None or not validation.is_dir():
        yield validation
        return
    with TemporaryDirectory(prefix="headrace-validation-") as made:
        target = Path(made) / "validation.npz"
        dataset_folder.pack(validation, target, labels=model.labels, preparing=of_model(model))
        yield target
