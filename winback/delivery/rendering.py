"""From a due message to what the destination gets: the words of the version that the customer entered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from winback.destinations.base import Channel, Message
from winback.errors import RejectItem
from winback.ledger import Ledger

if TYPE_CHECKING:
    from winback.delivery.queue import Item
    from winback.links import OwnLinks
    from winback.programs.schema import Brand
    from winback.programs.versions import Definition


class Renderer(Protocol):
    """Makes a message from a due item; `item.row` has the columns of the queue (customer, address, program, content, offer code)."""

    def render(self, item: Item) -> Message:
        """Raises `RejectItem` where this item can never be rendered."""
        ...


class ProgramRenderer:
    """Renders with `winback.programs` from the definitions that the ledger keeps.

    `own`: signed links to `winback listen` instead of the brand's pages. `tracks`: the destination of email counts opens and clicks
    itself; else they are counted as the brand asks.
    """

    def __init__(self, ledger: Ledger, brand: Brand, own: OwnLinks | None = None, *, tracks: bool = False) -> None:
        self._ledger = ledger
        self._brand = brand
        self._own = own
        self._opens = brand.tracking.opens and not tracks
        self._clicks = brand.tracking.clicks and not tracks
        self._kept = tuple(filter(None, (brand.unsubscribe.url, brand.preferences_url)))
        self._definitions: dict[tuple[str, int], Definition] = {}

    def render(self, item: Item) -> Message:
        from winback.programs.rendering import render
        from winback.programs.variables import links_for

        row = item.row
        definition = self._definition(row["program"], row["version"])
        # From the entry, not from this message: every message of a journey names the same last day of the code.
        offer = definition.issue_offer(row["offer_code"], row["enrolled_at"].date()) if row["offer_code"] else None
        links = links_for(self._brand, item.item_id, self._own, row["language"])
        rendered = render(definition, row["content"], row["channel"], row, self._brand, links, offer)
        return Message(
            message_id=item.item_id,
            channel=Channel(row["channel"]),
            customer_id=row["customer_id"],
            to=row["address"],
            program=row["program"],
            program_version=row["version"],
            step_no=row["step_no"],
            content=row["content"],
            subject=rendered.subject or rendered.title,
            text=rendered.text,
            html=self._tracked(rendered.html, item.item_id),
            preheader=rendered.preheader,
            to_name=_display_name(row),
            language=rendered.language,
            unsubscribe_url=links.unsubscribe,
            unsubscribe_mailto=self._brand.unsubscribe.mailto,
            data={"url": links.shop} if row["channel"] == Channel.PUSH else {},
        )

    def _tracked(self, html: str, message_id: str) -> str:
        if self._own is None or not html or not (self._opens or self._clicks):
            return html
        return self._own.tracked(html, message_id, opens=self._opens, clicks=self._clicks, keep=self._kept)

    def _definition(self, program: str, version: int) -> Definition:
        found = self._definitions.get((program, version))
        if found is None:
            from winback.programs.versions import Definition

            rows = self._ledger.rows("program_versions", program=program, version=version)
            if not rows:
                raise RejectItem(f"the ledger has no version {version} of {program}")
            found = self._definitions[(program, version)] = Definition.from_json(rows[0]["definition"], rows[0]["content_hash"])
        return found


def _display_name(row: dict[str, Any]) -> str:
    from winback.programs.variables import person_name

    given = (row["first_name"], row["last_name"])
    return " ".join(name for name in (person_name(text) for text in given if text) if name)
