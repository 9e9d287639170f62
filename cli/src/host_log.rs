//! The host's own log, on stderr: one line an event, whatever names and words of others are in it.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::failure::{Done, Failure};
use crate::output::is_harmful;

/// They log each instantiation at the levels below.
const LOG_OF_THE_SANDBOX: &str = "wasmtime=warn,wasmtime_wasi=warn,wasmtime_wasi_http=warn,\
                                  wasmtime_environ=warn,wasmtime_internal_cranelift=warn,cranelift_codegen=warn,\
                                  regalloc2=warn,ureq=warn,ureq_proto=warn";

/// Logs what `WFN_LOG` says to stderr, or `default` if it does not say.
pub fn log_to_stderr(default: &str, as_json: bool) -> Done {
    let given = std::env::var("WFN_LOG").unwrap_or_default();
    let given = if given.is_empty() { default } else { &given };
    let filter = EnvFilter::builder()
        .parse(format!("{LOG_OF_THE_SANDBOX},{given}"))
        .map_err(|error| Failure::usage(format!("WFN_LOG={given}: {error}")).remedy("WFN_LOG=info"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Lines { to: io::stderr(), as_json })
        .with_ansi(io::stderr().is_terminal() && !as_json)
        // It would panic where stderr is closed.
        .log_internal_errors(false);
    if as_json {
        log.json().init()
    } else {
        log.init()
    }
    Ok(())
}

/// Writes each event as one line: it comes in one piece, its line end last.
struct Lines<W> {
    to: W,
    as_json: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        // Colours are the library's; it escapes those of others.
        let is_kept = |character: char| !is_harmful(character) || matches!(character, '\t' | '\x1b');
        if line.chars().all(is_kept) {
            self.to.write_all(event)?;
            return Ok(event.len());
        }
        let mut escaped = String::with_capacity(event.len() + 16);
        for character in line.chars() {
            match is_kept(character) {
                true => escaped.push(character),
                false if self.as_json => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        escaped += &format!("\\u{unit:04x}");
                    }
                }
                false => escaped.extend(character.escape_default()),
            }
        }
        self.to.write_all((escaped + end).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &str, as_json: bool) -> String {
        let mut lines = Lines { to: Vec::new(), as_json };
        lines.write_all(event.as_bytes()).unwrap();
        String::from_utf8(lines.to).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let event = "\x1b[31mERROR\x1b[0m a: b\nforged\r \u{202e}c\td\n";
        assert_eq!(written(event, false), "\x1b[31mERROR\x1b[0m a: b\\nforged\\r \\u{202e}c\td\n");
        assert_eq!(written("plain Grüße\n", false), "plain Grüße\n");
    }

    #[test]
    fn json_stays_json() {
        let event = serde_json::json!({ "message": "a\nb \u{202e}c\u{e0041}" }).to_string();
        let line = written(&format!("{event}\n"), true);
        assert!(line.contains("\\u202e") && !line.contains('\u{202e}'), "{line}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            serde_json::from_str::<serde_json::Value>(&event).unwrap()
        );
    }
}
