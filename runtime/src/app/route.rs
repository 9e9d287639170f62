//! Finds the app that answers a request: by a claimed host name, at its root, or else by the first path segment.

use std::collections::HashMap;

/// The routes of a host. `T` is the target that answers. They are built whole for every change and swapped in, so that reading
/// needs no lock.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    by_host: HashMap<Box<str>, T>,
    by_prefix: HashMap<Box<str>, T>,
}

/// A route that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a, T> {
    /// The target that answers.
    pub target: &'a T,
    /// Length of the prefix (`/name`) to strip from the path; 0 for a claimed host.
    pub prefix_length: usize,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { by_host: HashMap::new(), by_prefix: HashMap::new() }
    }
}

impl<T: Clone> Routes<T> {
    /// Adds an app under `/<name>` and under each of `hosts` (lower case).
    pub fn add<'h>(&mut self, name: &str, hosts: impl Iterator<Item = &'h str>, target: &T) {
        self.by_prefix.insert(name.into(), target.clone());
        for host in hosts {
            self.by_host.insert(host.into(), target.clone());
        }
    }

    /// Finds the target for `path` on `authority` (host, perhaps with a port). A claimed host takes precedence.
    pub fn find(&self, authority: &str, path: &str) -> Option<Found<'_, T>> {
        if !self.by_host.is_empty()
            && let Some(target) = self.host(authority)
        {
            return Some(Found { target, prefix_length: 0 });
        }
        let rest = path.strip_prefix('/')?;
        let name = rest.split('/').next().unwrap_or(rest);
        let target = self.by_prefix.get(name)?;
        Some(Found { target, prefix_length: 1 + name.len() })
    }

    /// Returns the host names that apps claim, in any order.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(|host| &**host)
    }

    /// Returns the target of app `name`.
    pub fn app(&self, name: &str) -> Option<&T> {
        self.by_prefix.get(name)
    }

    fn host(&self, authority: &str) -> Option<&T> {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        match self.by_host.get(host) {
            None if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.by_host.get(host.to_ascii_lowercase().as_str())
            }
            found => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routes() -> Routes<u32> {
        let mut routes = Routes::default();
        routes.add("hello", ["api.example.com"].into_iter(), &1);
        routes.add("hello2", [].into_iter(), &2);
        routes
    }

    #[test]
    fn a_claimed_host_wins_over_the_first_segment() {
        let cases = [
            ("localhost:8080", "/hello", Some((1, 6))),
            ("localhost", "/hello/", Some((1, 6))),
            ("localhost", "/hello/a/b", Some((1, 6))),
            ("localhost", "/hello2", Some((2, 7))),
            ("localhost", "/hell", None),
            ("localhost", "/", None),
            ("localhost", "*", None),
            ("localhost", "//hello", None),
            ("localhost", "/HELLO", None),
            ("api.example.com", "/hello2", Some((1, 0))),
            ("API.Example.com:80", "/", Some((1, 0))),
            ("api.example.com.evil", "/", None),
        ];
        for (authority, path, expected) in cases {
            let routes = routes();
            let found = routes.find(authority, path).map(|found| (*found.target, found.prefix_length));
            assert_eq!(found, expected, "{authority} {path}");
        }
    }

    proptest! {
        #[test]
        fn the_prefix_is_always_a_part_of_the_path(authority in ".*", path in "/?(hello|hello2|[a-z/%.]*)(/.*)?") {
            let routes = routes();
            if let Some(found) = routes.find(&authority, &path) {
                prop_assert!(path.is_char_boundary(found.prefix_length));
                let rest = &path[found.prefix_length..];
                prop_assert!(rest.is_empty() || rest.starts_with('/') || found.prefix_length == 0);
            }
        }

        #[test]
        fn who_answers_is_who_claims_the_host_or_has_the_segment(
            hosts in prop::collection::vec("[a-c]{1,2}(\\.[a-c]{1,2})?", 0..4),
            names in prop::collection::vec("[a-c]{1,2}", 0..4),
            authority in "[a-cA-C.]{0,5}(:[0-9x:]{0,6})?|\\PC{0,12}|\\[[0-9a-f:]{0,9}\\](:[0-9]{0,5})?",
            path in "[/a-cA-C%.?]{0,8}|\\PC{0,12}|\\*",
        ) {
            let mut routes = Routes::default();
            for (number, name) in names.iter().enumerate() {
                routes.add(name, [].into_iter(), &format!("name {number}"));
            }
            for (number, host) in hosts.iter().enumerate() {
                routes.add(&format!("of-host-{number}"), [host.as_str()].into_iter(), &format!("host {number}"));
            }
            let port_at = authority.rfind(':').filter(|colon| authority[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()));
            let host = authority[..port_at.unwrap_or(authority.len())].to_ascii_lowercase();
            let segment = path.strip_prefix('/').and_then(|rest| rest.split('/').next());
            let claims = hosts.iter().rposition(|claimed| *claimed == host).map(|number| (format!("host {number}"), 0));
            let has = || {
                let number = names.iter().rposition(|name| Some(name.as_str()) == segment)?;
                Some((format!("name {number}"), 1 + names[number].len()))
            };
            let found = routes.find(&authority, &path).map(|found| (found.target.clone(), found.prefix_length));
            prop_assert_eq!(found, claims.or_else(has));
        }
    }
}
