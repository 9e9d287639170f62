//! Tests the policy with a table of destinations, and with random entries.

use proptest::prelude::*;

use super::*;

fn egress(entries: &[&str]) -> Egress {
    let entries: Vec<String> = entries.iter().map(|entry| entry.to_string()).collect();
    Egress::parse(&entries, &BTreeMap::new()).unwrap()
}

/// Whether a request to `url`, whose name leads to `address`, would be sent.
fn is_allowed(egress: &Egress, url: &str, address: Option<&str>) -> bool {
    let Some(destination) = url.parse().ok().and_then(|uri| Destination::of(&uri)) else { return false };
    let address = address.map(|text| text.parse().unwrap()).or(destination.literal());
    egress.may_ask(&destination).is_ok()
        && address.is_some_and(|address| egress.may_reach(&destination, address).is_ok())
}

const PUBLIC: Option<&str> = Some("93.184.215.14");

#[test]
fn names_schemes_and_ports_are_matched_whole() {
    let cases: &[(&[&str], &str, bool)] = &[
        (&[], "https://api.example.com/", false),
        (&["https://api.example.com"], "https://api.example.com/", true),
        (&["https://api.example.com"], "https://API.Example.COM/", true),
        (&["https://API.example.com"], "https://api.example.com/", true),
        (&["https://api.example.com/"], "https://api.example.com/x?y", true),
        (&["https://api.example.com"], "https://api.example.com./", true),
        (&["https://api.example.com"], "https://api.example.com:443/", true),
        (&["https://api.example.com:443"], "https://api.example.com/", true),
        (&["https://api.example.com"], "https://api.example.com:8443/", false),
        (&["https://api.example.com"], "http://api.example.com/", false),
        (&["https://api.example.com"], "http://api.example.com:443/", false),
        (&["https://api.example.com"], "https://example.com/", false),
        (&["https://api.example.com"], "https://evil.com/?https://api.example.com", false),
        (&["https://api.example.com"], "https://api.example.com.evil.com/", false),
        (&["https://api.example.com"], "https://xapi.example.com/", false),
        (&["https://api.example.com"], "https://api.example.com@evil.com/", false),
        (&["https://api.example.com"], "https://user@api.example.com/", false),
        (&["https://api.example.com"], "https://api.example.com:0/", false),
        (&["https://api.example.com"], "https://api.example.com:/", false),
        (&["https://api.example.com"], "https://api.example.com:99999/", false),
        (&["https://api.example.com"], "ftp://api.example.com/", false),
        (&["https://api.example.com"], "/path", false),
        (&["https://api.example.com"], "https:///path", false),
        (&["http://api.example.com:8080"], "http://api.example.com:8080/", true),
        (&["http://api.example.com:8080"], "http://api.example.com/", false),
        (&["*://api.example.com"], "http://api.example.com/", true),
        (&["*://api.example.com"], "https://api.example.com/", true),
        (&["*://api.example.com"], "https://api.example.com:80/", false),
        (&["*://api.example.com:*"], "https://api.example.com:80/", true),
        (&["https://api.example.com:*"], "https://api.example.com:1/", true),
        (&["https://*.example.com"], "https://a.example.com/", true),
        (&["https://*.example.com"], "https://a.b.example.com/", true),
        (&["https://*.example.com"], "https://example.com/", false),
        (&["https://*.example.com"], "https://.example.com/", false),
        (&["https://*.example.com"], "https://aexample.com/", false),
        (&["https://*.example.com"], "https://a.example.com.evil.com/", false),
        (&["https://*"], "https://anything.at.all/", true),
        (&["https://*"], "http://anything.at.all/", false),
        (&["https://*:*"], "https://anything.at.all:9/", true),
        (&["*://*:*"], "http://anything.at.all:9/", true),
        (&["https://a.com", "http://b.com"], "http://b.com/", true),
        (&["https://a.com", "http://b.com"], "http://a.com/", false),
        (&["https://xn--bcher-kva.example"], "https://xn--bcher-kva.example/", true),
        (&["http://10.0.0.0/8"], "http://api.example.com/", false),
    ];
    for (entries, url, expected) in cases {
        assert_eq!(is_allowed(&egress(entries), url, PUBLIC), *expected, "{entries:?} {url}");
    }
}

