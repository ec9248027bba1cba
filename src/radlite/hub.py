"""Models by name: a folder here, or one of the Hugging Face hub."""

from pathlib import Path

from radlite.errors import UserError


def base_folder(base: str) -> Path:
    """The folder of a base model: `base` itself, or the hub's model of that name (safetensors, JSON, template)."""
    if Path(base).is_dir():
        if not (Path(base) / "config.json").is_file():
            raise UserError(f"The base folder {base!r} has no config.json; give the folder of a Hugging Face model.")
        return Path(base)
    import huggingface_hub

    wanted = ["*.safetensors", "*.json", "*.jinja", "README.md", "LICENSE", "NOTICE"]
    try:
        return Path(huggingface_hub.snapshot_download(base, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises of many kinds: name, network, rights, disk
        raise UserError(
            f"The base {base} is no folder here, and it cannot be had from the Hugging Face hub "
            f"({type(error).__name__}); give a local model folder, or set HF_ENDPOINT to a mirror."
        ) from error
