"""What a program and the brand may say: closed, typed, and the one source of the JSON Schemas and of the reference in docs/programs.md."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

ChannelName = Literal["email", "push", "sms"]
AdPlatform = Literal["google", "meta", "tiktok"]
ListPlatform = Literal["klaviyo"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Status = Literal["draft", "live", "paused", "retired"]
EMAIL_PATTERN = r"^[^@\s<>,;:\"()]+@[^@\s<>,;:\"()]+\.[^@\s<>,;:\"()]+$"
URL_PATTERN = r"^https?://[^\s<>\"']+$"
COLOUR_PATTERN = r"^#[0-9a-fA-F]{6}$"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=40)]
Days = Annotated[int, Field(ge=0, le=3650)]
PositiveDays = Annotated[int, Field(ge=1, le=3650)]
Email = Annotated[str, Field(pattern=EMAIL_PATTERN, max_length=254)]
Url = Annotated[str, Field(pattern=URL_PATTERN, max_length=1000)]
Colour = Annotated[str, Field(pattern=COLOUR_PATTERN)]
Line = Annotated[str, Field(pattern=r"^[^\r\n]+$", max_length=200)]


class Part(BaseModel):
    """A group of fields. Unknown fields are refused, and nothing is converted: "10" is not 10."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class LapseDays(Part):
    """The program's own threshold on the audience's `lapse_days`."""

    at_least: Days | None = Field(None, description="Only members who have lapsed for this many days or more")
    below: PositiveDays | None = Field(None, description="Only members who have lapsed for fewer days than this")


class Cadence(Part):
    """On which days customers enter. Steps of those who are in go on every day."""

    every: Literal["daily", "weekly", "biweekly"] = Field(description="How often customers enter")
    on: Weekday | None = Field(None, description="The day of entry; weekly and biweekly need it")


def _cadence_kind(value: Any) -> str:
    return "fields" if isinstance(value, dict | Cadence) else "word"


class Reentry(Part):
    """When someone who has been in the program may enter again. On top of it: once per lapse."""

    after_days: Days | None = Field(None, description="Days since the last entry before another; nothing: no wait")
    max_entries: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="Entries in a lifetime; nothing: no limit")


class Entry(Part):
    """Who of the audience may enter."""

    exclude_purchased_within_days: Days = Field(0, description="Not those who bought in fewer days than this")
    exclude_engaged_within_days: Days = Field(
        0, description="Not those who opened, clicked, visited or used the product in fewer days than this"
    )
    reentry: Reentry = Field(default_factory=Reentry, description="When someone may enter again")
    max_per_day: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Entries a day, the most valuable customers first; nothing: no limit"
    )


class Offer(Part):
    """The voucher that messages may name: one code for all, or a file of single-use codes."""

    code: Code | None = Field(None, description="One code for everybody")
    codes: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_./-]+$", description="File of single-use codes in programs/, one per line, e.g. codes/comeback.txt"
    )
    percent: Annotated[int, Field(ge=1, le=100)] | None = Field(None, description="Discount in percent, as messages name it")
    expires_after_days: PositiveDays | None = Field(None, description="Days that the code holds, from the first message that names it")


class Step(Part):
    """One thing to do, some days after entry: a message (`send`) or a job for a person (`task`)."""

    day: Days = Field(description="Days after entry; 0 is the day of entry")
    send: Name | None = Field(None, description="The message: a folder in templates/<program>/ or templates/shared/")
    task: Name | None = Field(None, description="A job for a person, e.g. personal_call; goes to the CRM")
    channels: list[ChannelName] | None = Field(
        None, min_length=1, description="In order of preference: the first that reaches the customer is used"
    )
    only_if: Name | None = Field(None, description="Only customers of this segment; others skip the step")
    unless: Name | None = Field(None, description="Customers of this segment skip the step")


class LowerFrequency(Part):
    """Fewer messages over all programs for those who completed this one."""

    channel: ChannelName = Field(description="The channel that is limited")
    messages: Annotated[int, Field(ge=0, le=1000)] = Field(description="Messages at most; 0: none")
    days: PositiveDays = Field(description="In any stretch of this many days")