#[test]
fn addresses_that_are_not_public_have_to_be_granted_by_range() {
    let anywhere = egress(&["*://*:*"]);
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.215.14",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.255.255",
        "192.169.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "168.63.129.15",
        "2606:4700::1111",
        "2a00:1450::1",
        "64:ff9b::101:101",
        "::ffff:8.8.8.8",
    ];
    let others = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    ];
    assert!(public.len() + others.len() >= 70);
    for (addresses, expected) in [(&public[..], true), (&others[..], false)] {
        for address in addresses {
            assert_eq!(
                is_allowed(&anywhere, "http://name.example/", Some(address)),
                expected,
                "by name: {address}"
            );
            let url = if address.contains(':') {
                format!("http://[{address}]/")
            } else {
                format!("http://{address}/")
            };
            assert_eq!(is_allowed(&anywhere, &url, None), expected, "{url}");
            let shown = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
            let granted = egress(&["http://name.example", &format!("http://{shown}")]);
            assert!(is_allowed(&granted, &url, None), "granted: {url}");
            assert!(
                is_allowed(&granted, "http://name.example/", Some(address)),
                "granted by name: {address}"
            );
            assert!(!is_allowed(&granted, "https://name.example/", Some(address)), "other scheme: {address}");
            assert!(!is_allowed(&granted, "http://other.example/", Some(address)), "other name: {address}");
        }
    }
}

#[test]
fn ranges_and_localhost_grant_what_they_say() {
    let cases: &[(&[&str], &str, Option<&str>, bool)] = &[
        (&["http://10.0.0.0/8"], "http://10.1.2.3/", None, true),
        (&["http://10.0.0.0/8"], "http://11.1.2.3/", None, false),
        (&["http://10.0.0.0/8:5000"], "http://10.1.2.3:5000/", None, true),
        (&["http://10.0.0.0/8:5000"], "http://10.1.2.3/", None, false),
        (&["http://[fd00::]/8:5000"], "http://[fd12::1]:5000/", None, true),
        (&["http://[fd00::]/8"], "http://[fe80::1]/", None, false),
        (&["http://10.0.0.0/8", "http://db.corp"], "http://db.corp/", Some("10.1.2.3"), true),
        (&["http://10.0.0.0/8", "http://db.corp"], "http://db.corp/", Some("192.168.1.1"), false),
        (&["http://10.0.0.0/8", "http://*.corp"], "http://db.corp/", Some("::ffff:10.1.2.3"), true),
        (&["http://10.0.0.0/8"], "http://[::ffff:10.1.2.3]/", None, true),
        (&["http://127.0.0.1:9000"], "http://127.0.0.1:9000/", None, true),
        (&["http://127.0.0.1:9000"], "http://127.0.0.2:9000/", None, false),
        (&["http://127.0.0.1:9000"], "http://localhost:9000/", Some("127.0.0.1"), false),
        (&["http://localhost:9000"], "http://localhost:9000/", Some("127.0.0.1"), true),
        (&["http://localhost:9000"], "http://localhost:9000/", Some("::1"), true),
        (&["http://localhost:9000"], "http://localhost:9000/", Some("10.0.0.1"), false),
        (&["http://localhost:9000"], "http://localhost:9001/", Some("127.0.0.1"), false),
        (&["http://localhost:9000"], "http://127.0.0.1:9000/", None, false),
        (&["http://localhost:9000", "http://*:*"], "http://evil.example:9000/", Some("127.0.0.1"), false),
        (&["http://*.localhost"], "http://a.localhost/", Some("127.0.0.1"), false),
        // Spellings of 127.0.0.1 that resolvers understand are names here, and are checked by what they lead to.
        (&["http://*"], "http://2130706433/", Some("127.0.0.1"), false),
        (&["http://*"], "http://0x7f.1/", Some("127.0.0.1"), false),
        (&["http://*"], "http://017700000001/", Some("127.0.0.1"), false),
        (&["*://0.0.0.0/0:*", "*://[::]/0:*"], "http://[::1]:1/", None, true),
        (&["*://0.0.0.0/0:*"], "http://[::1]:1/", None, false),
    ];
    for (entries, url, address, expected) in cases {
        assert_eq!(is_allowed(&egress(entries), url, *address), *expected, "{entries:?} {url} {address:?}");
    }
}

