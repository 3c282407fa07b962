"""What a user can do wrong at the command line: one line and exit code 2."""


class UserError(Exception):
    """A fault of the input, said in one line; the command line prints it and exits with 2."""
