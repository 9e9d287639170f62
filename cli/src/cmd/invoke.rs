//! `wfn invoke`: calls an app through the admin API, for where its own address cannot be reached.

use std::fs::File;
use std::io::{self, Cursor, Read};

use clap::Args;
use ureq::http::{HeaderName, HeaderValue, Method, Response, Version};
use ureq::{Body, SendBody};
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, is_of_a_function};
use crate::cmd::app_name;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn invoke`.
#[derive(Debug, Args)]
#[command(
    after_help = "The answer's body goes to stdout as it is. A status of 400 or more ends with exit code 1."
)]
pub struct Invoke {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// Path and query within the app
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,

    /// Method [default: GET, or POST with -d]
    #[arg(short = 'X', long, value_name = "METHOD", value_parser = method)]
    method: Option<Method>,

    /// Body: text, @FILE, or - for stdin
    #[arg(short, long, value_name = "BODY", allow_hyphen_values = true)]
    data: Option<String>,

    /// Header; may be repeated
    #[arg(short = 'H', long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,

    /// Print status and headers first
    #[arg(short, long)]
    include: bool,
}

/// The body of a request.
struct Data {
    /// Its length, where that is known before it is read.
    length: Option<u64>,
    reader: Box<dyn Read>,
}

impl Invoke {
    /// Calls the app.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let response = self.call(&client).while_doing(|| format!("invoke {}", self.app))?;
        if self.include {
            output::write(head(&response).as_bytes())?;
        }
        let status = response.status();
        let named = |name: &str| match response.headers().get(name).and_then(|value| value.to_str().ok()) {
            Some(value) => format!(", {name} {value}"),
            None => String::new(),
        };
        let (outcome, invocation) = (named("wfn-outcome"), named("wfn-invocation"));
        self.pass_on(response)?;
        if status.as_u16() >= 400 {
            return Err(Failure::new(format!("{} answered {status}{outcome}{invocation}", self.app)));
        }
        Ok(())
    }

    fn call(&self, client: &Client) -> Done<Response<Body>> {
        let data = self.data()?;
        let default = if data.is_some() { Method::POST } else { Method::GET };
        let method = self.method.clone().unwrap_or(default);
        let path = app_path(&self.app, &format!("/invoke/{}", encoded(&self.path)));
        let mut request = client.request(method, &path);
        if let Some(length) = data.as_ref().and_then(|data| data.length) {
            request = request.header("content-length", length);
        }
        for (name, value) in &self.header {
            request = request.header(name, value);
        }
        let body = data.map_or(SendBody::none(), |data| SendBody::from_owned_reader(data.reader));
        // The function's own deadline bounds the wait.
        let response = client.send(request.body(body), None)?;
        match is_of_a_function(&response) {
            true => Ok(response),
            false => client.accepted(response),
        }
    }

    fn data(&self) -> Done<Option<Data>> {
        let Some(given) = &self.data else { return Ok(None) };
        if given == "-" {
            return Ok(Some(Data { length: None, reader: Box::new(io::stdin()) }));
        }
        let Some(path) = given.strip_prefix('@') else {
            let reader = Box::new(Cursor::new(given.clone().into_bytes()));
            return Ok(Some(Data { length: Some(given.len() as u64), reader }));
        };
        let opened = File::open(path).and_then(|file| {
            let metadata = file.metadata()?;
            // A pipe has no length.
            let length = metadata.is_file().then_some(metadata.len());
            Ok(Some(Data { length, reader: Box::new(file) }))
        });
        opened.map_err(|error| Failure::usage(format!("the body cannot be read: {path}: {error}")))
    }

    fn pass_on(&self, response: Response<Body>) -> Done {
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = body
                .read(&mut piece)
                .map_err(|error| Failure::new(format!("the answer was cut: {error}")))
                .while_doing(|| format!("invoke {}", self.app))?;
            if count == 0 {
                return Ok(());
            }
            output::write(&piece[..count])?;
        }
    }
}

fn head(response: &Response<Body>) -> String {
    let version = if response.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text = format!("{version} {}\n", response.status());
    for (name, value) in response.headers() {
        text += &format!("{name}: {}\n", output::plain(&String::from_utf8_lossy(value.as_bytes())));
    }
    text + "\n"
}

/// The path as HTTP takes it: what no URI may hold is encoded, what is encoded already stays.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.strip_prefix('/').unwrap_or(path).bytes() {
        match byte {
            b'!'..=b'~'
                if !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') =>
            {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| "not an HTTP method".to_owned())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("use NAME:VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a header name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is not a header value"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_once() {
        assert_eq!(encoded("/a b/ä?x=1&y=%20"), "a%20b/%C3%A4?x=1&y=%20");
        assert_eq!(encoded("/"), "");
        assert_eq!(encoded("a#b"), "a%23b");
    }

    #[test]
    fn a_header_needs_a_name_and_a_colon() {
        assert_eq!(header("X-A: b:c").unwrap().1, "b:c");
        assert!(header("nothing").is_err());
        assert!(header("a b: c").is_err());
    }
}
