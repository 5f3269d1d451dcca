"""The one exception for what a user can cause and mend."""


class UserError(Exception):
    """Its message is one line: what is wrong, where, and what to do. `train.py` and the scripts print just that."""


class Interrupted(Exception):
    """Ctrl-C, after the current batch was finished and the state saved."""
