"""Opens and clicks that no person made, judged by the user agent when they arrive; the list is of 2026-11.

An open counts as a person's where nothing speaks against it. Providers' own flags (`sg_machine_open`) go before this list. Clicks on
several links within seconds of delivery are judged later, in the warehouse, where all clicks of a message are seen together.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Apple Mail Privacy Protection loads every image of every mail with exactly this, read or not (support.apple.com/en-us/102651).
_PRIVACY_PROXY = "Mozilla/5.0"

# Gmail loads images of mails that arrive while its app is open, before anybody looks (SparkPost, "Gmail is prefetching images", 2021).
_GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 "
    "Edge/12.246 Mozilla/5.0"
)

# Link scanners and tools that name themselves. Not here: GoogleImageProxy and YahooMailProxy, which load an image when a person
# opens the mail.
_SCANNERS = re.compile(
    r"barracuda|proofpoint|mimecast|symantec|messagelabs|trendmicro|fortiguard|forcepoint|cloudmark|sophos|ironport|"
    r"microsoft office existence discovery|skypeuripreview|bingpreview|slackbot|facebookexternalhit|whatsapp/|telegrambot|linkedinbot|"
    r"twitterbot|discordbot|google-safety|googlebot|bingbot|yandex(bot|images)|headlesschrome|phantomjs|"
    r"\b(bot|crawler|spider|scanner|preview)\b|python-requests|python-urllib|aiohttp|httpx|curl/|wget/|go-http-client|java/|okhttp|libwww|axios|"
    r"node-fetch|apache-httpclient|winhttp",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def is_machine(user_agent: str | None) -> bool:
    """Whether a user agent is that of a privacy proxy, a scanner or a program. Unknown is not: False."""
    if not user_agent:
        return False
    text = user_agent.strip()
    return text in (_PRIVACY_PROXY, _GMAIL_PREFETCH) or _SCANNERS.search(text) is not None
