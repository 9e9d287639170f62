//! Decides whether an app may send a request to a destination: first by name, then by every address of that name.
//!
//! Entries have the form that Spin uses: `scheme://host[:port]`. The scheme is `http`, `https` or `*`. The host is a
//! name, `*.name` (names below it), `*` (any), an address or a range of addresses (`10.0.0.0/8`, `[fd00::]/8`). The
//! port is a number, `*`, or left out for the default of the scheme. Names and `*` allow public addresses only. Other
//! addresses (loopback, private, link-local, metadata services of clouds …, [`AddressKind`]) have to be granted by
//! address or range. The one exception is an entry that says `localhost`.

pub mod address;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::limits;
use crate::manifest::egress::address::{AddressKind, AddressRange};

/// The scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The scheme.
    pub scheme: Scheme,
    /// A name in lower case without a final dot, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Destination {
    /// The destination of `uri`, if it is absolute and names no user.
    pub fn of(uri: &http::Uri) -> Option<Self> {
        let scheme = Scheme::parse(uri.scheme_str()?)?;
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        // `host:` and `host:99999` have a port that is not valid.
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(0) => return None,
            Some(port) => port,
            None if has_port => return None,
            None => scheme.default_port(),
        };
        (!host.is_empty()).then(|| Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// The address, where the host is one.
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]", self.scheme, self.host)?,
            false => write!(f, "{}://{}", self.scheme, self.host)?,
        }
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Why a request is not allowed, with the entry that would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressRefusal {
    /// No entry names the destination.
    Name {
        /// The entry that would.
        entry: String,
    },
    /// The host is an address that has to be granted explicitly, or its name leads to one.
    Address {
        /// The address.
        address: IpAddr,
        /// Its kind.
        kind: AddressKind,
        /// The entry that would grant it.
        entry: String,
    },
}

impl fmt::Display for EgressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = match self {
            Self::Name { entry } => {
                f.write_str("no entry of allowed_outbound_hosts names it")?;
                entry
            }
            Self::Address { address, kind, entry } => {
                write!(f, "{address} is {kind}, which has to be granted by address or range")?;
                entry
            }
        };
        write!(f, "; to allow it, add to wfn.toml: allowed_outbound_hosts = [{entry:?}]")
    }
}

/// The policy of one app: what it may reach. Without entries it allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// `None`: any.
    scheme: Option<Scheme>,
    host: Host,
    port: Port,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Name(String),
    /// The end of a name, with its leading dot.
    Below(String),
    Range(AddressRange),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Any,
    OfScheme,
    Number(u16),
}

impl Entry {
    fn is_for(&self, destination: &Destination) -> bool {
        let port = match self.port {
            Port::Any => true,
            Port::OfScheme => destination.port == destination.scheme.default_port(),
            Port::Number(port) => destination.port == port,
        };
        port && self.scheme.is_none_or(|scheme| scheme == destination.scheme)
    }

    fn names(&self, destination: &Destination) -> bool {
        let host = destination.host.as_str();
        match &self.host {
            // Other apps of this host are not public servers: `*` does not include them.
            Host::Any => !host.ends_with(".wfn.internal"),
            Host::Name(name) => host == name,
            // The end alone is not a name below it.
            Host::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Host::Range(range) => destination.literal().is_some_and(|address| range.contains(address)),
        }
    }

    fn grants(&self, destination: &Destination, address: IpAddr) -> bool {
        match &self.host {
            Host::Range(range) => range.contains(address),
            Host::Name(name) => {
                name == LOCALHOST
                    && destination.host == LOCALHOST
                    && AddressKind::of(address) == AddressKind::Loopback
            }
            Host::Any | Host::Below(_) => false,
        }
    }
}

const LOCALHOST: &str = "localhost";

impl Egress {
    /// Reads the entries of a manifest. Each `{{ name }}` in them is replaced by the app's setting of that name.
    pub fn parse(entries: &[String], settings: &BTreeMap<String, String>) -> Result<Self, String> {
        let max = limits::OUTBOUND_HOSTS_MAX;
        if entries.len() > max {
            return Err(format!("{} allowed_outbound_hosts: at most {max} are allowed", entries.len()));
        }
        let parse = |text: &String| {
            let shown: String = text.chars().take(100).collect();
            let wrong = |why: String| format!("allowed_outbound_hosts: {shown:?}: {why}");
            let filled = fill_in(text, settings).map_err(wrong)?;
            parse_entry(&filled).map_err(wrong)
        };
        Ok(Self { entries: entries.iter().map(parse).collect::<Result<_, String>>()? })
    }

