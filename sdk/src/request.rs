//! Reads the path and query of a request.

use std::fmt::Display;
use std::str::FromStr;

use http::StatusCode;

use crate::{Body, Error};

/// A request as a handler gets it: that of the `http` crate, with a [`Body`] that is not read yet.
pub type Request<B = Body> = http::Request<B>;

/// The parameters that the pattern of a router found in the path: name and decoded value.
#[derive(Debug, Clone, Default)]
pub(crate) struct PathParameters(pub(crate) Vec<(String, String)>);

/// Path and query parameters with a type, which the `http` crate does not have for [`Request`].
///
/// ```
/// use wfn_sdk::{Error, Request, RequestExt, Router};
///
/// fn page(request: Request) -> Result<String, Error> {
///     let book: String = request.param("book")?;
///     let page: u32 = request.param("page")?;
///     let lines = request.query("lines")?.unwrap_or(40u16);
///     Ok(format!("{lines} lines of page {page} of {book}"))
/// }
///
/// let router = Router::new().get("/books/{book}/{page}", page);
/// ```
pub trait RequestExt {
    /// The path parameter of this name, percent-decoded.
    ///
    /// # Errors
    /// 400 if it is not a `T`; 500 if the pattern of the route has no such parameter.
    fn param<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Error>;

    /// The first query parameter of this name, decoded; `None` if there is none.
    ///
    /// # Errors
    /// 400 if it is not a `T`.
    fn query<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Error>;
}

impl<B> RequestExt for http::Request<B> {
    fn param<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Error> {
        let parameters = self.extensions().get::<PathParameters>();
        let value = parameters.and_then(|all| all.0.iter().find(|(known, _)| known == name));
        let Some((_, value)) = value else {
            return Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
                .caused_by(format!("the route has no parameter \"{name}\"")));
        };
        parse(name, value)
    }

    fn query<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Error> {
        let query = self.uri().query().unwrap_or_default();
        let value = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
        value.map(|(_, value)| parse(name, &value)).transpose()
    }
}

fn parse<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|error| {
        Error::new(StatusCode::BAD_REQUEST, format!("{name} must not be \"{value}\": {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::RequestExt as _;
    use crate::StatusCode;

    fn query(uri: &str, name: &str) -> Option<String> {
        let request = http::Request::builder().uri(uri).body(()).expect("a valid URI");
        request.query(name).expect("any text is a String")
    }

    #[test]
    fn query_parameters_are_found_and_decoded() {
        for (uri, name, expected) in [
            ("/", "a", None),
            ("/?", "a", None),
            ("/?a", "a", Some("")),
            ("/?b=1&a=2&a=3", "a", Some("2")),
            ("/?a=x+y%20z%2B", "a", Some("x y z+")),
            ("/?a=100%&b=%4", "a", Some("100%")),
            ("/?a=100%&b=%4", "b", Some("%4")),
            ("/?a=%ff", "a", Some("\u{fffd}")),
            ("/?a=%C3%A4", "a", Some("ä")),
        ] {
            assert_eq!(query(uri, name).as_deref(), expected, "{name} in {uri}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_by_name() {
        let request = http::Request::builder().uri("/?n=x&m=-1").body(()).expect("a valid URI");
        for name in ["n", "m"] {
            let error = request.query::<u64>(name).expect_err("no number");
            assert_eq!(error.status(), StatusCode::BAD_REQUEST);
            assert!(error.to_string().starts_with(&format!("{name} must not be")), "{error}");
        }
        assert!(matches!(request.query::<u64>("absent"), Ok(None)));
    }
}
