"""The codecs of all kinds of records."""

from typing import Final

from state.offer.catalog import Catalog, Grants
from state.records.audit import Entry
from state.records.codec import Codec
from state.records.models import (
    DeviceSignIn,
    Entrance,
    Event,
    Group,
    OAuthCode,
    Route,
    Server,
    Service,
    Session,
    Share,
    ShareCode,
    Standing,
    Token,
    User,
)

CATALOG: Final = Codec(Catalog)
DEVICE_SIGN_IN: Final = Codec(DeviceSignIn)
ENTRANCE: Final = Codec(Entrance)
ENTRY: Final = Codec(Entry)
EVENT: Final = Codec(Event)
GRANTS: Final = Codec(Grants)
GROUP: Final = Codec(Group)
OAUTH_CODE: Final = Codec(OAuthCode)
ROUTE: Final = Codec(Route)
SERVER: Final = Codec(Server)
SERVICE: Final = Codec(Service)
SESSION: Final = Codec(Session)
SHARE: Final = Codec(Share)
SHARE_CODE: Final = Codec(ShareCode)
STANDING: Final = Codec(Standing)
TOKEN: Final = Codec(Token)
USER: Final = Codec(User)
