//! Reads cron expressions: which local times they name, without time zones.

use jiff::civil::{Date, DateTime, Time};

use crate::limits;

/// The local times that match every field. Invariant: each set has at least one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cron {
    seconds: Values,
    minutes: Values,
    hours: Values,
    days: Values,
    months: Values,
    weekdays: Values,
    /// Minutes or seconds were `*`, with or without a step.
    counts_time: bool,
}

impl Cron {
    /// Reads an alias, six fields, or five that leave out the second; an error says what to write.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let max = limits::SCHEDULE_BYTES_MAX;
        if text.len() > max {
            return Err(format!("it has {} bytes: at most {max} are allowed", text.len()));
        }
        if text.trim().starts_with('@') {
            return Self::parse(alias(text.trim())?);
        }
        let mut fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let is_short = fields.len() == 5;
        if is_short {
            fields.insert(0, "0");
        }
        let &[second, minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!(
                "{} fields: use six (second, minute, hour, day of month, month, weekday), as in \"0 30 6 * * *\", \
                 or five without the second",
                fields.len()
            ));
        };
        let is_star = |field: &str| field.starts_with('*');
        if is_short && !is_star(day) && !is_star(weekday) {
            return Err(format!(
                "in five fields other crons run when the day of month or the weekday matches, here both have to: \
                 use six fields to say so, \"0 {minute} {hour} {day} {month} {weekday}\", or \"*\" for one of them"
            ));
        }
        Ok(Self {
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: WEEKDAY.parse(weekday)?,
            counts_time: is_star(second) || is_star(minute),
        })
    }

    /// Whether it names every hour. Then a local time that is skipped needs no run, because the next hour has the same
    /// one.
    pub(super) fn is_every_hour(&self) -> bool {
        self.hours.0 == (1 << 24) - 1
    }

    /// Whether it means equal intervals rather than times of day. Then a local time that comes twice counts twice.
    pub(super) fn is_rhythm(&self) -> bool {
        self.is_every_hour() || self.counts_time
    }

    /// The first local time that matches, from `from` on and before `until`; both are whole seconds.
    pub(super) fn first_in(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let (mut date, mut earliest) = (from.date(), from.time());
        while date <= until.date() {
            let is_month = self.months.has(date.month());
            if is_month
                && self.has_day(date)
                && let Some(time) = self.first_of_day(earliest)
            {
                let found = date.to_datetime(time);
                return (found < until).then_some(found);
            }
            let last_unfit = if is_month { date } else { date.last_of_month() };
            (date, earliest) = (last_unfit.tomorrow().ok()?, Time::midnight());
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        self.days.has(date.day()) && self.weekdays.has(date.weekday().to_sunday_zero_offset())
    }

    fn first_of_day(&self, earliest: Time) -> Option<Time> {
        let (hour, minute, second) = (earliest.hour(), earliest.minute(), earliest.second());
        let in_minute = || {
            let fits = self.hours.has(hour) && self.minutes.has(minute);
            Some((hour, minute, self.seconds.from(second).filter(|_| fits)?))
        };
        let in_hour = || {
            let minute = self.minutes.from(minute + 1).filter(|_| self.hours.has(hour))?;
            Some((hour, minute, self.seconds.from(0)?))
        };
        let in_day = || Some((self.hours.from(hour + 1)?, self.minutes.from(0)?, self.seconds.from(0)?));
        let (hour, minute, second) = in_minute().or_else(in_hour).or_else(in_day)?;
        Time::new(hour, minute, second, 0).ok()
    }
}

fn alias(text: &str) -> Result<&'static str, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 0 * * * *",
        "@daily" => "0 0 0 * * *",
        "@weekly" => "0 0 0 * * SUN",
        "@monthly" => "0 0 0 1 * *",
        "@yearly" => "0 0 0 1 1 *",
        _ => return Err("no such alias: use @hourly, @daily, @weekly, @monthly, @yearly, or fields".into()),
    })
}

/// The values of a field, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values(u64);

impl Values {
    fn has(self, value: i8) -> bool {
        self.0 >> value & 1 == 1
    }

