//! The table of HTTP with nginx and haproxy in front: as many answers as requests, none lost, none turned into a 502.
//!
//! They run where Debian's packages nginx and haproxy are installed; `WFN_PROXIES=1` says that they have to be.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::harness::{Connection, Host, until};
use crate::http_table;

/// A proxy in a process of its own, in front of a host.
struct Proxy {
    child: Child,
    address: String,
    _folder: TempDir,
}

/// A kind of proxy: its program, its arguments before the file with its settings, and these settings.
struct Kind {
    program: &'static str,
    arguments: fn(&str) -> Vec<String>,
    settings: fn(folder: &str, address: &str, host: &str) -> String,
}

const NGINX: Kind = Kind {
    program: "nginx",
    arguments: |folder| ["-p", folder, "-e", "stderr", "-c"].map(str::to_owned).into(),
    settings: |folder, address, host| {
        format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; client_max_body_size 0; keepalive_requests 100000;
               client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
               uwsgi_temp_path {folder}; scgi_temp_path {folder};
               upstream host {{ server {host}; keepalive 8; }}
               server {{
                 listen {address}; server_name localhost;
                 location / {{ proxy_pass http://host; proxy_set_header Host $host; SETTINGS }}
               }}
             }}"
        )
    },
};

/// As nginx is usually set up: connections are kept, bodies are collected first.
const NGINX_KEPT: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\";";
/// Bodies are passed on as they come.
const NGINX_STREAMING: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_request_buffering off; proxy_buffering off;";

const HAPROXY: Kind = Kind {
    program: "haproxy",
    arguments: |_| vec!["-db".into(), "-f".into()],
    settings: |_, address, host| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n option httpchk\n\
             frontend in\n bind {address}\n default_backend host\n\
             backend host\n http-reuse always\n server one {host} check inter 100ms\n"
        )
    },
};

/// The program, if it is here.
fn found(program: &str) -> Option<String> {
    let here = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|folder| format!("{folder}/{program}"));
    let path = here.into_iter().find(|path| fs::exists(path).unwrap());
    assert!(
        path.is_some() || std::env::var_os("WFN_PROXIES").is_none(),
        "{program} is not here: install Debian's packages nginx and haproxy"
    );
    path
}

impl Proxy {
    /// Starts one in front of `host`, with `more` settings; `None` where it is not installed.
    fn start(kind: &Kind, host: &Host, more: &str) -> Option<Self> {
        let program = found(kind.program)?;
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_str().unwrap();
        // Free until now; nobody else here asks for one by its number.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let file = folder.path().join("settings");
        let settings = (kind.settings)(path, &address, &host.functions).replace("SETTINGS", more);
        fs::write(&file, settings).unwrap();
        let child = Command::new(program)
            .args((kind.arguments)(path))
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Self { child, address, _folder: folder };
        until("the proxy listens", || TcpStream::connect(&proxy.address).ok());
        until("the proxy finds the host", || {
            let mut connection = Connection::open(&proxy.address);
            connection.write(b"GET /p2/ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            (connection.read_answer().ok()?.status == 200).then_some(())
        });
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already, which is what this is for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every row that a proxy passes on, one after the other and from several clients at once.
fn pass(kind: &Kind, more: &str) {
    let host = http_table::host();
    let Some(proxy) = Proxy::start(kind, &host, more) else { return };
    let rows = || http_table::rows().into_iter().filter(|row| row.passes_proxies);
    for row in rows() {
        row.check(&proxy.address, false);
    }
    thread::scope(|scope| {
        for client in 0..4 {
            let address = &proxy.address;
            scope.spawn(move || {
                // Each begins at another place, so that different rows meet on the kept connections.
                let mut all: Vec<_> = rows().collect();
                let from = client * all.len() / 4;
                all.rotate_left(from);
                all.iter().for_each(|row| row.check(address, false));
            });
        }
    });
}

#[test]
fn the_table_passes_through_nginx() {
    pass(&NGINX, NGINX_KEPT);
}

#[test]
fn the_table_passes_through_nginx_that_streams() {
    pass(&NGINX, NGINX_STREAMING);
}

#[test]
fn the_table_passes_through_nginx_of_http_1_0() {
    // What it does when nothing is said.
    pass(&NGINX, "");
}

#[test]
fn the_table_passes_through_haproxy_whose_check_finds_the_host_up() {
    pass(&HAPROXY, "");
}
