"""Exported folders on the Hugging Face hub."""

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined]  # of its HTTP client

from orchestrator.errors import RunStoppedError, SweepError


def require_hub(repo_id: str) -> None:
    """See, before any work, that a folder could be pushed: that the name is one, and that there is a token.

    Raises:
        SweepError: saying what is wrong.
    """
    try:
        huggingface_hub.hf_hub_url(repo_id, "config.json")  # it checks the name, and asks nobody
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
    """Upload a folder as one commit of a model repository, which is made if there is none; give its address.

    Raises:
        SweepError: the repository is there, and everyone may read it, which was not asked for.
        RunStoppedError: the hub did not answer, or refused; the folder stands.
    """
    api = huggingface_hub.HfApi()
    try:
        url = api.create_repo(repo_id, private=not public, exist_ok=True)
        if not public and not api.model_info(repo_id).private:  # one that was there keeps what it was
            raise SweepError(f"--push {repo_id}: everyone may read this repository; add --public if that is meant")
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except (OSError, ClientError, OfflineModeIsEnabled) as error:
        raise RunStoppedError(
            f"--push {repo_id}: the hub at {api.endpoint} did not take it ({str(error).strip() or repr(error)}); the "
            f"folder stands: once that is mended, hf upload {repo_id} {folder}"
        ) from None
    return str(url)
