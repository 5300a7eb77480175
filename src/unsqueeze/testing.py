"""An engine for tests of one's own code: it says what it was told to.

    from unsqueeze.testing import ScriptedEngine

See ``rollout.scripted``.
"""

from unsqueeze.rollout.scripted import Line, ScriptedEngine

__all__ = ["Line", "ScriptedEngine"]