#[test]
fn wrong_entries_are_refused_with_what_would_be_right() {
    let cases = [
        ("api.example.com", "scheme://host"),
        ("", "scheme://host"),
        ("tcp://api.example.com:5432", "use http, https or *"),
        ("https://api.example.com/path", "no path"),
        ("https://api.example.com:", "1 to 65535"),
        ("https://api.example.com:0", "1 to 65535"),
        ("https://api.example.com:65536", "1 to 65535"),
        ("https://api.example.com:+80", "1 to 65535"),
        ("https://", "use a name"),
        ("https://user@api.example.com", "use a name"),
        ("https://a..b", "use a name"),
        ("https://*.*.example.com", "use a name"),
        ("https://api.*.com", "use a name"),
        ("https://bücher.example", "in ASCII"),
        ("https://10.0.0.1/8", "range such as"),
        ("https://1.2.3", "range such as"),
        ("https://[::1", "1 to 65535"),
        ("https://[::1/", "1 to 65535"),
        ("https://::1", "1 to 65535"),
        ("https://{{ host", "no '}}'"),
        ("https://{{ host }}", "no setting \"host\""),
    ];
    for (entry, expected) in cases {
        let error = Egress::parse(&[entry.to_owned()], &BTreeMap::new()).expect_err(entry);
        assert!(error.contains(expected), "{entry:?}: {error}");
    }
    let many = vec!["https://a.example".to_owned(); limits::OUTBOUND_HOSTS_MAX + 1];
    assert!(Egress::parse(&many, &BTreeMap::new()).is_err());
    assert!(Egress::parse(&["https://".to_owned() + &"a".repeat(1_000)], &BTreeMap::new()).is_err());
}

#[test]
fn settings_fill_entries_in() {
    let settings = BTreeMap::from([("HOST".to_owned(), "api.example.com".to_owned())]);
    let egress = Egress::parse(&["https://{{ HOST }}:{{HOST}}".to_owned()], &settings);
    assert!(egress.unwrap_err().contains("1 to 65535"));
    let egress = Egress::parse(&["https://v1.{{ HOST }}".to_owned()], &settings).unwrap();
    assert!(is_allowed(&egress, "https://v1.api.example.com/", PUBLIC));
}

#[test]
fn a_refusal_names_the_entry_that_would_allow_it() {
    let urls = ["https://api.example.com/x", "http://a.b:81/", "http://10.1.2.3:5000/", "http://[fd00::1]/"];
    for url in urls {
        let destination = Destination::of(&url.parse().unwrap()).unwrap();
        let refusal = Egress::default().may_ask(&destination).unwrap_err();
        let (EgressRefusal::Name { entry } | EgressRefusal::Address { entry, .. }) = &refusal;
        assert!(egress(&[entry]).may_ask(&destination).is_ok(), "{refusal}");
        assert!(refusal.to_string().contains(&format!("allowed_outbound_hosts = [{entry:?}]")), "{refusal}");
    }
}

