"""All stores over one connection, as one value to pass on."""

from state.redis.client import Redis
from state.store.audit import Audit
from state.store.auth_states import AuthStates
from state.store.bad_records import BadRecords
from state.store.catalogs import Catalogs
from state.store.credentials import Links
from state.store.devices import Devices
from state.store.edge_reports import EdgeReports
from state.store.entries import Entries
from state.store.feed import Feed
from state.store.flows import Flows
from state.store.groups import Groups
from state.store.health import Health
from state.store.homes import Homes
from state.store.imported import Imported
from state.store.joining import Joining
from state.store.leases import Leases
from state.store.oauth import Codes
from state.store.orphans import Orphans
from state.store.reverse_holders import ReverseHolders
from state.store.servers import Servers
from state.store.services import Services
from state.store.sessions import Sessions
from state.store.shares import Shares
from state.store.ssh_passes import SshPasses
from state.store.standings import Standings
from state.store.tokens import Tokens
from state.store.tries import Tries
from state.store.users import Users


class Store:
    """The stores. Open them once per process with `await Store.open(url)`, then pass them as an argument."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.users = Users(redis)
        self.groups = Groups(redis)
        self.services = Services(redis)
        self.shares = Shares(redis)
        self.servers = Servers(redis)
        self.sessions = Sessions(redis)
        self.tokens = Tokens(redis)
        self.links = Links(redis)
        self.flows = Flows(redis)
        self.codes = Codes(redis)
        self.devices = Devices(redis)
        self.standings = Standings(redis)
        self.auth_states = AuthStates(redis)
        self.feed = Feed(redis)
        self.health = Health(redis)
        self.joining = Joining(redis)
        self.ssh_passes = SshPasses(redis)
        self.reverse_holders = ReverseHolders(redis)
        self.leases = Leases(redis)
        self.homes = Homes(redis)
        self.catalogs = Catalogs(redis)
        self.audit = Audit(redis)
        self.imported = Imported(redis)
        self.entries = Entries(redis)
        self.tries = Tries(redis)
        self.edge_reports = EdgeReports(redis)
        self.orphans = Orphans(redis)
        self.bad_records = BadRecords(redis)

    @classmethod
    async def open(cls, url: str) -> "Store":
        """Connect (see `state.config.tables.StateConfig`). Raises StateUnavailableError."""
        return cls(await Redis.open(url))

    async def close(self) -> None:
        """Close every connection."""
        await self.redis.close()