class OnComplete(Part):
    """What happens to those who reach the end without coming back."""

    after_days: Days = Field(0, description="Days after the last step before any of this happens; coming back until then prevents it")
    tag: Name | None = Field(None, description="Tag set on the customer; removed when they come back")
    suppress_days: PositiveDays | None = Field(None, description="No program writes to them for this many days")
    lower_frequency: LowerFrequency | None = Field(None, description="Fewer messages from now on")
    then: Name | None = Field(None, description="Another program that takes them over")


class Measure(Part):
    """How the result is counted."""

    window_days: PositiveDays = Field(30, description="A purchase within this many days of entry counts as won back")
    attribution_hours: Annotated[int, Field(ge=1, le=8760)] = Field(
        72, description="An order within this many hours of a message is attributed to it"
    )


class Program(Part):
    """One win-back program: which audience, which guards, which steps, which offer, how it is measured."""

    model_config = ConfigDict(title="Winback program")

    name: Name = Field(description="The name of the file, without .yml")
    description: Line = Field("", description="One line for people; changing it makes no new version")
    audience: Name = Field(description="Who is lapsing: the name of a model in dbt_project/models/marts/audiences/")
    lapse_days: LapseDays = Field(default_factory=LapseDays, description="The program's own threshold, in days of the lapse")
    status: Status = Field(
        "draft", description="draft: not used; live: runs; paused: nobody enters and steps wait; retired: ended for good"
    )
    cadence: Annotated[Annotated[Literal["daily"], Tag("word")] | Annotated[Cadence, Tag("fields")], Discriminator(_cadence_kind)] = Field(
        "daily", description="On which days customers enter: daily, or {every: weekly, on: monday}"
    )
    priority: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="A customer is in one program of a group at a time: the highest priority wins"
    )
    group: Name = Field("default", description="Programs of different groups may run at once for one customer")
    entry: Entry = Field(default_factory=Entry, description="Who of the audience may enter")
    holdout_percent: Annotated[float, Field(ge=0, le=100, strict=False)] = Field(
        10.0, description="Share that receives nothing, so that the effect can be measured"
    )
    exit_on: list[Literal["purchase", "engagement"]] = Field(
        default=["purchase"], min_length=1, description="What ends the journey at once: purchase, engagement (an open, click, visit or use)"
    )
    offer: Offer | None = Field(None, description="The voucher that messages may name")
    steps: list[Step] = Field(min_length=1, max_length=50, description="What happens when, in the order of days")
    ad_audiences: list[AdPlatform] = Field(default=[], description="Ad platforms whose audience holds the customer from entry to exit")
    lists: list[ListPlatform] = Field(
        default=[], description="Platforms whose list holds the customer from entry to exit, while they may be written to by email"
    )
    on_complete: OnComplete = Field(default_factory=OnComplete, description="What happens to those who reach the end")
    measure: Measure = Field(default_factory=Measure, description="How the result is counted")

    @property
    def platforms(self) -> list[str]:
        """Where an audience or a list of the program is kept."""
        return [*self.ad_audiences, *self.lists]

    @property
    def every(self) -> str:
        return self.cadence if isinstance(self.cadence, str) else self.cadence.every

    @property
    def weekday(self) -> int | None:
        """1 is Monday; None for daily programs."""
        if isinstance(self.cadence, str) or self.cadence.on is None:
            return None
        return ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"].index(self.cadence.on) + 1

    @property
    def holdout_below(self) -> str:
        """An md5 in hex that sorts below this is holdout: 8 digits, '00000000' for none, 'g' for all."""
        limit = math.floor(self.holdout_percent / 100 * 2**32)
        return "g" if limit >= 2**32 else f"{limit:08x}"


