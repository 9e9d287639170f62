//! Chooses the handler of a request: by path pattern first, then by method.

use std::borrow::Cow;
#[cfg(feature = "async")]
use std::{future::Future, pin::Pin};

use http::header::ALLOW;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::request::PathParameters;
use crate::{IntoResponse, Request, Response};

/// Handlers by path and method. `H` is the type in which a handler is stored.
struct Routes<H> {
    /// Indexes of `paths` by pattern.
    matcher: matchit::Router<usize>,
    paths: Vec<Path<H>>,
}

/// One pattern with its handlers, by method; `None` stands for any method.
struct Path<H> {
    pattern: String,
    handlers: Vec<(Option<Method>, H)>,
}

/// The handler for a request, or the response if there is none.
enum Found<'a, H> {
    Handler(&'a H),
    None(Response),
}

impl<H> Routes<H> {
    fn new() -> Self {
        Self { matcher: matchit::Router::new(), paths: Vec::new() }
    }

    fn add(&mut self, method: Option<Method>, pattern: &str, handler: H) {
        let known = self.paths.iter().position(|path| path.pattern == pattern);
        let index = known.unwrap_or_else(|| {
            let index = self.paths.len();
            if let Err(error) = self.matcher.insert(pattern, index) {
                panic!("the route \"{pattern}\" cannot be added: {error}");
            }
            self.paths.push(Path { pattern: pattern.to_owned(), handlers: Vec::new() });
            index
        });
        self.paths[index].handlers.push((method, handler));
    }

    /// Finds the handler for this request, and adds the path parameters to the request.
    fn find(&self, request: &mut Request) -> Found<'_, H> {
        let Ok(matched) = self.matcher.at(request.uri().path()) else {
            return Found::None((StatusCode::NOT_FOUND, "there is nothing at this path\n").into_response());
        };
        let path = &self.paths[*matched.value];
        let Some(handler) = path.handler(request.method()) else {
            return Found::None(path.method_not_allowed());
        };
        if !matched.params.is_empty() {
            let decoded = |value| percent_decode_str(value).decode_utf8_lossy().into_owned();
            let parameters =
                matched.params.iter().map(|(name, value)| (name.to_owned(), decoded(value))).collect();
            request.extensions_mut().insert(PathParameters(parameters));
        }
        Found::Handler(handler)
    }
}

impl<H> Path<H> {
    /// Returns the handler for `method`: its own, or that of GET if it is HEAD, or that of any method.
    fn handler(&self, method: &Method) -> Option<&H> {
        let of = |wanted: Option<&Method>| {
            self.handlers.iter().find(|(method, _)| method.as_ref() == wanted).map(|(_, handler)| handler)
        };
        let instead = if method == Method::HEAD { of(Some(&Method::GET)) } else { None };
        of(Some(method)).or(instead).or_else(|| of(None))
    }

