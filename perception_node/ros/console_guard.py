"""Who may use the console: hosts and origins, tokens, and how much of it. Free of rclpy and of the web framework."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TOKEN_CHARACTERS = 16
"""Shortest token of an operator's own. Source: 64 bits of letters and digits and more; guessing is limited below."""
WRONG_TOKENS, WRONG_PERIOD_S = 5, 60.0
_SESSION = re.compile(r"[0-9a-f]{32}")
_ADDRESSES = 1024


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_session() -> str:
    """An id that nobody guesses."""
    return secrets.token_hex(16)


def known_form(session: object) -> bool:
    """True for text that has the form of a session id of ours."""
    return isinstance(session, str) and _SESSION.fullmatch(session) is not None


@dataclass
class Bucket:
    """Allows `rate_hz` things a second, `burst` at once."""

    rate_hz: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst, self.clock()

    def take(self) -> bool:
        """Use one; False = none is left."""
        now = self.clock()
        self._left = min(self._left + self.rate_hz * (now - self._at), self.burst)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Guard:
    """Decides over requests by their headers and tokens.

    Args:
        host, port: where the server listens. token: of the operators, "" = one is made. names: further host names that the page is
            called by. clock: seconds.
    """

    def __init__(self, host: str, port: int, token: str = "", names: tuple[str, ...] = (),
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.loopback, self.port = is_loopback(host), port
        self.token = token or secrets.token_urlsafe(24)
        self._names = {"localhost", "127.0.0.1", "::1"} if self.loopback else {host, *names}
        self._any_address = host in ("0.0.0.0", "::")
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def host_allowed(self, headers: Mapping[str, str]) -> bool:
        """The Host header names this server: a page of another name that resolves to this machine is none of ours."""
        return self._ours(f"//{headers.get('Host', '')}")

    def origin_allowed(self, headers: Mapping[str, str]) -> bool:
        """The request comes from our own page: same origin as the host asked for."""
        origin = headers.get("Origin", "")
        return origin in (f"http://{headers.get('Host', '')}", f"https://{headers.get('Host', '')}") and self._ours(origin)

    def token_right(self, token: object, address: str) -> bool:
        """True for the right token, compared in constant time; after five wrong ones a minute from one address nothing is right."""
        now = self._clock()
        wrong = [at for at in self._wrong.pop(address, []) if now - at < WRONG_PERIOD_S]
        right = isinstance(token, str) and len(wrong) < WRONG_TOKENS and hmac.compare_digest(token.encode(), self.token.encode())
        if not right and len(wrong) < WRONG_TOKENS:
            wrong.append(now)
        if wrong and not right:
            self._wrong[address] = wrong
        while len(self._wrong) > _ADDRESSES:
            self._wrong.popitem(last=False)
        return right

    def _ours(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if self._any_address and host not in self._names:
            try:
                ipaddress.ip_address(host)
            except ValueError:
                return False
            return port == self.port
        return host in self._names and port == self.port
