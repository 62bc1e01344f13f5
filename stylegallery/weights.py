"""Where pretrained weights are on this machine."""

from pathlib import Path

from stylegallery.errors import InputError


def locate(path: str) -> Path:
    """The directory of a model: `embedded` for the shipped one, a local path, or a hub name already downloaded.

    Raises:
        InputError: neither is on this machine.
    """
    if path == "embedded":
        return Path(__file__).parent / "embedded" / "weights"
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise InputError(
            f"model {path} is neither a directory nor in the local Hugging Face cache; "
            f"download it with: hf download {path}"
        ) from error
