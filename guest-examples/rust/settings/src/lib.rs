//! Reads its settings and secrets in every way there is: environment, `wasi:config`, `http://wfn.internal/settings`.

use wstd::http::{Body, Client, Error, Request, Response, StatusCode};

mod bindings {
    wit_bindgen::generate!({ path: "wit" });
}
use bindings::wasi::config::store;

const HELP: &str = "\
/env/NAME        the environment variable NAME
/config/NAME     the same by wasi:config
/config          the names of all
/http/NAME       the same by http://wfn.internal/settings/NAME
/print/NAME      prints it on stdout, as no function should
/long/N/NAME     prints it after N letters, in one line
/json/NAME       prints it as JSON
/trap/NAME       panics with it
";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let (_, rest) = path.split_at(1);
    let (way, name) = rest.split_once('/').unwrap_or((rest, ""));
    let value = match way {
        "env" => std::env::var(name).ok(),
        "config" if name.is_empty() => {
            let all = store::get_all().map_err(|error| Error::msg(format!("{error:?}")))?;
            let mut names: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
            names.sort();
            Some(names.join(" "))
        }
        "config" => store::get(name).map_err(|error| Error::msg(format!("{error:?}")))?,
        "http" => {
            let url = format!("http://wfn.internal/settings/{name}");
            let mut answer = Client::new().send(Request::get(url).body(Body::empty())?).await?;
            let text = answer.body_mut().str_contents().await?.to_owned();
            answer.status().is_success().then_some(text)
        }
        "print" => {
            println!("{name} is {:?}", std::env::var(name));
            Some("printed".to_owned())
        }
        "long" => {
            let (letters, name) = name.split_once('/').unwrap_or(("0", name));
            let letters = "x".repeat(letters.parse().unwrap_or(0));
            println!("{letters}{} and after", std::env::var(name).unwrap_or_default());
            Some("printed".to_owned())
        }
        "json" => {
            let value = std::env::var(name).unwrap_or_default();
            println!("{{\"secret\":\"{}\"}}", value.replace('\\', "\\\\").replace('"', "\\\""));
            Some("printed".to_owned())
        }
        "trap" => panic!("the value is {:?}", std::env::var(name)),
        _ => Some(HELP.to_owned()),
    };
    Ok(match value {
        Some(value) => Response::new(value.into()),
        None => Response::builder().status(StatusCode::NOT_FOUND).body("not set\n".into())?,
    })
}
