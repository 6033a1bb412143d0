"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Bad input; the message names the culprit and the mend."""
