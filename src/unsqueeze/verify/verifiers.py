"""Who judges the answers to a job."""

from unsqueeze.config.recipe import DataSettings, VerifySettings
from unsqueeze.verify.countdown import CountdownVerifier
from unsqueeze.verify.verdict import Verifier


def make_verifier(data: DataSettings, verify: VerifySettings) -> Verifier:
    """Countdown replays the steps in place; everything else goes to worker processes."""
    if data.kind == "countdown":
        return CountdownVerifier()
    from unsqueeze.verify.math_verifier import MathVerifier

    verifier = MathVerifier(workers=verify.workers, timeout_s=verify.timeout_s, credit=verify.credit)
    verifier.start()
    return verifier
