"""One GET that either gives a whole, plausible body or says clearly why not.

What passes by itself is tried again with growing waits: no connection, a hang, a cut body, a server error, a page of
HTML in place of data, a body that does not parse. HTTP 429 and 418 wait as long as the server asks. A redirect to
another host is refused, for nothing says that what lies there is the venue's.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import MaxRetryError

from backtest.errors import Problem, SourceError

T = TypeVar("T")

_LIMITED = (418, 429)  # Binance answers 418 to those who went on after 429
_MOVED = (301, 302, 303, 307, 308)
_REFUSED = dict.fromkeys((403, 451), "venues refuse whole countries; name a mirror or use a proxy (HTTPS_PROXY)")
_REDIRECTS_MAX = 3
_PIECE_BYTES = 1 << 16
_AGAIN = "call the same command again later: what is there stays, the rest is fetched"


class UnreachableError(SourceError):
    """A host gives no answer, or asks to be left alone: asking it for more is of no use now."""


class _TransientError(Exception):
    """What may be right on the next attempt; `wait_s` is how long the server asks to wait."""

    def __init__(self, what: str, wait_s: float | None = None, *, reached: bool = True) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Manners:
    """How patient a client is, in seconds: attempts, waits and the size that it takes."""

    attempts: int = 6
    first_wait_s: float = 1.0  # doubled after each attempt, give or take a quarter
    longest_wait_s: float = 60.0
    longest_ask_s: float = 300.0  # a server that asks to wait longer is left alone
    silence_s: float = 30.0  # no byte for so long: given up
    whole_s: float = 600.0  # the longest that one body may take
    max_bytes: int = 1 << 28


@dataclass(slots=True)
class Client:
    """Fetches from several hosts, at most one request each `pace_s` seconds to a host. Safe to share among threads."""

    manners: Manners = Manners()
    requests_made: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next_s: dict[str, float] = field(default_factory=dict)
    _answered: set[str] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _session: threading.local = field(default_factory=threading.local)

    def get(
        self,
        url: str,
        parse: Callable[[bytes], T],
        params: Mapping[str, object] | None = None,
        *,
        pace_s: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> T | None:
        """Give the parsed body; None where the server says that there is no such thing (404).

        A `ValueError` of `parse` means that the body is not whole, and is tried again. Raises `SourceError`.
        """
        problem = _TransientError("was not asked")
        for attempt in range(self.manners.attempts):
            if attempt:
                self._pause(url, self._wait_s(url, problem, attempt))
            self._keep_pace(urlsplit(url).netloc, pace_s)
            try:
                body = self._once(url, params, headers)
                return None if body is None else parse(body)
            except _TransientError as error:
                problem = error
            except ValueError as error:
                problem = _TransientError(f"gives a body that cannot be read ({error})")
        what = f"{problem}, {self.manners.attempts} times"
        raise (SourceError if problem.reached else UnreachableError)(Problem(url, what, _AGAIN))

    def stop(self) -> None:
        """Let requests that wait, in any thread, give up: the pull is over."""
        self._stopped.set()

    def _wait_s(self, url: str, problem: _TransientError, attempt: int) -> float:
        asked = problem.wait_s
        if asked is None:
            wait_s = self.manners.first_wait_s * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)
            return float(min(wait_s, self.manners.longest_wait_s))
        if asked > self.manners.longest_ask_s:
            raise UnreachableError(Problem(url, f"{problem}, and asks to wait {asked:.0f} s", _AGAIN))
        return asked

    def _keep_pace(self, host: str, pace_s: float) -> None:
        with self._lock:
            self.requests_made += 1
            now = time.monotonic()
            start_s = max(now, self._next_s.get(host, now))
            self._next_s[host] = start_s + pace_s
        self._pause(host, start_s - now)

    def _pause(self, where: str, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise UnreachableError(Problem(where, "was not asked any more: the pull has stopped", _AGAIN))

    def _once(self, url: str, params: Mapping[str, object] | None, headers: Mapping[str, str] | None) -> bytes | None:
        if not hasattr(self._session, "value"):  # a session is not safe to share among threads
            self._session.value = requests.Session()
        asked = {"Accept-Encoding": "identity", "User-Agent": "backtest", **(headers or {})}
        for _ in range(_REDIRECTS_MAX + 1):
            try:
                with self._session.value.get(
                    url,
                    params=params,
                    headers=asked,
                    stream=True,
                    allow_redirects=False,
                    timeout=self.manners.silence_s,
                ) as response:
                    self._answered.add(urlsplit(url).netloc)
                    if response.status_code not in _MOVED:
                        return self._body(url, response)
                    url, params = _same_host(response.url, response.headers.get("Location", "")), None
            except requests.RequestException as error:
                known = urlsplit(url).netloc in self._answered and not _is_unconnected(error)
                raise _TransientError(f"gives no answer ({_short(error)})", reached=known) from None
        raise SourceError(Problem(url, f"redirects more than {_REDIRECTS_MAX} times", "check the address"))

    def _body(self, url: str, response: Any) -> bytes | None:
        status = response.status_code
        if status == 404:
            return None
        if status in _LIMITED or status >= 500:
            wait_s = _retry_after_s(response.headers.get("Retry-After"))
            raise _TransientError(f"answers with status {status}", wait_s, reached=status not in _LIMITED)
        content = self._read(url, response)
        if status != 200:
            text = " ".join(content[:200].decode("utf-8", "replace").split())
            what = f"answers with status {status}: {text}"
            raise SourceError(Problem(url, what, _REFUSED.get(status, "check symbol, table and range")))
        if "html" in response.headers.get("Content-Type", "").lower() or content[:64].lstrip()[:1] == b"<":
            raise _TransientError("gives a page of HTML in place of data")
        return content

    def _read(self, url: str, response: Any) -> bytes:
        content = bytearray()
        deadline_s = time.monotonic() + self.manners.whole_s
        try:
            for piece in response.iter_content(_PIECE_BYTES):
                content += piece
                if len(content) > self.manners.max_bytes:
                    raise SourceError(
                        Problem(url, f"gives more than {self.manners.max_bytes} bytes", "check the address")
                    )
                if time.monotonic() > deadline_s:
                    raise _TransientError(f"takes longer than {self.manners.whole_s:.0f} s")
        except requests.RequestException as error:
            raise _TransientError(f"breaks off after {len(content)} bytes ({_short(error)})") from None
        return bytes(content)


def read_json(body: bytes) -> Any:
    """Parse JSON, numbers with a point as text so that no digit is lost."""
    try:
        return json.loads(body, parse_float=str)
    except RecursionError:
        raise ValueError("it is nested without end") from None


def _same_host(url: str, target: str) -> str:
    moved = urljoin(url, target)
    if urlsplit(moved)[:2] != urlsplit(url)[:2]:
        where, elsewhere = url.partition("?")[0], urlsplit(moved).netloc  # without the query: it may be signed
        raise SourceError(Problem(where, f"redirects to another host ({elsewhere})", "refused; check the address"))
    return moved


def _retry_after_s(text: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    if text is None:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((moment - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)


def _is_unconnected(error: requests.RequestException) -> bool:
    """Say whether not even a connection came about: name unknown, port closed, no route, no trust."""
    return isinstance(error, requests.ConnectTimeout) or (
        isinstance(error, requests.ConnectionError) and isinstance(next(iter(error.args), None), MaxRetryError)
    )


def _short(error: Exception) -> str:
    """Give the innermost reason, without the pool and the query: that may be signed."""
    inner = next(iter(error.args), error)
    text = " ".join(str(getattr(inner, "reason", None) or inner).split())
    return re.sub(r"^.*?\): |\?\S*", "", text)[:160] or type(error).__name__