    fn method_not_allowed(&self) -> Response {
        let mut allowed: Vec<Cow<'_, str>> = Vec::new();
        for method in self.handlers.iter().filter_map(|(method, _)| method.as_ref()) {
            allowed.push(method.as_str().into());
            if method == Method::GET {
                allowed.push("HEAD".into());
            }
        }
        let allowed = allowed.join(", ");
        let mut response =
            (StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allowed}\n")).into_response();
        if let Ok(allowed) = allowed.parse() {
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

/// The methods that both routers have: one for each HTTP method, and `any`.
macro_rules! routing_methods {
    ($handler:ident, $($bound:tt)*) => {
        routing_methods! { @each $handler, ($($bound)*),
            get GET "Adds a handler for GET, and for HEAD unless that gets its own.",
            head HEAD "Adds a handler for HEAD.",
            post POST "Adds a handler for POST.",
            put PUT "Adds a handler for PUT.",
            patch PATCH "Adds a handler for PATCH.",
            delete DELETE "Adds a handler for DELETE.",
            options OPTIONS "Adds a handler for OPTIONS."
        }

        /// Adds a handler for all methods that have no handler of their own on this path.
        ///
        /// # Panics
        /// As [`get`](Self::get).
        #[must_use]
        pub fn any<$handler, R>(mut self, pattern: &str, handler: $handler) -> Self
        where
            $($bound)*
        {
            self.routes.add(None, pattern, boxed(handler));
            self
        }
    };
    (@each $handler:ident, $bound:tt, $($name:ident $method:ident $doc:literal),*) => {
        $(routing_methods! { @one $handler, $bound, $name $method $doc })*
    };
    (@one $handler:ident, ($($bound:tt)*), $name:ident $method:ident $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Panics
        /// If the pattern is not valid or is in conflict with another one. Such a fault in the program shows at its
        /// first request.
        #[must_use]
        pub fn $name<$handler, R>(mut self, pattern: &str, handler: $handler) -> Self
        where
            $($bound)*
        {
            self.routes.add(Some(Method::$method), pattern, boxed(handler));
            self
        }
    };
}

/// Routes requests to synchronous handlers by path pattern and method.
///
/// Patterns are those of `matchit`: `/items/{id}` takes one segment, `/files/{*path}` takes all that follow. A fixed
/// segment wins over a parameter. Handlers read parameters with [`RequestExt::param`](crate::RequestExt::param). The
/// answer is 404 if no pattern matches the path, and 405 with `allow` if there is no handler for the method.
///
/// Make one for each instance, in a static:
///
/// ```
/// use std::sync::LazyLock;
/// use wfn_sdk::{Error, Request, RequestExt, Response, Router, handler};
///
/// static ROUTER: LazyLock<Router> =
///     LazyLock::new(|| Router::new().get("/", |_| "hello\n").get("/items/{id}", item));
///
/// fn item(request: Request) -> Result<String, Error> {
///     let id: u64 = request.param("id")?;
///     Ok(format!("item {id}\n"))
/// }
///
/// #[handler]
/// fn handle(request: Request) -> Response {
///     ROUTER.handle(request)
/// }
/// ```
pub struct Router {
    routes: Routes<Handler>,
}

/// A synchronous handler.
type Handler = Box<dyn Fn(Request) -> Response + Send + Sync>;

impl Default for Router {
    fn default() -> Self {
        Self { routes: Routes::new() }
    }
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers with the handler whose route matches.
    pub fn handle(&self, mut request: Request) -> Response {
        match self.routes.find(&mut request) {
            Found::Handler(handler) => handler(request),
            Found::None(refusal) => refusal,
        }
    }
}

impl Router {
    routing_methods!(H, H: Fn(Request) -> R + Send + Sync + 'static, R: IntoResponse);
}

fn boxed<R: IntoResponse>(handler: impl Fn(Request) -> R + Send + Sync + 'static) -> Handler {
    Box::new(move |request| handler(request).into_response())
}

#[cfg(feature = "async")]
pub use asynchronous::AsyncRouter;

/// The router for asynchronous handlers.
#[cfg(feature = "async")]
mod asynchronous {
    use super::{Found, Future, IntoResponse, Method, Pin, Request, Response, Routes};

    /// Routes requests to asynchronous handlers; otherwise like [`Router`](crate::Router).
    ///
    /// ```
    /// use std::sync::LazyLock;
    /// use wfn_sdk::{AsyncRouter, Error, Request, RequestExt, Response, handler};
    ///
    /// static ROUTER: LazyLock<AsyncRouter> = LazyLock::new(|| AsyncRouter::new().post("/{name}", store));
    ///
    /// async fn store(mut request: Request) -> Result<String, Error> {
    ///     let name: String = request.param("name")?;
    ///     let bytes = request.body_mut().collect_bytes(1024 * 1024).await?;
    ///     Ok(format!("{name}: {} bytes\n", bytes.len()))
    /// }
    ///
    /// #[handler]
    /// async fn handle(request: Request) -> Response {
    ///     ROUTER.handle(request).await
    /// }
    /// ```
    pub struct AsyncRouter {
        routes: Routes<Handler>,
    }

    /// An asynchronous handler.
    type Handler = Box<dyn Fn(Request) -> Answer + Send + Sync>;

    /// A future response. Guests have one thread, so it need not be `Send`.
    type Answer = Pin<Box<dyn Future<Output = Response>>>;

    impl Default for AsyncRouter {
        fn default() -> Self {
            Self { routes: Routes::new() }
        }
    }

    impl AsyncRouter {
        /// A router without routes.
        pub fn new() -> Self {
            Self::default()
        }

        /// Answers with the handler whose route matches.
        pub async fn handle(&self, mut request: Request) -> Response {
            match self.routes.find(&mut request) {
                Found::Handler(handler) => handler(request).await,
                Found::None(refusal) => refusal,
            }
        }
    }

    impl AsyncRouter {
        routing_methods!(H, H: Fn(Request) -> R + Send + Sync + 'static, R: Future<Output: IntoResponse> + 'static);
    }

    fn boxed<R>(handler: impl Fn(Request) -> R + Send + Sync + 'static) -> Handler
    where
        R: Future<Output: IntoResponse> + 'static,
    {
        Box::new(move |request| {
            let answer = handler(request);
            Box::pin(async move { answer.await.into_response() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Router;
    use crate::{Body, Error, Method, Request, RequestExt as _};

    fn item(request: Request) -> Result<String, Error> {
        Ok(format!("item {}", request.param::<u64>("id")?))
    }

    fn file(request: Request) -> Result<String, Error> {
        request.param("path")
    }

    fn router() -> Router {
        Router::new()
            .get("/", |_| "root")
            .get("/items/{id}", item)
            .delete("/items/{id}", |_| "deleted")
            .get("/items/new", |_| "form")
            .get("/files/{*path}", file)
            .post("/both", |_| "posted")
            .any("/both", |_| "any")
    }

    #[test]
    fn path_decides_first_then_method() {
        let router = router();
        for (method, uri, status, expected) in [
            (Method::GET, "/", 200, "root"),
            (Method::GET, "/?id=3", 200, "root"),
            (Method::GET, "/items/7", 200, "item 7"),
            (Method::HEAD, "/items/7", 200, "item 7"),
            (Method::DELETE, "/items/7", 200, "deleted"),
            (Method::GET, "/items/new", 200, "form"),
            (Method::GET, "/items/x", 400, "id must not be \"x\": invalid digit found in string\n"),
            (Method::GET, "/files/a/b%20c", 200, "a/b c"),
            (Method::POST, "/both", 200, "posted"),
            (Method::PUT, "/both", 200, "any"),
            (Method::GET, "/items", 404, "there is nothing at this path\n"),
            (Method::GET, "/items/7/", 404, "there is nothing at this path\n"),
            (Method::PUT, "/items/7", 405, "this path takes GET, HEAD, DELETE\n"),
        ] {
            let request = Request::builder().method(&method).uri(uri).body(Body::empty()).expect("valid");
            let mut response = router.handle(request);
            let body = response.body_mut().read_bytes(1000).expect("whole");
            assert_eq!((response.status().as_u16(), &*body), (status, expected.as_bytes()), "{method} {uri}");
            assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {uri}");
        }
    }

    #[test]
    fn handler_without_its_parameter_is_a_500() {
        let router = Router::new().get("/{other}", item);
        let request = Request::builder().uri("/7").body(Body::empty()).expect("valid");
        assert_eq!(router.handle(request).status(), 500);
    }
}
