"""Errors of the sweep layer that a user can act on."""

from trainables.errors import ResultsError, UserError

AUTHENTICATION_ADVICE = (
    "put the cluster's token into ~/.ray/auth_token (on its head: ray get-auth-token), and: export RAY_AUTH_MODE=token"
)
"""Advice where a cluster requires a token."""


class SweepError(UserError):
    """A user's mistake about a sweep: its spec, its ledger, its cluster, or how it is to go on."""


class RunStoppedError(Exception):
    """A run had to stop, but not by a mistake of the user's; what was committed stays. Exit code 1."""


class TrialsFailAlikeError(RunStoppedError):
    """The first trials of a run failed with the same error. The message says which, where its log is, how to go on."""


class TaskFailedError(RunStoppedError):
    """A task that prepares a sweep failed, and not by a known mistake of the user's."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message, details)
        self.message = message
        self.details = details
        """The traceback from its worker."""

    def __str__(self) -> str:
        return self.message


class StorageError(RunStoppedError, ResultsError):
    """A disk or an object store failed. The message says where, what was being done, and the system's own message.

    What was published before stays. It carries only its message, so it can be pickled. Exit code 1.
    """


class SweepGoneError(StorageError):
    """A file that the sweep needs is gone: this run, and its trials, begin no further write."""


class IrregularFileError(StorageError):
    """A path of a sweep leads to a link, to a folder in place of a file, or the like: see ``LocalStorage``."""


class SweepExistsError(SweepError):
    """The sweep exists already, and the user did not ask to resume it."""


class NothingToUnlearnError(SweepError):
    """The base model has memorized nothing of any forget set, so there is nothing to unlearn."""


class LedgerWarning(UserWarning):
    """Something in a ledger is not as it should be. The message names it, and says what was done about it."""


class SweepInterruptedError(Exception):
    """The sweep was stopped by a signal after everything had been committed. Exit code 128 + the signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


class BudgetSpentError(Exception):
    """The sweep was driven as long as its budget allows; its trials stop in good order. Exit code 0."""