    /// Whether the policy allows nothing.
    pub fn is_closed(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a request to `destination` may be made, judged by its name alone.
    pub fn may_ask(&self, destination: &Destination) -> Result<(), EgressRefusal> {
        if !self.entries.iter().any(|entry| entry.is_for(destination) && entry.names(destination)) {
            return Err(match destination.literal() {
                Some(address) if AddressKind::of(address) != AddressKind::Public => {
                    Self::refused(destination, address)
                }
                _ => EgressRefusal::Name { entry: destination.to_string() },
            });
        }
        match destination.literal() {
            Some(address) => self.may_reach(destination, address),
            None => Ok(()),
        }
    }

    /// Whether a request that [`Self::may_ask`] allowed may go to `address`.
    pub fn may_reach(&self, destination: &Destination, address: IpAddr) -> Result<(), EgressRefusal> {
        if AddressKind::of(address) == AddressKind::Public {
            return Ok(());
        }
        let granted =
            self.entries.iter().any(|entry| entry.is_for(destination) && entry.grants(destination, address));
        if granted { Ok(()) } else { Err(Self::refused(destination, address)) }
    }

    fn refused(destination: &Destination, address: IpAddr) -> EgressRefusal {
        let address = address.to_canonical();
        let (kind, port) = (AddressKind::of(address), destination.port);
        let entry = Destination { host: address.to_string(), port, scheme: destination.scheme }.to_string();
        EgressRefusal::Address { address, kind, entry }
    }
}

/// Replaces each `{{ name }}` by the setting of that name.
fn fill_in(text: &str, settings: &BTreeMap<String, String>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("a '{{' has no '}}'")?;
        let name = name.trim();
        let value = settings.get(name).ok_or_else(|| format!("there is no setting {name:?} in [env]"))?;
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
        // A setting may be long, and be named many times.
        if filled.len() > limits::OUTBOUND_HOST_BYTES_MAX {
            let max = limits::OUTBOUND_HOST_BYTES_MAX;
            return Err(format!("more than {max} bytes with its settings: at most {max} are allowed"));
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn parse_entry(text: &str) -> Result<Entry, String> {
    if text.len() > limits::OUTBOUND_HOST_BYTES_MAX {
        return Err(format!("{} bytes: at most {} are allowed", text.len(), limits::OUTBOUND_HOST_BYTES_MAX));
    }
    let form = "use scheme://host or scheme://host:port, such as \"https://api.example.com\"";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| form.to_owned())?;
    let scheme = match scheme {
        "*" => None,
        other => Some(Scheme::parse(other).ok_or_else(|| format!("scheme {other:?}: use http, https or *"))?),
    };
    let (host, port) = split_port(rest.strip_suffix('/').unwrap_or(rest));
    let port = match port {
        None => Port::OfScheme,
        Some("*") => Port::Any,
        Some(number) => match number.parse() {
            Ok(port @ 1..) if number.bytes().all(|byte| byte.is_ascii_digit()) => Port::Number(port),
            _ => return Err(format!("port {number:?}: use 1 to 65535, or *")),
        },
    };
    Ok(Entry { scheme, host: parse_host(host)?, port })
}

/// Splits the port from a host, which may be an IPv6 address in brackets, with a prefix length behind them.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let after_brackets = text.rfind(']').map_or(0, |end| end + 1);
    match text[after_brackets..].find(':') {
        Some(colon) => {
            let colon = after_brackets + colon;
            (&text[..colon], Some(&text[colon + 1..]))
        }
        None => (text, None),
    }
}

fn parse_host(text: &str) -> Result<Host, String> {
    if text == "*" {
        return Ok(Host::Any);
    }
    let looks_like_address = text.starts_with('[')
        || text.contains('/')
        || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if looks_like_address && !text.is_empty() {
        return AddressRange::parse(text).map(Host::Range).ok_or_else(|| {
            format!(
                "host {text:?}: use a name, an address or a range such as 10.0.0.0/8 or [fd00::]/8; no path"
            )
        });
    }
    let name = text.to_ascii_lowercase();
    let (is_below, bare) = match name.strip_prefix("*.") {
        Some(bare) => (true, bare),
        None => (false, name.as_str()),
    };
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_inner)
    };
    if bare.len() > 253 || !bare.split('.').all(is_label) {
        return Err(format!(
            "host {text:?}: use a name (in ASCII), \"*.name\" for what is below it, \"*\", an address or a range"
        ));
    }
    Ok(if is_below { Host::Below(format!(".{bare}")) } else { Host::Name(name) })
}

#[cfg(test)]
mod tests;