class Colours(Part):
    """The brand's colours, as #rrggbb."""

    accent: Colour = Field("#1f6f4a", description="Buttons and links")
    accent_text: Colour = Field("#ffffff", description="Text on buttons")
    background: Colour = Field("#f4f5f2", description="Around the message")
    panel: Colour = Field("#ffffff", description="Behind the message")
    text: Colour = Field("#22261f", description="Text")
    muted: Colour = Field("#5d6459", description="Small print")


class Logo(Part):
    """The picture at the top of emails."""

    url: Url = Field(description="Address of the picture, twice as wide as shown")
    alt: Line = Field(description="What stands there when pictures are off")
    width: Annotated[int, Field(ge=16, le=600)] = Field(140, description="Width in pixels as shown")


class Sender(Part):
    """From whom emails come."""

    name: Line = Field(description="The name in the inbox")
    email: Email = Field(description="The address in the inbox")
    reply_to: Email | None = Field(None, description="Where answers go; nothing: to the sender")


class Unsubscribe(Part):
    """Where people leave. Every email carries both, in its headers and in its footer."""

    url: Url = Field(description="Your own page, used where Winback's is not (WINBACK_PUBLIC_URL not set); the message's id is added")
    mailto: Email = Field(description="Mailbox that takes unsubscribe requests")


class Tracking(Part):
    """What Winback adds to emails to see opens and clicks, where the destination does not do so itself (SendGrid does)."""

    opens: bool = Field(False, description="An invisible picture tells that the email was opened; in the EU only with consent")
    clicks: bool = Field(True, description="Links lead through a redirect of `winback listen`, which counts the click")


class QuietHours(Part):
    """Hours of the customer's own day in which nothing is sent. `from` 21 `to` 8 spans midnight."""

    from_: Annotated[int, Field(ge=0, le=23)] = Field(alias="from", description="First quiet hour")
    to: Annotated[int, Field(ge=0, le=23)] = Field(description="First hour in which sending is allowed again")


class Cap(Part):
    """At most so many messages per customer and channel, over all programs."""

    messages: Annotated[int, Field(ge=1, le=1000)] = Field(description="Messages at most")
    days: Annotated[int, Field(ge=1, le=365)] = Field(description="In any stretch of this many days")


class Caps(Part):
    """Caps by channel; a channel without one has no limit."""

    email: Cap | None = Field(None, description="Limit on emails")
    sms: Cap | None = Field(None, description="Limit on SMS")
    push: Cap | None = Field(None, description="Limit on push messages")


class Sending(Part):
    """When messages may leave. A change holds from the next run on, for all programs."""

    local_hour: Annotated[int, Field(ge=0, le=23)] = Field(10, description="Hour of the customer's own day at which messages leave")
    quiet_hours: QuietHours = Field(
        default_factory=lambda: QuietHours(from_=21, to=8), description="Hours of the customer's own day in which nothing is sent"
    )
    timezone: str = Field("UTC", description="Time zone (IANA) of customers whose own is not known")
    patience_days: Days = Field(3, description="Days that a capped message waits before it is skipped")
    caps: Caps = Field(default_factory=Caps, description="Most messages per customer, channel and days")


class Brand(Part):
    """How the shop looks and who sends."""

    model_config = ConfigDict(title="Winback brand")

    name: Line = Field(description="The shop's name")
    shop_url: Url = Field(description="Where links to the shop lead")
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = Field(
        "en", description="Language of templates without one in their name"
    )
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field("USD", description="Currency of amounts, ISO 4217")
    logo: Logo | None = Field(None, description="Picture at the top of emails; nothing: the name in letters")
    colours: Colours = Field(default_factory=Colours, description="Colours of emails")
    sender: Sender = Field(description="From whom emails come")
    postal_address: str = Field(min_length=5, max_length=300, description="The sender's address, which the law wants in every email")
    unsubscribe: Unsubscribe = Field(description="Where people leave")
    preferences_url: Url | None = Field(
        None, description="Your own page for channels and frequency, used where Winback's is not; nothing: unsubscribe.url"
    )
    tracking: Tracking = Field(default_factory=Tracking, description="Opens and clicks of emails, counted by `winback listen`")
    sending: Sending = Field(default_factory=Sending, description="When messages may leave")
