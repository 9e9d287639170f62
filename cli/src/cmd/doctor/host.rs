//! The checks of a running host: it answers, speaks this version, and serves every app.

use std::time::SystemTime;

use serde_json::Value;
use wfn_runtime::budget::quota::grouped;

use crate::client::Client;
use crate::cmd::doctor::Finding;
use crate::cmd::text_of;
use crate::output::bytes;

/// A share of a bound, in percent, from which it is worth a warning.
const NEARLY_PERCENT: u64 = 90;

/// Looks at the host.
pub fn check(client: &Client) -> Vec<Finding> {
    let host = match client.get("/v1/host") {
        Ok(host) => host,
        Err(failure) if failure.code().is_some() => {
            let remedy = "--token, WFN_TOKEN or --data-dir of that host";
            return vec![Finding::fail("host", failure.message(), remedy)];
        }
        Err(failure) => {
            return vec![Finding::warn("host", failure.message(), "the checks of the host are left out")];
        }
    };
    let mut findings = vec![
        Finding::ok("host", format!("{}, functions on {}", client.server(), text_of(&host["functions"]))),
        check_version(&text_of(&host["version"])),
        check_quota(&host),
        check_memory(&host),
        check_workers(&host),
    ];
    findings.extend(check_apps(&host));
    findings.extend(check_certificates(client));
    findings
}

fn check_version(version: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match version == own {
        true => Finding::ok("version", version),
        false => Finding::warn(
            "version",
            format!("the host is {version}, this command is {own}"),
            "use the same for both: start the host again after an update",
        ),
    }
}

fn check_quota(host: &Value) -> Finding {
    let (reserved, limit) = (number(host, "memory_reserved_mb"), number(host, "memory_quota_mb"));
    let seen = format!("{} of {} MB reserved", grouped(reserved), grouped(limit));
    match is_nearly(reserved, limit) {
        true => Finding::warn("memory quota", seen, "start the host with a larger --memory-quota-mb"),
        false => Finding::ok("memory quota", seen),
    }
}

fn check_memory(host: &Value) -> Finding {
    let (used, limit) = (number(host, "guest_memory_bytes"), number(host, "guest_memory_limit_bytes"));
    let seen = format!("functions hold {} of {}", bytes(used), bytes(limit));
    let withheld = number(host, "guest_memory_withheld_bytes");
    if withheld > 0 {
        let seen = format!(
            "{seen}, and {} of that is withheld: the host itself holds more than it may",
            bytes(withheld)
        );
        return Finding::warn(
            "function memory",
            seen,
            "start the host with a larger --host-memory-mb, or look what its clients send",
        );
    }
    match is_nearly(used, limit) {
        true => {
            Finding::warn("function memory", seen, "'wfn ls' shows whose: less concurrency, or more memory")
        }
        false => Finding::ok("function memory", seen),
    }
}

fn check_workers(host: &Value) -> Finding {
    let (live, most) = (number(host, "workers"), number(host, "workers_max"));
    let seen = format!("{live} of {most} live");
    match is_nearly(live, most) {
        true => Finding::warn("workers", seen, "fewer always-ready instances, or less concurrency"),
        false => Finding::ok("workers", seen),
    }
}

/// Days before its end from which a certificate is worth a warning: an authority would have renewed it long before.
const CERTIFICATE_DAYS_MIN: i64 = 14;

fn check_certificates(client: &Client) -> Vec<Finding> {
    let found = client.get("/v1/certificates").unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let finding = |one: &Value| {
        let name = text_of(&one["names"][0]);
        let why = one["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
        let remedy = match one["source"].as_str() {
            Some("acme") => format!("does {name} lead to this host? then: wfn cert renew {name}"),
            _ => "put a new one into its files".to_owned(),
        };
        let days = one["not_after_s"].as_i64().map(|end| (end - now).div_euclid(86_400));
        match days {
            None if one["failures"] == 0 => Finding::ok("certificate", format!("{name} is being ordered")),
            None => Finding::fail("certificate", format!("{name} has none{why}"), remedy),
            Some(..0) => Finding::fail("certificate", format!("{name}: it has ended{why}"), remedy),
            Some(days @ ..CERTIFICATE_DAYS_MIN) => {
                Finding::warn("certificate", format!("{name} ends in {days} days{why}"), remedy)
            }
            Some(days) => Finding::ok("certificate", format!("{name} holds for {days} days")),
        }
    };
    found["certificates"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(finding).collect()
}

fn check_apps(host: &Value) -> Vec<Finding> {
    let broken = host["broken"].as_array().map(Vec::as_slice).unwrap_or_default();
    if broken.is_empty() {
        return vec![Finding::ok("apps", format!("{}, all served", number(host, "apps")))];
    }
    let finding = |broken: &Value| {
        let app = text_of(&broken["app"]);
        let seen = format!("{app} is not served: {}", text_of(&broken["reason"]));
        Finding::fail("apps", seen, format!("deploy it again, or remove it: wfn rm {app} -y"))
    };
    broken.iter().map(finding).collect()
}

fn number(host: &Value, key: &str) -> u64 {
    host[key].as_u64().unwrap_or_default()
}

fn is_nearly(used: u64, limit: u64) -> bool {
    u128::from(used) * 100 >= u128::from(limit) * u128::from(NEARLY_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::doctor::Level;
    use serde_json::json;

    #[test]
    fn what_is_nearly_used_up_or_broken_is_named() {
        let host = json!({ "memory_reserved_mb": 3_900, "memory_quota_mb": 4_096, "workers": 1, "workers_max": 10,
            "broken": [{ "app": "a", "reason": "its module is missing" }] });
        assert_eq!(check_quota(&host).level, Level::Warn);
        assert_eq!(check_workers(&host).level, Level::Ok);
        assert!(check_apps(&host)[0].seen.contains("its module is missing"));
        assert_eq!(check_version("0.0.0").level, Level::Warn);
    }
}
