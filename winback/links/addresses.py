"""The addresses of our own pages in messages, and tracking put into the HTML of an email."""

from __future__ import annotations

import html as html_text
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from winback.errors import BadConfig
from winback.links.keys import KeyRing, link_keys
from winback.links.tokens import sign
from winback.settings import Settings

UNSUBSCRIBE = "/u"
PREFERENCES = "/p"
OPEN = "/o"
CLICK = "/c"

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
# Without re.IGNORECASE: the search for a literal "<" is twice as quick.
_ANCHOR = re.compile(r"""(<[aA]\s(?:[^>]*?\s)?[hH][rR][eE][fF]\s*=\s*)(?:"([^"]*)"|'([^']*)')""")
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)")


class OwnLinks:
    """Makes the links of messages to `winback listen` at `base_url` (no slash at its end)."""

    def __init__(self, base_url: str, keys: KeyRing) -> None:
        self.base_url = base_url
        self._key = keys.newest
        self._unsubscribe = f"{base_url}{UNSUBSCRIBE}/"
        self._preferences = f"{base_url}{PREFERENCES}/"

    def unsubscribe(self, message_id: str, language: object = None) -> str:
        """Leaves the message's channel: POST acts (RFC 8058), GET shows a page with a button."""
        return self._unsubscribe + sign(self._key, "unsubscribe", message_id) + _in(language)

    def preferences(self, message_id: str, language: object = None) -> str:
        """The customer's page of channels and frequency."""
        return self._preferences + sign(self._key, "preferences", message_id) + _in(language)

    def pixel(self, message_id: str) -> str:
        """A picture whose loading says that the message was shown."""
        return f"{self.base_url}{OPEN}/{sign(self._key, 'open', message_id)}.gif"

    def click(self, message_id: str, number: int, target: str) -> str:
        """A redirect to `target`, the `number`th link of the message. The token vouches for both: no other target passes."""
        token = sign(self._key, "click", message_id, said_of_click(number, target))
        return f"{self.base_url}{CLICK}/{token}/{number}?to={_quoted(target)}"

    def tracked(self, html: str, message_id: str, *, opens: bool, clicks: bool, keep: tuple[str, ...] = ()) -> str:
        """The HTML of an email with its links through redirects and a pixel at its end, as asked for.

        Links that stay as they are: what is not http(s), our own pages, and addresses that begin like one of `keep`.
        """
        if clicks:
            number = 0
            keep = (self.base_url + "/", *keep)

            def redirect(match: re.Match[str]) -> str:
                nonlocal number
                target = _target(match[2] if match[2] is not None else match[3])
                if target is None or target.startswith(keep):
                    return match[0]
                number += 1
                return f'{match[1]}"{html_text.escape(self.click(message_id, number, target))}"'

            html = _ANCHOR.sub(redirect, html)
        if opens:
            pixel = f'<img src="{self.pixel(message_id)}" width="1" height="1" alt="" style="border:0;height:1px;width:1px;">'
            head, end, rest = html.rpartition("</body>")
            html = f"{head}{pixel}{end}{rest}" if end else f"{html}{pixel}"
        return html


def said_of_click(number: int, target: str) -> str:
    """What a click's token vouches for besides the message."""
    return f"{number} {target}"


def own_links(settings: Settings, environment: Mapping[str, str] | None = None) -> OwnLinks | None:
    """Links to `winback listen`, or None where nobody has said how it is reached: messages then link to the brand's own pages.

    Raises
    ------
    BadConfig
        `public_url` is not safe to send to people, or a signing key is wrong or missing.
    """
    base_url = settings.listener_url
    if base_url is None:
        return None
    if not base_url.startswith("https://") and not _LOCAL.match(base_url):
        raise BadConfig(
            f"WINBACK_PUBLIC_URL: found {base_url}; allowed: an https:// address (http:// only for 127.0.0.1 and localhost, for trials). "
            "Mail programs offer one-click unsubscribing for https alone."
        )
    return OwnLinks(base_url, link_keys(settings, environment))


def _in(language: object) -> str:
    """Languages come with customers' data: what is none is left out."""
    return f"?l={language}" if isinstance(language, str) and _LANGUAGE.fullmatch(language) else ""


@lru_cache(maxsize=4096)
def _target(href: str) -> str | None:
    target = html_text.unescape(href).strip()
    return target if _HTTP.match(target) else None


@lru_cache(maxsize=4096)
def _quoted(target: str) -> str:
    return quote(target, safe="", errors="replace")
