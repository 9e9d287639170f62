//! Runs the listener of the admin API. Connections that have not shown the token have a limit of their own and are closed first,
//! so that they never keep out a client with the token.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::ingress::connection;
use crate::ingress::listener::Acceptor;
use crate::ingress::stream::Stream;
use crate::ingress::watch::{Guarded, Unfinished, WATCH_PERIOD, Watch, Watches};

/// The client of a connection: an extension of each request on it.
#[derive(Default)]
pub struct Visitor {
    has_token: AtomicBool,
    watch: OnceLock<Arc<Watch>>,
}

impl Visitor {
    /// Notes that the token came over the connection.
    pub fn shows_token(&self) {
        self.has_token.store(true, Ordering::Relaxed);
    }

    fn is_stranger(&self) -> bool {
        !self.has_token.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.watch.get().is_none_or(|watch| watch.is_idle())
    }
}

/// The open connections, the oldest first, and their maximum.
struct Visitors {
    open: Vec<(Arc<Visitor>, AbortHandle)>,
    most: usize,
}

impl Visitors {
    /// Returns the connection to close for a new one, which has not shown the token yet: the oldest one without the token, or
    /// else, of those with the token and without a request under way, the oldest.
    fn who_gives_way(&mut self) -> GivesWay {
        self.open.retain(|(_, task)| !task.is_finished());
        let strangers = self.open.iter().filter(|(visitor, _)| visitor.is_stranger()).count();
        if self.open.len() < self.most && strangers < self.most / 2 {
            return GivesWay::Nobody;
        }
        let oldest = |gives_way: fn(&Visitor) -> bool| self.open.iter().position(|(one, _)| gives_way(one));
        let found = oldest(Visitor::is_stranger).or_else(|| oldest(Visitor::is_idle));
        found.map_or(GivesWay::NobodyWhoCould, GivesWay::One)
    }

    /// Whether one more connection may be opened, if necessary in place of another one.
    fn have_room(&mut self) -> bool {
        self.who_gives_way() != GivesWay::NobodyWhoCould
    }

    /// Adds a connection.
    fn add(&mut self, visitor: Arc<Visitor>, task: AbortHandle) {
        if let GivesWay::One(place) = self.who_gives_way() {
            let (_, task) = self.open.remove(place);
            task.abort();
        }
        self.open.push((visitor, task));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivesWay {
    /// None: there is room.
    Nobody,
    One(usize),
    /// None can be closed: all have the token and are busy. The next one waits.
    NobodyWhoCould,
}

/// Serves `router` on `listener`, to at most `most` connections, until `stop` changes. The time limits are those of the functions
/// listener.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut acceptor = Acceptor::new(listener)?;
    let (mut connections, mut visitors) = (JoinSet::new(), Visitors { open: Vec::new(), most });
    let watches = Arc::<Watches>::default();
    let mut next_watch = Instant::now() + WATCH_PERIOD;
    loop {
        let stream = tokio::select! {
            (stream, _) = acceptor.next(), if visitors.have_room() => stream,
            Some(_) = connections.join_next() => continue,
            () = tokio::time::sleep_until(next_watch) => {
                watches.end_overdue();
                next_watch += WATCH_PERIOD;
                continue;
            }
            _ = stop.changed() => break,
        };
        let (router, watches, visitor) = (router.clone(), watches.clone(), Arc::<Visitor>::default());
        let at_the_door = visitor.clone();
        let task = connections.spawn(async move {
            let service = |watch: Arc<Watch>| {
                // Nobody else has set it.
                let _ = visitor.watch.set(watch.clone());
                service_fn(move |mut request: http::Request<Incoming>| {
                    let (active, version) = (watch.begin(request.version()), request.version());
                    request.extensions_mut().insert(visitor.clone());
                    let (mut router, watch) = (router.clone(), watch.clone());
                    async move {
                        let request = request.map(|body| Body::new(Unfinished::new(body, version, &watch)));
                        let answered = tower_service::Service::call(&mut router, request).await;
                        answered.map(|mut response: Response| {
                            watch.mark_last(response.headers_mut());
                            response.map(|body| Guarded::new(body, active))
                        })
                    }
                })
            };
            connection::serve(Stream::Plain(stream), &watches, service).await;
        });
        visitors.add(at_the_door, task);
    }
    watches.drain();
    while connections.join_next().await.is_some() {}
    Ok(())
}
