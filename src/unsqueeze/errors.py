"""The errors a user can meet.

    UnsqueezeError
    ├── UserError (also ValueError)          the input is wrong: what was given, what is allowed, what to do (exit 2)
    │   └── MissingExtraError (ImportError)  an optional package is needed; names the command that installs it
    └── RunError (also RuntimeError)         the input was fine and the work failed (exit code 1)
        └── LostProcessError                 another process of the run is gone

A message is one sentence, or a few, that a person can act upon. The command line prints it without a traceback.
Our own broken invariants are ``assert``; they are never one of these.
"""


class UnsqueezeError(Exception):
    """Base of every error this package raises on purpose."""


class UserError(UnsqueezeError, ValueError):
    """The user's input is wrong. Says what was given, where, what is allowed and what to do next."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is absent. Says which command installs it."""


class RunError(UnsqueezeError, RuntimeError):
    """The input was right and the work failed. What is on disk stays whole."""


class LostProcessError(RunError):
    """Another process of the run is gone, or was waited for in vain. The reason is that process's to tell."""


class Interrupted(Exception):  # noqa: N818
    """No error: the user asked to stop. Raised only where the weights are whole."""


INTERRUPTED = 130
"""The exit code after that: the one shells give to a command ended by Ctrl-C."""


def one_line(error: object, most: int = 300) -> str:
    """The message of an error on one line, at most ``most`` characters; the name of its type where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__
