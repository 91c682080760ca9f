from tests.playground.processes import command, ledger, work

__all__ = ["command", "ledger", "work"]