    /// The smallest value that is not below `value`, which is at most 60.
    fn from(self, value: i8) -> Option<i8> {
        let rest = self.0 >> value;
        (rest != 0).then(|| value + rest.trailing_zeros() as i8)
    }
}

/// What a field may contain.
struct Field {
    label: &'static str,
    min: u8,
    max: u8,
    /// Names for the values from `min` on.
    names: &'static [&'static str],
    allowed: &'static str,
}

const SECOND: Field = Field { label: "second", min: 0, max: 59, names: &[], allowed: "0 to 59" };
const MINUTE: Field = Field { label: "minute", min: 0, max: 59, names: &[], allowed: "0 to 59" };
const HOUR: Field = Field { label: "hour", min: 0, max: 23, names: &[], allowed: "0 to 23" };
const DAY: Field = Field { label: "day of month", min: 1, max: 31, names: &[], allowed: "1 to 31" };
const MONTH: Field = Field {
    label: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    allowed: "1 to 12, or JAN to DEC",
};
/// Sunday is 0, and 7 as well.
const WEEKDAY: Field = Field {
    label: "weekday",
    min: 0,
    max: 6,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"],
    allowed: "0 (Sunday) to 6, or SUN to SAT",
};

impl Field {
    fn parse(&self, text: &str) -> Result<Values, String> {
        let parts = text.split(',').map(|part| self.parse_part(part));
        let values = parts.collect::<Result<Vec<_>, _>>().map_err(|why| format!("{}: {why}", self.label))?;
        Ok(Values(values.into_iter().fold(0, |all, part| all | part)))
    }

    /// The bits of one item of a list: `*`, a value or a range, each with or without a step.
    fn parse_part(&self, part: &str) -> Result<u64, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.parse_step(step)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => self.parse_range(range, first, last)?,
            None if range == "*" => (self.min, self.max),
            None => {
                let value = self.on_circle(self.parse_value(range)?);
                (value, if step.is_some() { self.max } else { value })
            }
        };
        let values = (first..=last).step_by(step.unwrap_or(1));
        Ok(values.fold(0, |set, value| set | 1 << self.on_circle(value)))
    }

    fn parse_range(&self, range: &str, first: &str, last: &str) -> Result<(u8, u8), String> {
        let (from, to) = (self.parse_value(first)?, self.parse_value(last)?);
        let (from, to) = match (self.on_circle(from), to) {
            _ if from == to => (from, to),
            // A week may end with its Sunday: FRI-SUN.
            (from @ 1.., 0) if self.max == WEEKDAY.max => (from, 7),
            circle => circle,
        };
        if from <= to {
            return Ok((from, to));
        }
        Err(format!("{range:?} runs backwards: use {first}-{},{}-{last}", self.max, self.min))
    }

    fn parse_step(&self, step: &str) -> Result<usize, String> {
        let wrong = || format!("{step:?} is not a step: use a whole number from 1 to {}", self.max);
        number(step).filter(|step| (1..=self.max).contains(step)).map(usize::from).ok_or_else(wrong)
    }

    fn parse_value(&self, text: &str) -> Result<u8, String> {
        let names = self.names.iter();
        if let Some(index) = names.clone().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.min + index as u8);
        }
        // Weekdays have one name more than there are days, because 7 is allowed too.
        let max = self.max.max((names.len() as u8 + self.min).saturating_sub(1));
        number(text).filter(|value| (self.min..=max).contains(value)).ok_or_else(|| self.wrong_value(text))
    }

    fn wrong_value(&self, text: &str) -> String {
        let allowed = self.allowed;
        match text {
            "" => format!("a value is missing: use {allowed}, or *"),
            "?" => "\"?\" has no meaning here: use *".into(),
            _ if self.max != WEEKDAY.max && self.max != DAY.max => {
                format!("{text:?} is not one: use {allowed}, or *")
            }
            _ => format!("{text:?} is not one: use {allowed}, or *; L, W and # are not known"),
        }
    }

    /// The value itself, but 0 for Sunday's 7.
    fn on_circle(&self, value: u8) -> u8 {
        if value > self.max { self.min } else { value }
    }
}

/// Up to two digits and nothing else: `parse` alone would accept a sign.
fn number(text: &str) -> Option<u8> {
    let is_plain = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}
