//! Addresses to listen at, as people write them.

use std::net::{Ipv4Addr, SocketAddr};

/// Reads `IP:PORT`, `localhost:PORT`, or a port of this machine alone.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        "use IP:PORT, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address of this machine".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for text in ["127.0.0.1:80", "localhost:80", ":80", "80"] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok("127.0.0.1:80".to_owned()));
        }
        assert!(address("[::1]:80").is_ok());
        for text in ["", "localhost", "127.0.0.1", "example.com:80", "127.0.0.1:99999"] {
            assert!(address(text).unwrap_err().contains("IP:PORT"), "{text}");
        }
    }
}
