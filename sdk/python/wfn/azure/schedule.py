"""Schedules and time zones of the cloud's timers, as wfn has them."""

from __future__ import annotations

import re
import zoneinfo

from wfn.azure.app import AppError, seconds_of

DAY_SECONDS = 24 * 3600


def schedule_of(text: str) -> str:
    """A schedule for wfn.toml. Raises AppError for one that it cannot have."""
    if ":" in text:
        return of_span(text)
    fields = text.split()
    if len(fields) == 5:
        # The cloud also wants day and weekday to match; with six fields that is said.
        fields.insert(0, "0")
    if len(fields) != 6:
        raise AppError(f"the schedule {text!r} has {len(fields)} fields; use six: second, minute, hour, day, month, weekday")
    return " ".join(fields)


def of_span(text: str) -> str:
    """The schedule that has the same times as a time span, if there is one."""
    seconds = seconds_of(text)
    if seconds == DAY_SECONDS:
        return "0 0 0 * * *"
    for unit, fields in ((1, "{} * * * * *"), (60, "0 {} * * * *"), (3600, "0 0 {} * * *")):
        count, most = seconds // unit, 24 if unit == 3600 else 60
        if seconds and seconds % unit == 0 and count < most and most % count == 0:
            return fields.format(f"*/{count}" if count > 1 else "*")
    raise AppError(f"the time span {text!r} does not divide a minute, an hour or a day; write a schedule of six fields")


def time_zone_of(name: str) -> str:
    """A time zone by its name. Raises AppError for names of Windows and for unknown ones."""
    if not re.fullmatch(r"[A-Za-z0-9/_+-]{1,64}", name) or name not in zoneinfo.available_timezones():
        raise AppError(f"the time zone {name!r} is none of the IANA database; write one such as Europe/Berlin")
    return name
