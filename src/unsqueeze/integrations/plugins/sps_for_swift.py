"""The plugin of ms-swift: ``swift rlhf … --external_plugins "$(unsqueeze plugin swift)" --callbacks sps``."""

from swift.callbacks import callbacks_map

try:
    from unsqueeze.integrations.swift import callbacks
except ModuleNotFoundError as error:
    raise SystemExit(
        f"error: {error.name} is missing beside ms-swift; install both in one environment: pip install "
        f"'unsqueeze[swift]'."
    ) from None

callbacks_map.update(callbacks())
