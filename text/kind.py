"""The kind of a dataset: one label a row, or any number of them.

`data/dataset.json` with the content `{"multi_label": true}` says that a row has any number of labels, between commas.
Its labels are then an array (N, C) of 0 and 1 in all parts of the project; those of other datasets are class indices,
(N,).
"""

from pathlib import Path

from cli.console import UserError, excerpt, listing
from text.files import read_json

COMMA = ord(",")
MULTI_LABEL = {"multi_label": True}  # the content of dataset.json


def kind_file(data):
    return Path(data) / "dataset.json"


def is_multi_label(data):
    """Whether the rows of the dataset with this `data` directory have any number of labels.

    Raises UserError if dataset.json has other content.
    """
    path = kind_file(data)
    if not path.exists():
        return False
    content = read_json(path)
    if (
        not isinstance(content, dict)
        or content.keys() != MULTI_LABEL.keys()
        or type(content["multi_label"]) is not bool
    ):
        raise UserError(f'{path}: expected {{"multi_label": true}}, found {excerpt(str(content))}')
    return content["multi_label"]


def check_names(path, classes):
    """Raises UserError if the classes do not suit a dataset with several labels a row. path: of one of its files."""
    if len(classes) < 2:
        raise UserError(f"{path}: rows may have several labels, but there is one class; expected two or more")
    holding = [name for name in classes if chr(COMMA) in name]
    if holding:
        raise UserError(f"{path}: labels are separated by commas, which these classes have: {listing(holding)}")


def check_kind(checkpoint, multi_label, data):
    """Raises UserError if a checkpoint predicts another number of labels than rows of a dataset have.

    checkpoint: its path, for the message. multi_label: whether it predicts any number of labels. data: the `data`
    directory of the dataset.
    """
    if multi_label != is_multi_label(data):
        kinds = {True: "any number of labels", False: "one label"}
        raise UserError(
            f"{checkpoint} predicts {kinds[multi_label]} a row, but rows in {data} have {kinds[not multi_label]}; "
            "use a checkpoint that was trained on such rows"
        )
