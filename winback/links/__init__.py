"""Links of our own in messages: leave, choose, and (where a destination does not count them itself) opens and clicks.

See docs/unsubscribing.md and docs/decisions/0011-links-carry-their-own-proof.md.
"""

from __future__ import annotations

from winback.links.addresses import OwnLinks, own_links
from winback.links.keys import Key, KeyRing, link_keys

__all__ = ["Key", "KeyRing", "OwnLinks", "link_keys", "own_links"]
