//! Values of a manifest that check their limits or unit and name them in errors.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{self, IntoDeserializer as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads any whole number. The text says in errors which numbers are allowed.
pub struct WholeNumber<'a>(pub &'a str);

impl de::Visitor<'_> for WholeNumber<'_> {
    type Value = i64;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number, {}", self.0)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
        Ok(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A whole number within limits. To read anything else is an error that names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// Takes `value` if it lies within the bounds.
    pub fn new(value: u32) -> Option<Self> {
        (MIN..=MAX).contains(&value).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let allowed = format!("{MIN} to {MAX}");
        let value = deserializer.deserialize_any(WholeNumber(&allowed))?;
        u32::try_from(value)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| de::Error::custom(format!("{value} is out of range: use {allowed}")))
    }
}

/// Defines an enum that is a number or a word, and how it is written and read.
macro_rules! number_or_word {
    ($(#[$doc:meta])* $name:ident, $(#[$word_doc:meta])* $variant:ident = $word:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name<T> {
            $(#[$word_doc])*
            $variant,
            /// This many.
            Fixed(T),
        }

        impl<T: Serialize> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::$variant => serializer.serialize_str($word),
                    Self::Fixed(value) => value.serialize(serializer),
                }
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read = deserializer.deserialize_any(NumberOrWord::<T>($word, PhantomData))?;
                Ok(read.map_or(Self::$variant, Self::Fixed))
            }
        }
    };
}

number_or_word! {
    /// A number, or the host's own choice: `"auto"`.
    #[derive(Default)]
    OrAuto,
    /// The host decides once.
    #[default]
    Auto = "auto"
}

number_or_word! {
    /// A number, or one that the host adjusts all the time: `"dynamic"`.
    OrDynamic,
    /// The host finds the number and goes on adjusting it.
    Dynamic = "dynamic"
}

/// Reads a number, or the word, which is `None`.
struct NumberOrWord<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for NumberOrWord<T> {
    type Value = Option<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number, or {:?}", self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        if text == self.0 {
            return Ok(None);
        }
        // The error of the number says which numbers are allowed.
        let refused = T::deserialize(text.into_deserializer()).map(Some);
        refused.map_err(|why: E| E::custom(format!("{why}, or {:?}", self.0)))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
}

/// A length of time with its unit (`500ms`, `30s`, `5m`, `1h`), within bounds in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<const MIN_MS: u64, const MAX_MS: u64>(Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Span<MIN_MS, MAX_MS> {
    /// Reads `500ms`, `30s`, `5m` or `1h`; a bare number is refused because it has no unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let span = parse_span(text).ok_or_else(|| wrong_span(text))?;
        if (MIN_MS..=MAX_MS).contains(&(span.as_millis() as u64)) {
            return Ok(Self(span));
        }
        let (min, max) = (Duration::from_millis(MIN_MS), Duration::from_millis(MAX_MS));
        Err(format!("{text:?} is out of range: use {} to {}", shown_span(min), shown_span(max)))
    }

    /// The time.
    pub fn get(self) -> Duration {
        self.0
    }
}

fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor_ms).map(Duration::from_millis)
}

fn wrong_span(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    format!(
        "{shown:?} is not a duration: use a whole number with a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\""
    )
}

/// The duration in its largest whole unit.
fn shown_span(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> fmt::Display for Span<MIN_MS, MAX_MS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_span(self.0))
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Serialize for Span<MIN_MS, MAX_MS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const MIN_MS: u64, const MAX_MS: u64> Deserialize<'de> for Span<MIN_MS, MAX_MS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanText).and_then(|text| Self::parse(&text).map_err(de::Error::custom))
    }
}

struct SpanText;

impl de::Visitor<'_> for SpanText {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"30s\"")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
