"""The pages behind the links, in the brand's look and the reader's language: no scripts, no cookies, nothing foreign but the logo."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from liquid import CachingDictLoader, Environment
from markupsafe import Markup

from winback.links.choices import MONTHLY, WEEKLY, Choices, Limit
from winback.programs.checking import contrast
from winback.programs.page_texts import PageTexts, filled
from winback.programs.schema import Brand
from winback.programs.templates import variants
from winback.programs.variables import brand_values

_TEMPLATES = Path(__file__).parent / "templates"
_DARK_PANEL = "#22251f"
_CONTRAST = 4.5
USUAL = "usual"


class Pages:
    """Renders pages for one brand. `texts`: the words by language; English is always among them."""

    def __init__(self, brand: Brand, texts: Mapping[str, PageTexts]) -> None:
        self._brand = brand
        self._texts = texts
        self._values = brand_values(brand)
        self._liquid = Environment(
            loader=CachingDictLoader({path.stem: path.read_text(encoding="utf-8") for path in _TEMPLATES.glob("*.html")}), autoescape=True
        )
        self._style = _style(brand)
        digest = b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        logo = urlsplit(brand.logo.url) if brand.logo else None
        pictures = f"data: {logo.scheme}://{logo.netloc}" if logo else "data:"
        self.headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; img-src {pictures}; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex, nofollow",
        }
        """What every answer carries: nobody keeps, frames, lists or passes on these addresses."""

    def language(self, asked: str, accepted: str) -> str:
        """The language of the page: the one that the link names, else the first of the browser's (`Accept-Language`), else the brand's.

        Near enough is enough: `de-AT` is answered with `de`.
        """
        for wish in (asked, *_accepted(accepted), self._brand.language):
            for variant in variants(wish):
                if variant in self._texts:
                    return variant
        return "en"

    def leaving(self, language: str, channel: str, preferences: str) -> str:
        """The page with one button that unsubscribes. `preferences`: where the page of choices is."""
        texts = self._texts[language]
        text = self._filled(texts.leaving.text, no_more=getattr(texts.no_more, channel))
        return self._page("leaving", language, texts.leaving.title, text, preferences=preferences)

    def left(self, language: str, channel: str, preferences: str, *, undo: bool = True) -> str:
        """After unsubscribing, with the button that takes it back."""
        texts = self._texts[language]
        text = self._filled(texts.left.text, no_more=getattr(texts.no_more, channel))
        return self._page(
            "left",
            language,
            texts.left.title,
            text,
            preferences=preferences,
            more=texts.leaving.instead,
            undo="come_back" if undo else "",
        )

    def returned(self, language: str, preferences: str) -> str:
        """After taking it back."""
        texts = self._texts[language]
        text = self._filled(texts.returned.text)
        return self._page("left", language, texts.returned.title, text, preferences=preferences, more=texts.leaving.instead)

    def stayed(self, language: str, preferences: str) -> str:
        """After the button to stay."""
        texts = self._texts[language]
        text = self._filled(texts.stayed.text)
        return self._page("left", language, texts.stayed.title, text, preferences=preferences, more=texts.saved.again)

    def choosing(self, language: str, choices: Choices) -> str:
        """The page of choices, as they stand."""
        texts = self._texts[language]
        channels = [
            {
                "code": channel,
                "name": getattr(texts.channels, channel),
                "on": channel in choices.on,
                "silenced": channel in choices.silenced,
            }
            for channel in choices.has
        ]
        limits: list[Limit | None] = [None, WEEKLY, MONTHLY]
        if choices.emails not in limits:
            limits.append(choices.emails)
        offered = [{"code": code_of(limit), "name": self._limit(texts, limit), "on": limit == choices.emails} for limit in limits]
        return self._page(
            "choosing",
            language,
            texts.choosing.title,
            self._filled(texts.choosing.intro),
            channels=channels,
            limits=offered if "email" in choices.has and "email" not in choices.silenced else [],
        )

    def saved(self, language: str, before: Choices, after: Choices, preferences: str) -> str:
        """After saving: what the customer gets now, and the button that restores what was before."""
        texts = self._texts[language]
        gets = []
        for channel in after.has:
            if channel in after.on:
                how_often = f" · {self._limit(texts, after.emails)}" if channel == "email" and after.emails else ""
                gets.append(getattr(texts.channels, channel) + how_often)
        text = self._filled(texts.saved.text if gets else texts.saved.nothing)
        fields = [{"name": "on", "value": channel} for channel in before.has if channel in before.on]
        fields.append({"name": "emails", "value": code_of(before.emails)})
        return self._page("saved", language, texts.saved.title, text, gets=gets, before=fields, preferences=preferences)

    def problem(self, language: str) -> str:
        """A link that nobody signed, or whose message nobody knows. Says nothing of either."""
        texts = self._texts[language].problem
        return self._page(
            "problem",
            language,
            texts.title,
            self._filled(texts.text),
            write=self._filled(texts.write),
            mailto=self._brand.unsubscribe.mailto,
        )

    def busy(self, language: str) -> str:
        """Nothing could be saved just now."""
        texts = self._texts[language].problem
        return self._page("problem", language, texts.busy_title, self._filled(texts.busy_text))

    def _limit(self, texts: PageTexts, limit: Limit | None) -> str:
        if limit is None:
            return texts.choosing.usual
        if limit in (WEEKLY, MONTHLY):
            return texts.choosing.weekly if limit == WEEKLY else texts.choosing.monthly
        return self._filled(texts.choosing.limited, messages=limit[0], days=limit[1])

    def _filled(self, text: str, **values: object) -> str:
        return filled(text, brand=self._brand.name, **values)

    def _page(self, template: str, language: str, title: str, text: str, **values: Any) -> str:
        texts = self._texts[language]
        context = {"texts": texts.model_dump(), "title": title, "text": text, **values}
        return self._liquid.get_template("page").render(
            brand=self._values,
            language=language,
            direction=_direction(language),
            title=title,
            # Our own style sheet and what Liquid has escaped already.
            style=Markup(self._style),  # noqa: S704
            content=Markup(self._liquid.get_template(template).render(**context)),  # noqa: S704
            to_shop=self._filled(texts.to_shop),
            languages=[{"code": code, "name": one.language_name, "here": code == language} for code, one in sorted(self._texts.items())],
        )


def code_of(limit: Limit | None) -> str:
    """A limit as a field of a form: `usual`, or messages and days as `1-30`."""
    return USUAL if limit is None else f"{limit[0]}-{limit[1]}"


def limit_of(code: str, allowed: Iterable[Limit]) -> Limit | None:
    """The limit that a field of a form names.

    Raises
    ------
    ValueError
        It names none that is allowed.
    """
    if code == USUAL:
        return None
    found = next((limit for limit in allowed if code_of(limit) == code), None)
    if found is None:
        raise ValueError("no such limit")
    return found


def _accepted(header: str) -> Sequence[str]:
    """Languages of an Accept-Language header in the order of their weight."""
    weighted = []
    for position, part in enumerate(header[:500].split(",")[:20]):
        name, _, weight = part.partition(";")
        try:
            quality = float(weight.partition("=")[2] or 1)
        except ValueError:
            quality = 0.0
        if quality > 0 and name.strip() not in ("", "*"):
            weighted.append((-quality, position, name.strip()))
    return [name for _, _, name in sorted(weighted)]


def _direction(language: str) -> str:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(language, sep="-").text_direction
    except (UnknownLocaleError, ValueError):
        return "ltr"


def _style(brand: Brand) -> str:
    colours = brand.colours.model_dump()
    values = {
        **colours,
        "line": _mixed(colours["text"], colours["panel"], 0.78),
        "mark": _readable(colours["accent"], colours["panel"], "#000000"),
        "dark_mark": _readable(colours["accent"], _DARK_PANEL, "#ffffff"),
    }
    return Template((_TEMPLATES / "page.css").read_text(encoding="utf-8")).substitute(values)


def _readable(colour: str, on: str, towards: str) -> str:
    """The colour, moved towards black or white as far as it must be to stand out: a brand picks its accent for buttons, not for marks."""
    steps = (_mixed(colour, towards, share / 10) for share in range(11))
    return next((step for step in steps if contrast(step, on) >= _CONTRAST), towards)


def _mixed(first: str, second: str, share: float) -> str:
    pairs = zip(*(tuple(int(colour[index : index + 2], 16) for index in (1, 3, 5)) for colour in (first, second)), strict=True)
    return "#" + "".join(f"{round(one + (other - one) * share):02x}" for one, other in pairs)
