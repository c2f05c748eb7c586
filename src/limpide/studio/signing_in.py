"""Accounts, where others can reach the studio: who they are stands in the service's database."""

from dataclasses import dataclass
from pathlib import Path

from limpide.core.errors import UsageError
from limpide.serve import accounts
from limpide.serve.accounts import Account
from limpide.serve.store import Store, database_of, open_store
from limpide.studio.project import Project
from limpide.studio.session import AccountSessions
from limpide.studio.settings import StudioSettings


@dataclass(frozen=True)
class Reception:
    """Signs people in and opens their sessions."""

    store: Store
    desk: accounts.Reception

    async def check(self, name: str, password: str, address: str) -> Account:
        """Raises AccessRefused."""
        return await self.desk.check(name, password, address)

    def open(self, account: Account) -> str:
        return accounts.open_session(self.store, account)


def account_way_in(project: Project, settings: StudioSettings, host: str) -> tuple[AccountSessions, Reception]:
    """Raises UsageError when no administrator has an account: nobody could then let others in, or shut them out."""
    database = database_of(project.service, settings.database)
    store = open_store(database)
    if not any(account.role == "administrator" for account in accounts.listed(store)):
        store.close()
        where = f" --state {project.service}" if isinstance(database, Path) else ""
        raise UsageError(
            "Others can reach this address, and no administrator has an account.",
            received=host,
            expected="an account with the role administrator, or an address of this machine alone (127.0.0.1)",
            remedy=f"limpide accounts add NAME --role administrator{where}",
        )
    return AccountSessions(store), Reception(store, accounts.Reception(store))
