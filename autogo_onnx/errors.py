"""Every deliberate error of the package; the command line makes one line and an exit code of it."""


class AutogoError(Exception):
    """Base of all deliberate errors. The message is one line: what, where, what to do."""

    exit_code = 2


class InputError(AutogoError):
    """A model, sample, option or file that we cannot use; nothing was written."""


class PromiseError(AutogoError):
    """A rewrite did not keep its promise; nothing was written."""

    exit_code = 3
