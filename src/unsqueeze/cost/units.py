"""Sizes and times as a person reads them."""

_SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def in_bytes(size: float) -> str:
    """Two to three digits and a decimal unit: 5.4 GB, 12 kB, 800 B."""
    for unit, name in _SIZES:
        if size >= unit:
            number = size / unit
            return f"{number:.0f} {name}" if number >= 10 else f"{number:.1f} {name}"
    return f"{size:.0f} B"


def in_time(seconds: float) -> str:
    """Two to three digits and a unit: 40 s, 5.2 min, 14 h."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            number = seconds / unit
            return f"{number:.0f} {name}" if number >= 10 else f"{number:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
