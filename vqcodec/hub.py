"""Model files from the Hugging Face Hub, by addresses like `hf://owner/name@revision`.

In full: `hf://OWNER/NAME[/FILE.safetensors][@REVISION][#MODEL_ID]`. The file is `model.safetensors` and the revision
`main` unless said otherwise; a model id (16 hex digits, as `vqcodec models` shows them) must be that of the file.
huggingface_hub does the rest, its cache and HF_HUB_OFFLINE included.
"""

from __future__ import annotations

import re
from pathlib import Path

from vqcodec.errors import InvalidInputError, ModelMissingError

PREFIX = "hf://"
_ADDRESS = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(/(?P<file>[\w./-]+\.safetensors))?(@(?P<revision>[^@#]+))?(#(?P<id>[0-9a-f]{16}))?"
)


def fetch(address: str) -> tuple[Path, str | None]:
    """The file behind an address, downloaded where the cache lacks it, and the model id it must have.

    Raises InvalidInputError for what is no address, ModelMissingError where there is no such file or no way to it.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or ".." in address:
        raise InvalidInputError(f"{address!r} is not hf://OWNER/NAME[/FILE.safetensors][@REVISION][#MODEL_ID]")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ModelMissingError(f"{address} needs {error.name}: pip install 'vqcodec[hub]'") from error
    try:
        found = hf_hub_download(
            parts["repository"],
            parts["file"] or "model.safetensors",
            revision=parts["revision"],
            library_name="vqcodec",
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelMissingError(f"{address}: {reason or type(error).__name__}") from error
    return Path(found), parts["id"]
