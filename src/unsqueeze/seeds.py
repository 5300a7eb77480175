"""Seeds derived by name: each random draw of a run has its own, which depends on nothing that was drawn before.

There is no random state to carry along or to save: a step that is repeated draws the same numbers.
"""

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, 2^63) for the purpose that ``names`` spell out, the same on every machine and in every process."""
    text = "\x1f".join([str(seed), *map(str, names)])
    # Names come from files, which may hold half of a surrogate pair.
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big") >> 1


def prompt_seeds(seed: int, num_prompts: int) -> list[int]:
    """The seeds of the prompts of one call of an engine, which depend on ``seed`` and each prompt's place in it."""
    return [derive_seed(seed, "prompt", place) for place in range(num_prompts)]


HASH_SEED = "0"
"""``PYTHONHASHSEED`` of processes whose results may not depend on the order in which a set gives its elements."""
