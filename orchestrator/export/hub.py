"""Uploading exported folders to the Hugging Face hub."""

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined]  # of its HTTP client

from orchestrator.errors import RunStoppedError, SweepError


def require_hub(repo_id: str) -> None:
    """Check, before any work, that a folder could be pushed: the name is valid, and there is a token.

    Raises:
        SweepError: the name is not valid, or there is no token.
    """
    try:
        huggingface_hub.hf_hub_url(repo_id, "config.json")  # it validates the name without a request
    except HFValidationError as error:
        raise SweepError(f"--push {repo_id}: {error}; give OWNER/NAME") from None
    if "/" not in repo_id:
        raise SweepError(f"--push {repo_id}: no owner; give OWNER/NAME")
    if huggingface_hub.get_token() is None:
        raise SweepError(
            f"--push {repo_id}: there is no token for the hub; make one that may write at "
            f"https://huggingface.co/settings/tokens, and run 'hf auth login' or set HF_TOKEN"
        )


def push_folder(folder: Path, repo_id: str, *, public: bool, message: str) -> str:
    """Upload a folder as one commit of a model repository, and return its URL. A missing repository is created.

    Raises:
        SweepError: the repository exists and is public, but ``public`` was not given.
        RunStoppedError: the hub did not answer, or refused; the local folder remains.
    """
    api = huggingface_hub.HfApi()
    try:
        url = api.create_repo(repo_id, private=not public, exist_ok=True)
        if not public and not api.model_info(repo_id).private:  # an existing repository keeps its visibility
            raise SweepError(f"--push {repo_id}: everyone may read this repository; add --public if that is meant")
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except (OSError, ClientError, OfflineModeIsEnabled) as error:
        raise RunStoppedError(
            f"--push {repo_id}: the hub at {api.endpoint} did not take it ({str(error).strip() or repr(error)}); the "
            f"folder remains: once that is fixed, hf upload {repo_id} {folder}"
        ) from None
    return str(url)
