//! Managed identity: a service written by somebody else, in another language, can check who asks.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Host, root, run};

/// Checks a token as its receiver does: with a well-known library, by discovery of the keys.
const RECEIVER: &str = r"
import json, sys, urllib.request
import jwt
issuer, audience, token = sys.argv[1:]
configuration = json.load(urllib.request.urlopen(issuer + '/.well-known/openid-configuration'))
assert configuration['issuer'] == issuer, configuration
keys = jwt.PyJWKClient(configuration['jwks_uri'])
try:
    key = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=['EdDSA'], audience=audience, issuer=issuer,
                        options={'require': ['exp', 'iat', 'nbf', 'sub', 'jti']})
    print(json.dumps(claims))
except jwt.PyJWTError as error:
    print(json.dumps({'refused': type(error).__name__}))
";

fn receiver(host: &Host, audience: &str, token: &str) -> Value {
    let python = root().join("target/tools/tests/bin/python");
    assert!(python.is_file(), "run 'cargo xtask guests --with python' first");
    let issuer = format!("http://{}", host.functions);
    run(Command::new(python).args(["-c", RECEIVER, &issuer, audience, token])).json()
}

fn token(host: &Host, app: &str, audience: &str) -> Value {
    let url = format!("/{app}/get?http://wfn.internal/identity/token?audience={audience}");
    serde_json::from_str(&host.get(&url).ok()).unwrap()
}

#[test]
fn others_can_check_who_asks_and_for_whom() {
    let host = Host::start();
    for (app, guest) in [("one", "fetch"), ("two", "async-fetch")] {
        host.deploy_as(app, guest, &[]);
        let given = token(&host, app, "https%3A%2F%2Forders.example");
        assert_eq!((&given["token_type"], &given["expires_in"]), (&"Bearer".into(), &600.into()));
        let text = given["access_token"].as_str().unwrap();
        let claims = receiver(&host, "https://orders.example", text);
        assert_eq!(claims["sub"], format!("app:{app}"));
        assert_eq!(claims["exp"], given["expires_on"]);
        assert_eq!(receiver(&host, "https://other.example", text)["refused"], "InvalidAudienceError");
        // One letter of the signature, or of what is signed.
        let mut forged = text.to_owned().into_bytes();
        for index in [text.len() - 10, text.find('.').unwrap() + 10] {
            let before = forged[index];
            forged[index] = if before == b'A' { b'B' } else { b'A' };
            let refused = receiver(&host, "https://orders.example", std::str::from_utf8(&forged).unwrap());
            assert!(refused["refused"].is_string(), "{refused}");
            forged[index] = before;
        }
    }
}

#[test]
fn a_replaced_key_still_serves_those_it_signed_for_and_restarts_keep_keys() {
    let host = Host::start();
    host.deploy("fetch", &[]);
    let before = token(&host, "fetch", "x")["access_token"].as_str().unwrap().to_owned();
    host.wfn(&["identity", "rotate"]).ok();
    let after = token(&host, "fetch", "x")["access_token"].as_str().unwrap().to_owned();
    assert_ne!(before.split('.').next(), after.split('.').next(), "the header names another key");
    for token in [&before, &after] {
        assert_eq!(receiver(&host, "x", token)["sub"], "app:fetch");
    }
    let functions = host.functions.clone();
    let host = Host::start_in(&host.kill(), &["--issuer", &format!("http://{functions}/")]);
    let keys: Value = serde_json::from_str(&host.get("/.well-known/jwks.json").ok()).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    let configuration: Value =
        serde_json::from_str(&host.get("/.well-known/openid-configuration").ok()).unwrap();
    assert_eq!(configuration["issuer"], format!("http://{functions}"));
}

#[test]
fn a_token_without_a_purpose_is_refused() {
    let host = Host::start();
    host.deploy("fetch", &[]);
    for query in ["", "?audience=", "?audience=a%20b", "?audience=%ff", "?other=x"] {
        let answer = host.get(&format!("/fetch/get?http://wfn.internal/identity/token{query}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad-request"), "{query}");
    }
    assert_eq!(host.get("/.well-known/nothing").status, 404);
    assert_eq!(host.wfn(&["identity"]).code, Some(2));
}
