"""A run's model, recipe, curves and model card on the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mrcnn.weights import hub
from mrcnn.weights.checkpoint import MODEL_FILE, read_checkpoint
from mrcnn.weights.fetch import DownloadError
from mrcnn.weights.model_card import CURVES_FILE, model_card, model_of

_BESIDE = ("recipe.yaml", "history.csv", CURVES_FILE)


def push_to_hub(
    run: str | os.PathLike[str],
    address: str,
    *,
    license: str = "unknown",
    private: bool | None = None,
    last: bool = False,
) -> str:
    """Put a run on the Hugging Face Hub, in one commit, with a model card made from it.

    Uploaded are the model (as model.safetensors), recipe.yaml, history.csv, curves.png and a README.md; not run.json,
    which names folders of this machine. What the repository held under these names is replaced there, its history
    keeps it.

    Args:
        run: the folder of a training run.
        address: "hf://user/repo", made if it is not there; or "hf://user/repo@branch", of a branch that is.
        license: as the Hub names licenses: "mit", "apache-2.0", ...
        private: whether a new repository is; None: as the account is set.
        last: the last model rather than the best.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: the folder holds no model, or a damaged one; nothing has been uploaded then.
        DownloadError: huggingface_hub is not installed, no token, the Hub refuses or does not answer.
    """
    run, place = Path(run), hub.parse_address(address)
    if place.file is not None:
        raise DownloadError(f"{address}: expected hf://user/repo without a file")
    model = model_of(run, last=last)
    for array in read_checkpoint(model)[1].values():
        np.asarray(array)  # compared with its checksum: no damaged file is handed on
    card = model_card(run, place.repo, license_id=license, last=last)
    api = hub.hub_api()
    from huggingface_hub import CommitOperationAdd

    contents: dict[str, str | bytes] = {"README.md": card.encode(), MODEL_FILE: str(model)}
    contents |= {name: str(run / name) for name in _BESIDE if (run / name).is_file()}
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in contents.items()]
    try:
        if place.revision is None:
            api.create_repo(place.repo, private=private, exist_ok=True)
        commit = api.create_commit(
            place.repo,
            operations,
            commit_message=f"Upload {model.name} of {run.resolve().name}",
            revision=place.revision,
        )
    except Exception as error:
        raise hub.explained(error, place) from error
    return str(commit.commit_url)
