"""One message of a program's file, as a real customer would get it, to one address that is given. Nobody else is reached or touched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import md5
from typing import Any

import duckdb

from winback.clock import unguessable_token
from winback.destinations import context_for
from winback.destinations.base import Channel, Message, MessageDestination, Outcome, Result
from winback.destinations.config import FILE_NAME, load_destinations
from winback.errors import BadConfig, BadInput, InDoubt, RejectItem, RetryLater, StopRun
from winback.ledger import open_ledger
from winback.links import OwnLinks, own_links
from winback.programs import CUSTOMER_COLUMNS, Definition, LoadedPrograms, links_for, load_programs, render
from winback.scratch import derived_as_of
from winback.settings import Settings
from winback.warehouse import open_warehouse

ACT = "send_test"
MARK = "[Test] "
_CODE = "TEST-CODE"
_CONTACT_COLUMNS = frozenset({"first_name", "last_name", "language", "country", "extras"})


@dataclass(frozen=True, slots=True)
class TrialSend:
    """What became of a test. `customer_id`: whose values were rendered. The address is not kept."""

    program: str
    step_no: int
    content: str
    channel: str
    customer_id: str
    destination: str
    message_id: str
    subject: str
    outcome: str
    reason: str
    place: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def send_test(
    settings: Settings,
    program: str,
    step: str,
    to: str,
    now: datetime,
    *,
    channel: str | None = None,
    customer_id: str | None = None,
    live: bool = False,
    actor: str,
) -> TrialSend:
    """Render a step of the program's file and hand it to the channel's destination, for `to` alone; note it in the audit trail.

    Parameters
    ----------
    step
        Its number, from 1, or the name of its message.
    customer_id
        Whose values are rendered; default: the most valuable customer whom the channel reaches.
    live
        Through the destination that destinations.yml names for the channel (also where its mode is still outbox), else into the outbox.

    Raises
    ------
    BadConfig
        No such program or step, programs/ or destinations.yml has problems, or a credential is missing.
    BadInput
        The address is none of this channel, there is no such customer, or no day has been derived yet.
    """
    if not settings.warehouse.is_file():
        raise BadInput(f"{settings.root}: there is no warehouse yet, so no customer to render for. Run a day first: winback run.")
    with open_ledger(settings) as ledger:
        loaded = load_programs(settings, ledger)
        step_no, content, on = _step(loaded, settings, program, step, channel)
        address = _address(on, to)
        with open_warehouse(settings) as connection:
            derived_as_of(connection)
            customer = _customer(connection, on, customer_id)
        message = _message(loaded, program, step_no, content, on, customer, address, now, own_links(settings))
        destination = _open(settings, on, live=live)
        try:
            result = _send(destination, message, now)
        finally:
            destination.close()
        sent = TrialSend(
            program=program,
            step_no=step_no,
            content=content,
            channel=on.value,
            customer_id=customer["customer_id"],
            destination=destination.name,
            message_id=message.message_id,
            subject=message.subject,
            outcome=result.outcome.value,
            reason=result.reason,
            place="" if live else str(settings.outbox / on.value),
        )
        details = {key: value for key, value in sent.as_dict().items() if key not in ("subject", "place", "program")}
        ledger.audit(ACT, actor=actor, subject=program, details=details, now=now)
    return sent


def _step(loaded: LoadedPrograms, settings: Settings, program: str, step: str, channel: str | None) -> tuple[int, str, Channel]:
    if program not in loaded.programs:
        raise BadConfig(f"There is no program {program!r} in {settings.programs_dir}. There are: {', '.join(sorted(loaded.programs))}.")
    steps = loaded.programs[program].steps
    sends = {number: one for number, one in enumerate(steps, start=1) if one.send is not None}
    chosen = next((number for number, one in sends.items() if step in (str(number), one.send)), None)
    if chosen is None:
        allowed = ", ".join(f"{number} ({one.send})" for number, one in sends.items())
        what = (
            "a task, which goes to a person" if step in {str(number) for number, one in enumerate(steps, 1) if one.task} else "no message"
        )
        raise BadConfig(f"{program}: step {step!r} is {what}; allowed: {allowed or 'none, the program sends no message'}.")
    channels = list(sends[chosen].channels or [])
    if channel is not None and channel not in channels:
        raise BadConfig(f"{program}: step {chosen} does not go by {channel!r}; allowed: {', '.join(channels)}.")
    return chosen, str(sends[chosen].send), Channel(channel or channels[0])


def _address(channel: Channel, to: str) -> str:
    """The address as destinations take it. What was given is not repeated in errors."""
    from winback.destinations.identifiers import e164
    from winback.destinations.mime import envelope_address

    given = to.strip()
    if channel is Channel.EMAIL:
        try:
            return envelope_address(given)
        except RejectItem:
            raise BadInput("--to is no email address; allowed: for example you@example.com.") from None
    if channel is Channel.SMS:
        number = e164(given)
        if number is None:
            raise BadInput("--to is no phone number; allowed: + and digits with the country code, for example +15550100001.")
        return number
    if not given:
        raise BadInput("--to is empty; allowed: the push token of your device.")
    return given


def _customer(connection: duckdb.DuckDBPyConnection, channel: Channel, customer_id: str | None) -> dict[str, Any]:
    columns = ", ".join(f"{'contacts' if name in _CONTACT_COLUMNS else 'customers'}.{name}" for name in CUSTOMER_COLUMNS)
    found = connection.execute(
        f"""
        select customers.customer_id, {columns}
        from marts.customers as customers
        inner join intermediate.int_customers__contacts as contacts on contacts.customer_id = customers.customer_id
        where case when $customer_id is null then customers.reachable_{channel.value} else customers.customer_id = $customer_id end
        order by customers.lifetime_value desc nulls last, customers.customer_id
        limit 1
        """,
        {"customer_id": customer_id},
    )
    names = [column[0] for column in found.description]
    row = found.fetchone()
    if row is None and customer_id is not None:
        raise BadInput(f"The warehouse knows no customer {customer_id!r}. Ids are those of your customers table.")
    if row is None:
        raise BadInput(f"{channel.value} reaches no customer, so there is nobody to render for; name one with --customer.")
    return dict(zip(names, row, strict=True))


def _message(
    loaded: LoadedPrograms,
    program: str,
    step_no: int,
    content: str,
    channel: Channel,
    customer: dict[str, Any],
    to: str,
    now: datetime,
    own: OwnLinks | None,
) -> Message:
    definition: Definition = loaded.definitions[program]
    # An id that no message of the ledger has: whoever follows its links acts on nobody.
    message_id = md5(f"test|{unguessable_token()}".encode(), usedforsecurity=False).hexdigest()
    links = links_for(loaded.brand, message_id, own, customer.get("language"))
    offer = definition.program.offer
    issued = definition.issue_offer(offer.code or _CODE, now.date()) if offer is not None else None
    try:
        rendered = render(definition, content, channel.value, customer, loaded.brand, links, issued)
    except RejectItem as problem:
        raise BadConfig(f"{program}: step {step_no} cannot be rendered: {problem.reason}.") from None
    return Message(
        message_id=message_id,
        channel=channel,
        # Not the customer's: what is done with a test is not theirs, and some push providers reach people by customer id.
        customer_id=to if channel is Channel.PUSH else "test",
        to=to,
        program=program,
        program_version=0,
        step_no=step_no,
        content=content,
        subject=(MARK + (rendered.subject or rendered.title)).strip() if channel is not Channel.SMS else "",
        text=MARK + rendered.text if channel is Channel.SMS else rendered.text,
        html=rendered.html,
        preheader=rendered.preheader,
        language=rendered.language,
        # No mailto: whoever answers it is known by their own address.
        unsubscribe_url=links.unsubscribe,
        data={"url": links.shop} if channel is Channel.PUSH else {},
    )


def _open(settings: Settings, channel: Channel, *, live: bool) -> MessageDestination:
    context = context_for(settings)
    if not live:
        from winback.destinations.local import LocalOutbox

        return LocalOutbox(settings.outbox, sender=context.sender)
    if settings.clock == "simulated":
        raise BadConfig("This home's clock is simulated: nothing leaves it. To test a live destination, set WINBACK_CLOCK=real.")
    config = load_destinations(settings.project)
    names = config.names(channel)
    if not names:
        raise BadConfig(f"{FILE_NAME}: channels.{channel.value} names no destination; name one (its mode may still be outbox).")
    destination = config.build(names[0], context)
    if not hasattr(destination, "send"):
        raise BadConfig(f"{FILE_NAME}: {names[0]} takes no messages")
    return destination  # type: ignore[return-value]  # just looked at


def _send(destination: MessageDestination, message: Message, now: datetime) -> Result:
    try:
        return destination.send([message], now)[0]
    except RetryLater as problem:
        return Result(Outcome.DEFERRED, problem.reason)
    except RejectItem as problem:
        return Result(Outcome.REJECTED, problem.reason)
    except StopRun as problem:
        return Result(Outcome.REJECTED, str(problem))
    except InDoubt as problem:
        return Result(Outcome.UNKNOWN, problem.reason)
