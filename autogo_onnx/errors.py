"""Every deliberate error of the package; the command line makes one line and an exit code of it."""


class AutogoError(Exception):
    """Base of all deliberate errors. The message is one line: what, where, what to do."""

    exit_code = 2


class InputError(AutogoError):
    """A model, sample, option or file that we cannot use; nothing was written."""


class NotComparable(InputError):
    """Outputs that cannot be compared sample by sample, so that changes cannot be judged."""


class OutOfTime(AutogoError):
    """Work was broken off because its deadline had come; whoever began it goes on without it."""


class PromiseError(AutogoError):
    """A rewrite did not keep its promise; nothing was written."""

    exit_code = 3
