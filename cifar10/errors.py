"""The one exception for what a user can cause and mend."""


class UserError(Exception):
    """Its message is one line: what is wrong, where, and what to do. `train.py` and the scripts print just that."""


class Interrupted(BaseException):
    """Ctrl-C. No Exception, so that nothing takes it for a failed job of a sweep and goes on with the next."""