proptest! {
    #[test]
    fn whatever_a_name_leads_to_only_public_addresses_need_no_range(bits: u128, is_v4: bool, port in 1u16..) {
        let address: IpAddr = match is_v4 {
            true => std::net::Ipv4Addr::from_bits(bits as u32).into(),
            false => std::net::Ipv6Addr::from_bits(bits).into(),
        };
        let url = format!("http://name.example:{port}/");
        let reached = is_allowed(&egress(&["*://*:*", "http://*.example:*"]), &url, Some(&address.to_string()));
        prop_assert_eq!(reached, AddressKind::of(address) == AddressKind::Public);
        let standard_says_private = match address.to_canonical() {
            IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast(),
        };
        prop_assert!(!(reached && standard_says_private));
    }

    #[test]
    fn no_text_confuses_the_parsers(entry in "\\PC{0,40}", url in "(https?://)?\\PC{0,40}") {
        let parsed = Egress::parse(std::slice::from_ref(&entry), &BTreeMap::new());
        let nearly = Egress::parse(&[format!("http://{entry}")], &BTreeMap::new());
        if let Some(destination) = url.parse().ok().and_then(|uri: http::Uri| Destination::of(&uri)) {
            for egress in [parsed, nearly].into_iter().flatten() {
                // Whatever the entries are, name and address have the same result.
                if let (Ok(()), Some(address)) = (egress.may_ask(&destination), destination.literal()) {
                    prop_assert!(egress.may_reach(&destination, address).is_ok());
                }
            }
            prop_assert!(Egress::default().may_ask(&destination).is_err());
        }
    }
}

/// Valid entries, which the tests make invalid.
const TARGETS: [&str; 9] = [
    "https://api.example.com",
    "*://*.example.com:*",
    "http://10.0.0.0/8:8080",
    "https://[fd00::]/8",
    "http://localhost:3000",
    "https://{{ HOST }}:{{PORT}}/",
    "http://127.0.0.1",
    "https://*",
    "http://[::ffff:10.0.0.1]:80",
];

#[test]
fn what_settings_make_of_an_entry_is_bounded() {
    let settings = BTreeMap::from([("A".to_owned(), "x".repeat(limits::ENV_BYTES_MAX))]);
    let error = Egress::parse(&["{{A}}".repeat(200_000)], &settings).unwrap_err();
    assert!(error.len() < 400 && error.contains("512 bytes"), "{error}");
}

proptest! {
    #[test]
    fn a_wrong_entry_is_refused_by_its_key_and_a_right_one_grants_nothing_by_accident(
        target in 0..TARGETS.len(),
        changes in prop::collection::vec((0..60_usize, 0..3_u8, "[\\PC\0\n*:/@{}.\\[\\]%]{1,3}"), 0..5),
        settings in prop::collection::btree_map("HOST|PORT", "\\PC{0,20}", 0..3),
        private in prop::sample::select(&["10.0.0.7", "127.0.0.1", "169.254.169.254", "[fd00::1]", "0.0.0.0", "[::1]"][..]),
    ) {
        let mut text: Vec<char> = TARGETS[target].chars().collect();
        for (at, kind, with) in changes {
            let at = at % (text.len() + 1);
            match kind {
                0 => drop(text.splice(at..at, with.chars())),
                1 if at < text.len() => drop(text.remove(at)),
                _ => text.truncate(at),
            }
        }
        let entry: String = text.into_iter().collect();
        match Egress::parse(std::slice::from_ref(&entry), &settings) {
            Err(error) => prop_assert!(error.starts_with("allowed_outbound_hosts: \"") && error.len() < 4_000, "{error}"),
            // Only an entry with an address or with localhost allows an address that is not public.
            Ok(policy) => {
                let filled = fill_in(&entry, &settings).unwrap();
                let is_range = filled.contains(|byte: char| byte.is_ascii_digit()) || filled.contains('[');
                prop_assert!(is_range || !is_allowed(&policy, &format!("http://{private}/"), None), "{filled}");
                let name = format!("http://a.example.com:{}/", 80);
                prop_assert!(is_range || !is_allowed(&policy, &name, Some(private.trim_matches(['[', ']']))), "{filled}");
            }
        }
    }
}
